import { useMutation } from "@tanstack/react-query";
import { memo, useId, useState } from "react";
import { api } from "../../lib/api/calls";
import type { MessageView } from "../../lib/api/types";
import { clock } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, CopyButton, IconButton } from "../../lib/ui/button";
import { ProblemNote } from "../../lib/ui/states";
import { saying } from "./files/saying";
import { Files, filesIn } from "./files/shown";
import type { UserItem } from "./items";

interface UserArticleProps {
  item: UserItem;
  position: number;
  size: number;
}

/** What a person said. It can be said anew: what followed stays as a branch. */
export const UserArticle = memo(function UserArticle({ item, position, size }: UserArticleProps) {
  const id = useId();
  const [editing, setEditing] = useState(false);
  const { message } = item;
  return (
    <article className="said" aria-labelledby={id} aria-posinset={position} aria-setsize={size} tabIndex={-1}>
      <header className="article-head">
        <h2 id={id}>
          {t.chat.you} <time dateTime={message.created_at}>{clock(message.created_at)}</time>
        </h2>
        {message.label && <span className="turn-label ink-3 clip">{message.label}</span>}
        {message.branch && <Branches message={message} />}
        {item.text && <CopyButton text={item.text} />}
        <button type="button" className="copy" onClick={() => setEditing(!editing)} aria-expanded={editing}>
          {t.chat.edit}
        </button>
      </header>
      {editing ? (
        <Edit message={message} text={item.text} onDone={() => setEditing(false)} />
      ) : (
        <>
          {item.text && <div className="said-text">{item.text}</div>}
          <Files chatId={message.chat_id} files={filesIn(message.content)} />
        </>
      )}
    </article>
  );
});

/** `‹ 2/3 ›`: the texts that this message has had. */
function Branches({ message }: { message: MessageView }) {
  const show = useMutation({
    mutationFn: async (at: number) => {
      const { items } = await api.variants(message.chat_id, message.id);
      const other = items[at - 1];
      if (other) await api.showBranch(message.chat_id, other.id);
    },
  });
  const { at, of } = message.branch ?? { at: 1, of: 1 };
  return (
    <span className="branches">
      <IconButton
        icon="back"
        label={t.chat.branchBefore}
        disabled={at <= 1 || show.isPending}
        onClick={() => show.mutate(at - 1)}
      />
      <span className="num">{t.chat.branchOf(at, of)}</span>
      <IconButton
        icon="chevron"
        label={t.chat.branchAfter}
        disabled={at >= of || show.isPending}
        onClick={() => show.mutate(at + 1)}
      />
      {show.isError && <ProblemNote error={show.error} />}
    </span>
  );
}

function Edit({ message, text: before, onDone }: { message: MessageView; text: string; onDone: () => void }) {
  const [text, setText] = useState(before);
  const files = filesIn(message.content);
  const edit = useMutation({
    // The files stay with the message.
    mutationFn: () => api.editMessage(message.chat_id, message.id, saying(text.trim() ? text : "", files)),
    onSuccess: onDone,
  });
  return (
    <form
      className="edit-form"
      onSubmit={(event) => {
        event.preventDefault();
        edit.mutate();
      }}
    >
      <textarea
        className="input"
        autoFocus
        aria-label={t.chat.editField}
        value={text}
        onChange={(e) => setText(e.target.value)}
      />
      <Files chatId={message.chat_id} files={files} />
      <p className="ink-2">{t.chat.editHint}</p>
      {edit.isError && <ProblemNote error={edit.error} />}
      <div className="form-actions">
        <Button type="submit" look="primary" busy={edit.isPending} disabled={!text.trim() && files.length === 0}>
          {t.chat.editRun}
        </Button>
        <Button look="quiet" onClick={onDone}>
          {t.common.cancel}
        </Button>
      </div>
    </form>
  );
}
