import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api } from "../../../lib/api/calls";
import type { ActionView, ApprovalBody, Plan } from "../../../lib/api/types";
import { t } from "../../../lib/text/en";
import { Button, IconButton } from "../../../lib/ui/button";
import { Markdown } from "../../../lib/ui/markdown/markdown";
import { ProblemNote } from "../../../lib/ui/states";
import { planOf } from "./model";

/** A proposed plan: its steps can be changed before it is approved. */
export function PlanCard({ chatId, action }: { chatId: string; action: ActionView }) {
  const id = useId();
  const plan = planOf(action);
  const [steps, setSteps] = useState(plan.steps);
  const [note, setNote] = useState("");
  const decide = useMutation({
    mutationFn: (body: Omit<ApprovalBody, "args_hash">) =>
      api.decide(chatId, action.id, { ...body, note: note.trim() || null, args_hash: action.args_hash }),
  });
  const approve = (mode: "auto" | "ask") => decide.mutate({ decision: "once", steps, mode });
  return (
    <article className="action-card" aria-labelledby={id}>
      <h2 id={id}>{plan.title || t.actions.plan}</h2>
      <ol className="plan-steps">
        {steps.map((step, i) => (
          <li key={`${i}`}>
            <textarea
              rows={1}
              aria-label={t.actions.step(i + 1)}
              value={step}
              onChange={(e) => setSteps(steps.map((it, at) => (at === i ? e.target.value : it)))}
            />
            <IconButton
              icon="close"
              label={t.actions.removeStep(i + 1)}
              disabled={steps.length === 1}
              onClick={() => setSteps(steps.filter((_, at) => at !== i))}
            />
          </li>
        ))}
      </ol>
      <Button look="quiet" icon="plus" onClick={() => setSteps([...steps, ""])}>
        {t.actions.addStep}
      </Button>
      {plan.notes && <Markdown text={plan.notes} />}
      <input
        className="input"
        aria-label={t.actions.note}
        placeholder={t.actions.planNoteHint}
        value={note}
        onChange={(e) => setNote(e.target.value)}
      />
      {decide.isError && <ProblemNote error={decide.error} />}
      <div className="form-actions">
        <Button look="primary" busy={decide.isPending} onClick={() => approve("auto")}>
          {t.actions.approveRun}
        </Button>
        <Button busy={decide.isPending} onClick={() => approve("ask")}>
          {t.actions.approveAsk}
        </Button>
        <Button look="quiet" disabled={decide.isPending} onClick={() => decide.mutate({ decision: "deny" })}>
          {t.actions.requestChanges}
        </Button>
      </div>
    </article>
  );
}

const MARKS: Record<NonNullable<Plan["steps"][number]["status"]>, string> = {
  pending: "○",
  in_progress: "◐",
  done: "●",
  skipped: "–",
};

/** The approved plan with its ticks. */
export function PlanDock({ plan }: { plan: Plan }) {
  const over = plan.steps.filter((step) => step.status === "done" || step.status === "skipped").length;
  return (
    <details className="plan-dock">
      <summary>
        {plan.title || t.actions.plan} <span className="num ink-2">{t.actions.ticked(over, plan.steps.length)}</span>
      </summary>
      <ol>
        {plan.steps.map((step, i) => (
          <li key={`${i}`} data-status={step.status ?? "pending"}>
            <span aria-hidden="true">{MARKS[step.status ?? "pending"]}</span>
            <span className="sr-only">{t.actions.stepStatus[step.status ?? "pending"]}</span> {step.text}
          </li>
        ))}
      </ol>
    </details>
  );
}
