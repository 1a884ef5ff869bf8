import { useEffect, useRef } from "react";
import { appearance } from "../../lib/ui/appearance";
import { isTyping } from "../../lib/ui/hooks";
import { toggleAll } from "../../lib/ui/tools/expanded";
import type { Durable } from "./items";

/** A second Escape within this time stops the turn. */
const TWICE_MS = 1_500;
const REGIONS = [".sidebar", ".transcript", ".composer textarea"];

interface ChatKeys {
  busy: boolean;
  onStop: () => void;
  durable: Durable;
}

/** The keys of the chat page. */
export function useChatKeys(keys: ChatKeys): void {
  const latest = useRef(keys);
  const escape = useRef(-TWICE_MS);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { busy, onStop, durable } = latest.current;
      if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
      const mod = event.ctrlKey || event.metaKey;
      if (event.key === "Escape") {
        const again = event.timeStamp - escape.current < TWICE_MS;
        escape.current = again ? -TWICE_MS : event.timeStamp;
        if (!busy) return;
        if (again) onStop();
        else document.querySelector<HTMLElement>(".composer .stop")?.focus();
      } else if (mod && event.key === ".") {
        if (busy) onStop();
      } else if (event.key === "F6") {
        cycle(event.shiftKey ? -1 : 1);
      } else if (!mod && !event.altKey && appearance().letters && !isTyping(event.target)) {
        if (event.key === "/") focus(".composer textarea");
        else if (event.key === "O" && event.shiftKey) toggleAll(toolIds(durable));
        else if (event.key.toLowerCase() === "m") document.querySelector<HTMLElement>(".model-button")?.click();
        else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
        else return;
      } else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function focus(selector: string): void {
  document.querySelector<HTMLElement>(selector)?.focus();
}

/** Moves the focus to the next region of the page. */
function cycle(by: number): void {
  const regions = REGIONS.map((selector) => document.querySelector<HTMLElement>(selector)).filter((it) => it !== null);
  const at = regions.findIndex((region) => region.contains(document.activeElement));
  const next = regions[(at + by + regions.length) % regions.length];
  const target = next?.matches("textarea, [tabindex]") ? next : next?.querySelector<HTMLElement>("a, button");
  target?.focus();
}

/** Moves the focus to the next message. */
function step(by: number): void {
  const articles = [...document.querySelectorAll<HTMLElement>(".transcript article")];
  const at = articles.findIndex((article) => article.contains(document.activeElement));
  const next = articles[at < 0 ? articles.length - 1 : Math.min(articles.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function toolIds(durable: Durable): string[] {
  return durable.items.flatMap((item) =>
    item.kind === "answer"
      ? item.parts.flatMap((part) => (part.type === "tools" ? part.views.map((view) => view.id) : []))
      : [],
  );
}
