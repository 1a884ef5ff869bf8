import type { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { appearance } from "./appearance";
import { isTyping } from "./hooks";

export type Overlay = "palette" | "shortcuts" | null;

/** Time within which the second letter of a pair counts. */
const PAIR_MS = 700;

/** The keys that work on every page. Letters act only outside text fields, and can be switched off. */
export function useShortcuts(
  navigate: ReturnType<typeof useNavigate>,
  open: (overlay: Overlay) => void,
  busy: boolean,
): void {
  const first = useRef<{ key: string; at: number } | null>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing) return;
      const key = event.key.toLowerCase();
      if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && key === "k") {
        event.preventDefault();
        open("palette");
        return;
      }
      if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
      if (isTyping(event.target) || !appearance().letters) return;
      const pair = first.current && event.timeStamp - first.current.at < PAIR_MS ? first.current.key : "";
      first.current = null;
      if (pair === "g" && key === "i") void navigate({ to: "/" });
      else if (pair === "g" && key === "w") void navigate({ to: "/workspaces" });
      else if (pair === "g" && key === "s") void navigate({ to: "/settings" });
      else if (key === "g") first.current = { key, at: event.timeStamp };
      else if (key === "c") void navigate({ to: "/new", search: {} });
      else if (key === "?") open("shortcuts");
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [navigate, open, busy]);
}
