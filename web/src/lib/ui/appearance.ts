/** Theme and density: a setting of this device. */
import { useSyncExternalStore } from "react";
import { load, save } from "./local";

export type Theme = "system" | "light" | "dark";
export type Density = "comfortable" | "compact";
export interface Appearance {
  theme: Theme;
  density: Density;
  /** Single-letter shortcuts can be switched off. */
  letters: boolean;
}

const KEY = "appearance";
const DEFAULT: Appearance = { theme: "system", density: "comfortable", letters: true };
const listeners = new Set<() => void>();
let current: Appearance = { ...DEFAULT, ...load<Partial<Appearance>>(KEY, {}) };

export function applyAppearance(): void {
  const root = document.documentElement;
  if (current.theme === "system") delete root.dataset.theme;
  else root.dataset.theme = current.theme;
  root.dataset.density = current.density;
}

export function appearance(): Appearance {
  return current;
}

export function setAppearance(change: Partial<Appearance>): void {
  current = { ...current, ...change };
  save(KEY, current);
  applyAppearance();
  for (const listener of listeners) listener();
}

export function useAppearance(): Appearance {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
