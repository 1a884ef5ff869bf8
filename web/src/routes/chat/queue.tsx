import { useMutation } from "@tanstack/react-query";
import { api } from "../../lib/api/calls";
import type { QueuedView } from "../../lib/api/types";
import { firstLine } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { ProblemNote } from "../../lib/ui/states";
import { textOf } from "./items";

/** What waits to be said, in order. The stream renews it, nothing is changed here. */
export function Queue({ chatId, items }: { chatId: string; items: readonly QueuedView[] }) {
  const remove = useMutation({ mutationFn: (id: string) => api.deleteQueued(chatId, id) });
  const promote = useMutation({ mutationFn: (id: string) => api.promoteQueued(chatId, id) });
  const error = remove.error ?? promote.error;
  return (
    <section className="queue" aria-label={t.chat.queued}>
      <p className="queue-label">{t.chat.queuedCount(items.length)}</p>
      <ol>
        {items.map((item) => (
          <li key={item.id} className="queue-row">
            <span className="clip">{firstLine(textOf(item.content))}</span>
            <Button look="quiet" disabled={promote.isPending} onClick={() => promote.mutate(item.id)}>
              {t.chat.sendNow}
            </Button>
            <IconButton
              icon="close"
              label={t.chat.unqueue}
              disabled={remove.isPending}
              onClick={() => remove.mutate(item.id)}
            />
          </li>
        ))}
      </ol>
      {error && <ProblemNote error={error} />}
    </section>
  );
}
