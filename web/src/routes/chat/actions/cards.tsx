import { useMutation } from "@tanstack/react-query";
import type { ActionView } from "../../../lib/api/types";
import { api } from "../../../lib/api/calls";
import { t } from "../../../lib/text/en";
import { Button } from "../../../lib/ui/button";
import { ProblemNote } from "../../../lib/ui/states";
import { ApprovalCard } from "./approval";
import { PlanCard } from "./plan";
import { QuestionCard } from "./question";

/** Everything that waits for a person, one card each. It goes when the server says that it is decided. */
export function ActionCards({ chatId, actions }: { chatId: string; actions: readonly ActionView[] }) {
  const alike = identical(actions);
  return (
    <section className="actions" aria-label={t.actions.title}>
      {actions.map((action) => (
        <Card key={action.id} chatId={chatId} action={action} />
      ))}
      {alike.length > 1 && <AllowAll chatId={chatId} actions={alike} />}
    </section>
  );
}

function Card({ chatId, action }: { chatId: string; action: ActionView }) {
  switch (action.kind) {
    case "approval":
      return <ApprovalCard chatId={chatId} action={action} />;
    case "question":
      return <QuestionCard chatId={chatId} action={action} />;
    case "plan":
      return <PlanCard chatId={chatId} action={action} />;
    case "client_tool":
      return (
        <article className="action-card">
          <p>{t.actions.clientTool(action.tool)}</p>
        </article>
      );
  }
}

/** Approvals of the very same call; empty: they differ. */
function identical(actions: readonly ActionView[]): readonly ActionView[] {
  const approvals = actions.filter((action) => action.kind === "approval");
  return approvals.every((action) => action.args_hash === approvals[0]?.args_hash) ? approvals : [];
}

function AllowAll({ chatId, actions }: { chatId: string; actions: readonly ActionView[] }) {
  const allow = useMutation({
    mutationFn: async () => {
      for (const action of actions) {
        await api.decide(chatId, action.id, { decision: "once", args_hash: action.args_hash });
      }
    },
  });
  return (
    <>
      <Button busy={allow.isPending} onClick={() => allow.mutate()}>
        {t.actions.allowAll(actions.length)}
      </Button>
      {allow.isError && <ProblemNote error={allow.error} />}
    </>
  );
}
