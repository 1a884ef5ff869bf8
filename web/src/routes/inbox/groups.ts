import type { ChatHead } from "../../lib/api/types";
import { isUnread } from "../../lib/live/seen";

export type GroupName = "need" | "work" | "done" | "earlier";

export interface Group {
  name: GroupName;
  chats: ChatHead[];
}

const ORDER: readonly GroupName[] = ["need", "work", "done", "earlier"];

/** The inbox: what needs a person first, then what runs, then what is new, then the rest. */
export function groupChats(chats: readonly ChatHead[], seen: Readonly<Record<string, number>>): Group[] {
  const groups = new Map<GroupName, ChatHead[]>(ORDER.map((name) => [name, []]));
  for (const chat of chats) {
    const group = groupOf(chat, seen);
    // An agent stands under the chat that began it; here only when it needs a person itself.
    if (chat.parent_id && (group !== "need" || chat.status === "error")) continue;
    groups.get(group)?.push(chat);
  }
  return ORDER.map((name) => ({ name, chats: groups.get(name) ?? [] })).filter((g) => g.chats.length > 0);
}

function groupOf(chat: ChatHead, seen: Readonly<Record<string, number>>): GroupName {
  switch (chat.status) {
    case "requires_action":
      return chat.waits_for_agents ? "work" : "need";
    case "error":
      return "need";
    case "running":
    case "interrupting":
      return "work";
    default:
      return isUnread(chat, seen) ? "done" : "earlier";
  }
}

/** Words of the title or label, `is:working`, `ws:name`. All must match. */
export function matches(chat: ChatHead, filter: string, workspace: string): boolean {
  return filter
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((word) => {
      if (word.startsWith("is:")) return STATES[word.slice(3)]?.includes(chat.status) ?? false;
      if (word.startsWith("ws:")) return workspace.toLowerCase().startsWith(word.slice(3));
      return `${chat.title} ${chat.label ?? ""}`.toLowerCase().includes(word);
    });
}

const STATES: Record<string, readonly string[]> = {
  working: ["running", "interrupting"],
  waiting: ["requires_action", "error"],
  failed: ["error"],
  done: ["waiting"],
};
