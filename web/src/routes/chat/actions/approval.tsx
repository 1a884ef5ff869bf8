import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api } from "../../../lib/api/calls";
import type { ActionView, ApprovalBody } from "../../../lib/api/types";
import { t } from "../../../lib/text/en";
import { text } from "../../../lib/ui/tools/view";
import { Button } from "../../../lib/ui/button";
import { Icon } from "../../../lib/ui/icon";
import { ProblemNote } from "../../../lib/ui/states";
import { exactly, offeredPattern } from "./model";

type Scope = NonNullable<ApprovalBody["scope"]>;
const SCOPES: readonly Scope[] = ["chat", "workspace", "user"];

/** A call that a person allows or denies. What is shown is what runs; nothing here has the focus. */
export function ApprovalCard({ chatId, action }: { chatId: string; action: ActionView }) {
  const id = useId();
  const [asks, setAsks] = useState<"" | "rule" | "note">("");
  const decide = useMutation({
    mutationFn: (body: Omit<ApprovalBody, "args_hash">) =>
      api.decide(chatId, action.id, { ...body, args_hash: action.args_hash }),
  });
  const pattern = offeredPattern(action);
  const cwd = text(action.args, "cwd");
  return (
    <article className="action-card" aria-labelledby={id}>
      <h2 id={id}>
        <Icon name="warn" />
        {t.actions.wants(action.tool)}
      </h2>
      <pre className="action-exact mono" tabIndex={0}>
        {exactly(action)}
      </pre>
      <p className="action-facts ink-2">
        {cwd && <span className="mono">{t.actions.in(cwd)}</span>}
        {action.risks?.map((risk) => (
          <span key={risk} className="action-risk">
            {t.actions.risks[risk] ?? risk}
          </span>
        ))}
      </p>
      {asks === "rule" && pattern && (
        <RuleForm
          pattern={pattern}
          busy={decide.isPending}
          onRule={(rule) => decide.mutate({ decision: "always", ...rule })}
        />
      )}
      {asks === "note" && (
        <NoteForm busy={decide.isPending} onDeny={(note) => decide.mutate({ decision: "deny", note: note || null })} />
      )}
      {decide.isError && <ProblemNote error={decide.error} />}
      <div className="form-actions">
        <Button busy={decide.isPending} onClick={() => decide.mutate({ decision: "once" })}>
          {t.actions.once}
        </Button>
        {pattern && (
          <Button look="quiet" aria-expanded={asks === "rule"} onClick={() => setAsks(asks === "rule" ? "" : "rule")}>
            {t.actions.always}
          </Button>
        )}
        <Button look="quiet" aria-expanded={asks === "note"} onClick={() => setAsks(asks === "note" ? "" : "note")}>
          {t.actions.deny}
        </Button>
      </div>
    </article>
  );
}

interface RuleFormProps {
  pattern: string;
  busy: boolean;
  onRule: (rule: { pattern: string; scope: Scope }) => void;
}

function RuleForm({ pattern: offered, busy, onRule }: RuleFormProps) {
  const [pattern, setPattern] = useState(offered);
  const [scope, setScope] = useState<Scope>("chat");
  return (
    <form
      className="action-form"
      onSubmit={(event) => {
        event.preventDefault();
        onRule({ pattern, scope });
      }}
    >
      <input
        className="input mono"
        aria-label={t.actions.pattern}
        value={pattern}
        onChange={(e) => setPattern(e.target.value)}
      />
      <select
        className="workspace-select"
        aria-label={t.actions.scope}
        value={scope}
        onChange={(e) => setScope(SCOPES.find((it) => it === e.target.value) ?? "chat")}
      >
        {SCOPES.map((it) => (
          <option key={it} value={it}>
            {t.actions.scopes[it]}
          </option>
        ))}
      </select>
      <Button type="submit" busy={busy} disabled={!pattern}>
        {t.actions.allowAlways}
      </Button>
      <p className="ink-2">{t.actions.patternHint}</p>
    </form>
  );
}

function NoteForm({ busy, onDeny }: { busy: boolean; onDeny: (note: string) => void }) {
  const [note, setNote] = useState("");
  return (
    <form
      className="action-form"
      onSubmit={(event) => {
        event.preventDefault();
        onDeny(note.trim());
      }}
    >
      <input
        className="input"
        autoFocus
        aria-label={t.actions.note}
        placeholder={t.actions.noteHint}
        value={note}
        onChange={(e) => setNote(e.target.value)}
      />
      <Button type="submit" look="danger" busy={busy}>
        {t.actions.denyNow}
      </Button>
    </form>
  );
}
