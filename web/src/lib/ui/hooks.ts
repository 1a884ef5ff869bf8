import { useEffect, useState } from "react";

/** The present moment, renewed at an interval while the page is visible. */
export function useNow(intervalMs: number, active = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!active) return;
    setNow(Date.now());
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") setNow(Date.now());
    }, intervalMs);
    return () => clearInterval(timer);
  }, [intervalMs, active]);
  return now;
}

let attention = 0;
let title = "";

function showTitle(): void {
  const count = attention > 0 ? `(${attention}) ` : "";
  document.title = `${count}${title ? `${title} · Holdfast` : "Holdfast"}`;
}

/** The title of the browser's tab. */
export function useTitle(text: string): void {
  useEffect(() => {
    title = text;
    showTitle();
  }, [text]);
}

/** How many chats need a person: shown before the title, so that a tab in the background says it. */
export function useAttention(count: number): void {
  useEffect(() => {
    attention = count;
    showTitle();
  }, [count]);
}

/** Whether focus is where letters are text. */
export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName))
  );
}
