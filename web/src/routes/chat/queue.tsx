import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import type { QueuedView } from "../../lib/api/types";
import { firstLine } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { Icon } from "../../lib/ui/icon";
import { ProblemNote } from "../../lib/ui/states";
import { saying } from "./files/saying";
import { filesIn } from "./files/shown";
import { textOf } from "./items";

/** What waits to be said, in order. The stream renews it, nothing is changed here. */
export function Queue({ chatId, items }: { chatId: string; items: readonly QueuedView[] }) {
  const [editing, setEditing] = useState<string | null>(null);
  const remove = useMutation({ mutationFn: (id: string) => api.deleteQueued(chatId, id) });
  const promote = useMutation({ mutationFn: (id: string) => api.promoteQueued(chatId, id) });
  const move = useMutation({
    mutationFn: ({ id, position }: { id: string; position: number }) => api.editQueued(chatId, id, { position }),
  });
  const error = remove.error ?? promote.error ?? move.error;
  return (
    <section className="queue" aria-label={t.chat.queued}>
      <p className="queue-label">{t.chat.queuedCount(items.length)}</p>
      <ol>
        {items.map((item, i) => (
          <li key={item.id} className="queue-row">
            {editing === item.id ? (
              <Rewrite chatId={chatId} item={item} onDone={() => setEditing(null)} />
            ) : (
              <>
                <span className="clip">{firstLine(textOf(item.content)) || namesOf(item)}</span>
                {filesIn(item.content).length > 0 && (
                  <span className="queue-files num" title={namesOf(item)}>
                    <Icon name="attach" size={14} /> {filesIn(item.content).length}
                    <span className="sr-only">{namesOf(item)}</span>
                  </span>
                )}
                <Button look="quiet" disabled={promote.isPending} onClick={() => promote.mutate(item.id)}>
                  {t.chat.sendNow}
                </Button>
                {i > 0 && (
                  <IconButton
                    icon="send"
                    label={t.chat.moveUp}
                    disabled={move.isPending}
                    onClick={() => move.mutate({ id: item.id, position: i - 1 })}
                  />
                )}
                {i < items.length - 1 && (
                  <IconButton
                    icon="down"
                    label={t.chat.moveDown}
                    disabled={move.isPending}
                    onClick={() => move.mutate({ id: item.id, position: i + 1 })}
                  />
                )}
                <IconButton icon="edit" label={t.chat.editQueued} onClick={() => setEditing(item.id)} />
                <IconButton
                  icon="close"
                  label={t.chat.unqueue}
                  disabled={remove.isPending}
                  onClick={() => remove.mutate(item.id)}
                />
              </>
            )}
          </li>
        ))}
      </ol>
      {error && <ProblemNote error={error} />}
    </section>
  );
}

const namesOf = (item: QueuedView) => filesIn(item.content).map((file) => file.name).join(", ");

function Rewrite({ chatId, item, onDone }: { chatId: string; item: QueuedView; onDone: () => void }) {
  const [text, setText] = useState(textOf(item.content));
  const files = filesIn(item.content);
  const save = useMutation({
    mutationFn: () => api.editQueued(chatId, item.id, { content: saying(text.trim() ? text : "", files) }),
    onSuccess: onDone,
  });
  return (
    <form
      className="edit-form"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <textarea
        className="input"
        autoFocus
        aria-label={t.chat.editField}
        value={text}
        onChange={(e) => setText(e.target.value)}
      />
      {save.isError && <ProblemNote error={save.error} />}
      <div className="form-actions">
        <Button type="submit" look="primary" busy={save.isPending} disabled={!text.trim() && files.length === 0}>
          {t.common.save}
        </Button>
        <Button look="quiet" onClick={onDone}>
          {t.common.cancel}
        </Button>
      </div>
    </form>
  );
}
