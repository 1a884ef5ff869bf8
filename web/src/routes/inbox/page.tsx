import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { memo, useEffect, useMemo, useState } from "react";
import { api } from "../../lib/api/calls";
import { CHATS_PAGE, chatsQuery, workspacesQuery } from "../../lib/api/queries";
import type { ChatHead } from "../../lib/api/types";
import { isUnread, markSeen, useSeen } from "../../lib/live/seen";
import { age } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { appearance } from "../../lib/ui/appearance";
import { Button } from "../../lib/ui/button";
import { isTyping, useNow, useTitle } from "../../lib/ui/hooks";
import { Mark, markOfHead } from "../../lib/ui/mark";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";
import { groupChats, matches } from "./groups";

export function InboxPage() {
  const client = useQueryClient();
  const chats = useQuery(chatsQuery);
  const workspaces = useQuery(workspacesQuery);
  const seen = useSeen();
  const [filter, setFilter] = useState("");
  const names = useMemo(
    () => new Map(workspaces.data?.items.map((workspace) => [workspace.id, workspace.name])),
    [workspaces.data],
  );
  const all = chats.data?.items ?? [];
  const titles = useMemo(() => new Map(chats.data?.items.map((chat) => [chat.id, chat.title])), [chats.data]);
  const shown = all.filter((chat) => matches(chat, filter, names.get(chat.workspace_id ?? "") ?? ""));
  const groups = groupChats(shown, seen);
  const unread = all.filter((chat) => !chat.parent_id && isUnread(chat, seen));
  const now = useNow(30_000);
  const more = useMutation({
    mutationFn: (cursor: string) => api.chats({ cursor, limit: CHATS_PAGE }),
    onSuccess: (page) =>
      client.setQueryData(chatsQuery.queryKey, (old) => old && { ...page, items: [...old.items, ...page.items] }),
  });
  useTitle(t.inbox.title);
  useRowKeys();

  return (
    <main className="page" id="content">
      <header className="page-head">
        <h1>{t.inbox.title}</h1>
        {unread.length > 0 && (
          <Button look="quiet" icon="check" onClick={() => markSeen(unread)}>
            {t.inbox.markRead}
          </Button>
        )}
        {all.length > 0 && (
          <input
            className="input page-filter"
            type="search"
            aria-label={t.inbox.filter}
            placeholder={t.inbox.filterHint}
            value={filter}
            onChange={(e) => setFilter(e.target.value)}
          />
        )}
      </header>
      {chats.isPending && <LoadingRows rows={8} />}
      {chats.isError && <ProblemNote error={chats.error} onRetry={() => void chats.refetch()} />}
      {chats.data && all.length === 0 && (
        <Empty
          title={t.inbox.empty}
          action={
            <Link to="/new" search={{}} className="button button-primary">
              {t.nav.newChat}
            </Link>
          }
        >
          {t.inbox.emptyText}
        </Empty>
      )}
      {all.length > 0 && shown.length === 0 && <Empty title={t.inbox.noMatch} />}
      <div>
        {groups.map((group) => (
          <section key={group.name} className="ledger-group" aria-labelledby={`group-${group.name}`}>
            <h2 id={`group-${group.name}`} className="ledger-label">
              {t.inbox.groups[group.name]} <span className="ink-3 num">{group.chats.length}</span>
            </h2>
            <ul className="ledger">
              {group.chats.map((chat) => (
                <ChatRow
                  key={chat.id}
                  chat={chat}
                  workspace={names.get(chat.workspace_id ?? "") ?? null}
                  parent={chat.parent_id ? (titles.get(chat.parent_id) ?? t.inbox.untitled) : null}
                  unread={isUnread(chat, seen)}
                  now={now}
                />
              ))}
            </ul>
          </section>
        ))}
        {chats.data?.next_cursor && (
          <Button look="quiet" busy={more.isPending} onClick={() => more.mutate(chats.data.next_cursor ?? "")}>
            {t.inbox.older}
          </Button>
        )}
        {more.isError && <ProblemNote error={more.error} />}
      </div>
    </main>
  );
}

interface ChatRowProps {
  chat: ChatHead;
  workspace: string | null;
  /** The title of the chat whose agent it is. */
  parent: string | null;
  unread: boolean;
  now: number;
}

const ChatRow = memo(function ChatRow({ chat, workspace, parent, unread, now }: ChatRowProps) {
  return (
    <li>
      <Link to="/chats/$chatId" params={{ chatId: chat.id }} className="ledger-row" data-unread={unread || undefined}>
        {chat.queue_position != null ? (
          <Mark state="pending" label={t.chat.queuedAt(chat.queue_position)} />
        ) : (
          <Mark state={markOfHead(chat, unread)} />
        )}
        <span className="ledger-title clip">{chat.title || t.inbox.untitled}</span>
        <span className="ledger-label-cell clip ink-3">{parent === null ? chat.label : t.agents.of(parent)}</span>
        <span className="ledger-meta mono clip ink-2">{workspace ?? t.inbox.noWorkspace}</span>
        <time className="ledger-age num ink-3" dateTime={chat.updated_at}>
          {age(chat.updated_at, now)}
        </time>
      </Link>
    </li>
  );
});

/** `J` and `K` walk the rows. */
function useRowKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const step = event.key === "j" ? 1 : event.key === "k" ? -1 : 0;
      if (step === 0 || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (!appearance().letters || document.querySelector("dialog[open]")) return;
      const rows = [...document.querySelectorAll<HTMLElement>(".ledger-row")];
      const at = rows.indexOf(document.activeElement as HTMLElement);
      rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
