/** Which change of each chat this device has shown to its reader. */
import { useSyncExternalStore } from "react";
import type { ChatHead } from "../api/types";
import { load, save } from "../ui/local";

const KEY = "seen";
const KEPT = 2_000;
type Seen = Readonly<Record<string, number>>;

let seen: Seen = load<Record<string, number>>(KEY, {});
const listeners = new Set<() => void>();

export function useSeen(): Seen {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => seen,
  );
}

/** At rest with something that was not looked at. */
export function isUnread(chat: ChatHead, known: Seen): boolean {
  return chat.status === "waiting" && (known[chat.id] ?? 0) < chat.snapshot_version;
}

export function markSeen(chats: ReadonlyArray<Pick<ChatHead, "id" | "snapshot_version">>): void {
  const fresh = chats.filter((chat) => (seen[chat.id] ?? 0) < chat.snapshot_version);
  if (fresh.length === 0) return;
  const all = { ...seen, ...Object.fromEntries(fresh.map((chat) => [chat.id, chat.snapshot_version])) };
  // Ids begin with their time, so the greatest are the newest.
  seen = Object.fromEntries(Object.entries(all).toSorted().slice(-KEPT));
  save(KEY, seen);
  for (const listener of listeners) listener();
}
