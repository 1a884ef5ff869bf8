import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { chatQuery, chatsQuery } from "../../lib/api/queries";
import type { ChatHead, ChatStatus, WorkspaceView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { Dialog } from "../../lib/ui/dialog";
import { Field } from "../../lib/ui/field";
import { Icon } from "../../lib/ui/icon";
import { Mark, markOfHead, markOfWorkspace } from "../../lib/ui/mark";
import { ProblemNote } from "../../lib/ui/states";

// Not needed for the first paint.
const ChatMenu = lazy(() => import("./menu"));

interface ChatHeaderProps {
  chat: ChatHead;
  status: ChatStatus;
  workspace: WorkspaceView | null;
}

export function ChatHeader({ chat, status, workspace }: ChatHeaderProps) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [renaming, setRenaming] = useState(false);
  const archive = useMutation({
    mutationFn: () => (chat.archived ? api.unarchive(chat.id) : api.archive(chat.id)),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: chatsQuery.queryKey });
      await client.invalidateQueries({ queryKey: chatQuery(chat.id).queryKey });
      if (!chat.archived) await navigate({ to: "/" });
    },
  });
  const compact = useMutation({ mutationFn: () => api.compact(chat.id) });
  return (
    <header className="chat-head">
      {chat.parent_id ? (
        <Link
          to="/chats/$chatId"
          params={{ chatId: chat.parent_id }}
          className="icon-button chat-parent"
          aria-label={t.chat.parent}
        >
          <Icon name="back" />
        </Link>
      ) : (
        <Link to="/" className="icon-button chat-back" aria-label={t.nav.inbox}>
          <Icon name="back" />
        </Link>
      )}
      <Mark state={markOfHead({ ...chat, status }, false)} />
      <h1 className="chat-title clip" title={chat.title}>
        {chat.title || t.inbox.untitled}
      </h1>
      {workspace && (
        <Link to="/workspaces/$workspaceId" params={{ workspaceId: workspace.id }} className="chat-workspace mono">
          <Mark state={markOfWorkspace(workspace.status)} />
          <span className="clip">{workspace.name}</span>
        </Link>
      )}
      <Suspense fallback={<IconButton icon="more" label={t.common.more} disabled />}>
        <ChatMenu
          archived={chat.archived}
          onRename={() => setRenaming(true)}
          onArchive={() => archive.mutate()}
          onCompact={() => compact.mutate()}
          onTrace={() => void navigate({ to: "/chats/$chatId/trace", params: { chatId: chat.id } })}
        />
      </Suspense>
      {compact.isError && <ProblemNote error={compact.error} />}
      {archive.isError && <ProblemNote error={archive.error} />}
      {renaming && <Rename chat={chat} onClose={() => setRenaming(false)} />}
    </header>
  );
}

function Rename({ chat, onClose }: { chat: ChatHead; onClose: () => void }) {
  const client = useQueryClient();
  const [title, setTitle] = useState(chat.title);
  const save = useMutation({
    mutationFn: () => api.patchChat(chat.id, { title: title.trim() }),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries({ queryKey: chatsQuery.queryKey });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Dialog title={t.chat.rename} onClose={onClose}>
      <form className="form" onSubmit={submit}>
        <Field label={t.chat.titleField} autoFocus required value={title} onChange={(e) => setTitle(e.target.value)} />
        {save.isError && <ProblemNote error={save.error} />}
        <div className="form-actions">
          <Button type="submit" look="primary" busy={save.isPending}>
            {t.common.save}
          </Button>
          <Button look="quiet" onClick={onClose}>
            {t.common.cancel}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
