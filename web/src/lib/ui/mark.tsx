import type { ChatHead, ChatStatus, WorkspaceStatus } from "../api/types";
import { t } from "../text/en";

export type MarkState = "rest" | "unread" | "work" | "need" | "fail" | "lost" | "pending";

export function markOfChat(status: ChatStatus, unread: boolean): MarkState {
  switch (status) {
    case "running":
    case "interrupting":
      return "work";
    case "requires_action":
      return "need";
    case "error":
      return "fail";
    default:
      return unread ? "unread" : "rest";
  }
}

/** As `markOfChat`; who waits for agents alone needs nobody. */
export function markOfHead(chat: Pick<ChatHead, "status" | "waits_for_agents">, unread: boolean): MarkState {
  return chat.status === "requires_action" && chat.waits_for_agents ? "work" : markOfChat(chat.status, unread);
}

export function markOfWorkspace(status: WorkspaceStatus): MarkState {
  return status === "connected" ? "rest" : status === "unreachable" ? "lost" : "pending";
}

/** A piece of the spine: shape and pattern carry the state, colour only repeats it. */
export function Mark({ state, label }: { state: MarkState; label?: string }) {
  return <span className={`mark mark-${state}`} role="img" aria-label={label ?? t.marks[state]} />;
}
