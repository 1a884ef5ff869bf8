/** The stream of everything the lists show, patched into the query cache. One per page. */
import { useSyncExternalStore } from "react";
import { BASE } from "../api/client";
import { agentsQuery, bootstrapQuery, chatsQuery, meQuery, queryClient, workspaceQuery, workspacesQuery } from "../api/queries";
import type * as S from "../api/types";
import { LiveSocket, socketUrl, type SocketState } from "./socket";

const listeners = new Set<() => void>();

const socket = new LiveSocket({
  url: () => socketUrl(`${BASE}/events`),
  onFrame: (events) => (events as S.ListEvent[]).forEach(take),
  onState: () => {
    for (const listener of listeners) listener();
  },
  onTrouble: () => {
    void queryClient.invalidateQueries({ queryKey: meQuery.queryKey });
    void queryClient.invalidateQueries({ queryKey: bootstrapQuery.queryKey });
  },
});

export function startListStream(): () => void {
  socket.start();
  return () => socket.stop();
}

export function useListSocket(): SocketState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => socket.state,
  );
}

export const retryListStream = socket.retryNow;

function refresh(): void {
  void queryClient.invalidateQueries({ queryKey: chatsQuery.queryKey });
  void queryClient.invalidateQueries({ queryKey: workspacesQuery.queryKey });
  void queryClient.invalidateQueries({ queryKey: ["workspace"] });
  void queryClient.invalidateQueries({ queryKey: ["agents"] });
}

function take(event: S.ListEvent): void {
  switch (event.type) {
    case "chat":
      queryClient.setQueryData(chatsQuery.queryKey, (page) => page && withChat(page, event.chat));
      if (event.chat.parent_id) {
        const { queryKey } = agentsQuery(event.chat.parent_id);
        queryClient.setQueryData(queryKey, (page) => page && withAgent(page, event.chat));
      }
      break;
    case "chat_removed":
      queryClient.setQueryData(
        chatsQuery.queryKey,
        (page) => page && { ...page, items: page.items.filter((chat) => chat.id !== event.id) },
      );
      break;
    case "ready":
      // Subscribed: what changed between an earlier read and now is read again.
      refresh();
      break;
    case "workspace_removed":
      queryClient.setQueryData(
        workspacesQuery.queryKey,
        (page) => page && { ...page, items: page.items.filter((item) => item.id !== event.id) },
      );
      break;
    case "workspace": {
      const workspace = event.workspace;
      queryClient.setQueryData(workspacesQuery.queryKey, (page) => page && withWorkspace(page, workspace));
      queryClient.setQueryData(workspaceQuery(workspace.id).queryKey, workspace);
      break;
    }
    case "resync":
      refresh();
      break;
    default:
      break;
  }
}

/** A list with one chat in its place: newest change first, archived ones gone. */
export function withChat(page: S.Page<S.ChatHead>, chat: S.ChatHead): S.Page<S.ChatHead> {
  const there = page.items.find((item) => item.id === chat.id);
  if (there && there.snapshot_version > chat.snapshot_version) return page;
  const others = page.items.filter((item) => item.id !== chat.id);
  if (chat.archived) return { ...page, items: others };
  const at = others.findIndex((item) => item.updated_at <= chat.updated_at);
  const items = [...others];
  items.splice(at < 0 ? items.length : at, 0, chat);
  return { ...page, items };
}

/** A chat's agents with one in its place: newest first, and the order never changes. */
export function withAgent(page: S.Page<S.ChatHead>, agent: S.ChatHead): S.Page<S.ChatHead> {
  const at = page.items.findIndex((item) => item.id === agent.id);
  if (at < 0) return { ...page, items: [agent, ...page.items] };
  if ((page.items[at]?.snapshot_version ?? 0) > agent.snapshot_version) return page;
  return { ...page, items: page.items.with(at, agent) };
}

function withWorkspace(page: S.Page<S.WorkspaceView>, workspace: S.WorkspaceView): S.Page<S.WorkspaceView> {
  const at = page.items.findIndex((item) => item.id === workspace.id);
  if (at < 0) return { ...page, items: [...page.items, workspace] };
  return { ...page, items: page.items.with(at, workspace) };
}
