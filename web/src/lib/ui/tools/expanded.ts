/** Which rows are open: kept outside the rows, which come and go with the window. */
import { useCallback, useSyncExternalStore } from "react";

const KEPT = 500;
const open = new Set<string>();
const listeners = new Set<() => void>();

function tell(): void {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useExpanded(id: string): readonly [boolean, () => void] {
  const isOpen = useSyncExternalStore(subscribe, () => open.has(id));
  const toggle = useCallback(() => setExpanded([id], !open.has(id)), [id]);
  return [isOpen, toggle];
}

export function setExpanded(ids: Iterable<string>, value: boolean): void {
  for (const id of ids) {
    if (value) open.add(id);
    else open.delete(id);
  }
  for (const old of open) {
    if (open.size <= KEPT) break;
    open.delete(old);
  }
  tell();
}

/** Opens all of them, or closes all if every one is open. */
export function toggleAll(ids: readonly string[]): void {
  setExpanded(ids, !ids.every((id) => open.has(id)));
}
