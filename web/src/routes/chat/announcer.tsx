import { useEffect, useRef, useState } from "react";
import type { ChatState } from "../../lib/live/chat-state";
import { t } from "../../lib/text/en";
import { lookOf } from "../../lib/ui/tools/registry";
import type { Durable } from "./items";

/** A sentence at most this often; what comes in between is replaced by what comes last. */
const PAUSE_MS = 5_000;

/** Says in sentences what happens, for those who cannot see it. Tokens are never read out. */
export function Announcer({ chat, durable }: { chat: ChatState; durable: Durable }) {
  const sentence = chat.ready ? sentenceOf(chat, durable) : "";
  const [said, setSaid] = useState("");
  const at = useRef(-PAUSE_MS);
  useEffect(() => {
    if (!sentence) return;
    const wait = Math.max(0, at.current + PAUSE_MS - performance.now());
    const timer = setTimeout(() => {
      at.current = performance.now();
      setSaid(sentence);
    }, wait);
    return () => clearTimeout(timer);
  }, [sentence]);
  return (
    <div className="sr-only" role="status" aria-live="polite">
      {said}
    </div>
  );
}

function sentenceOf(chat: ChatState, durable: Durable): string {
  switch (chat.status) {
    case "requires_action":
      return t.chat.announce.need;
    case "error":
      return t.chat.announce.failed(chat.error?.message ?? "");
    case "waiting":
      return durable.items.length > 0 ? t.chat.announce.finished : "";
    case "interrupting":
      return t.chat.stopping;
    default: {
      if (chat.retry) return t.chat.announce.retry(chat.retry.attempt);
      const last = durable.items.at(-1);
      const views = last?.kind === "answer" ? last.parts.flatMap((p) => (p.type === "tools" ? p.views : [])) : [];
      const open = views.find((view) => durable.open.has(view.id));
      if (!open) return t.chat.announce.working;
      const look = lookOf(open.name);
      return `${look.label[0]} ${look.object(open)}`.trim();
    }
  }
}
