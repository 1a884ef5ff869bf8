import { memo, useId, useMemo } from "react";
import type { PreviewItem } from "../../lib/live/chat-state";
import { clock, count, duration, firstLine } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { CopyButton } from "../../lib/ui/button";
import { CompactionRow } from "../../lib/ui/compaction";
import { Icon } from "../../lib/ui/icon";
import { Markdown } from "../../lib/ui/markdown/markdown";
import { useExpanded } from "../../lib/ui/tools/expanded";
import { ToolGroup } from "../../lib/ui/tools/group";
import { withLive, type AnswerItem, type ViewPart } from "./items";

/** How the piece of the spine beside an article looks. */
export type RailState = "done" | "work" | "need" | "fail" | "lost";

interface AnswerArticleProps {
  item: AnswerItem;
  position: number;
  size: number;
  tools: ReadonlyMap<string, PreviewItem>;
  running: boolean;
  /** Calls that wait for a person. */
  asked: ReadonlySet<string>;
  rail: RailState;
  facts: { ms: number; tokens: number } | null;
}

export const AnswerArticle = memo(function AnswerArticle(props: AnswerArticleProps) {
  const { item, position, size, tools, running, asked, rail, facts } = props;
  const id = useId();
  const parts = useMemo(() => withLive(item.parts, tools, running, asked), [item.parts, tools, running, asked]);
  const { message } = item;
  const copy = parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");
  return (
    <article
      className={`answer rail-${rail}`}
      aria-labelledby={id}
      aria-posinset={position}
      aria-setsize={size}
      aria-busy={!message || undefined}
      tabIndex={-1}
    >
      <header className={item.first ? "article-head" : "sr-only"}>
        <h2 id={id}>
          {message?.model ?? t.chat.agent}{" "}
          {message && <time dateTime={message.created_at}>{clock(message.created_at)}</time>}
        </h2>
      </header>
      {parts.map((part) => (
        <Part key={part.key} part={part} />
      ))}
      {!message && parts.length === 0 && <p className="thinking">{t.chat.waiting}</p>}
      {message && facts && (
        <footer className="article-foot">
          {facts.ms > 0 && <span className="num">{duration(facts.ms)}</span>}
          {facts.tokens > 0 && <span className="num">{t.chat.tokens(count(facts.tokens))}</span>}
          {copy && <CopyButton text={copy} />}
        </footer>
      )}
    </article>
  );
});

function Part({ part }: { part: ViewPart }) {
  switch (part.type) {
    case "text":
      return <Markdown text={part.text} />;
    case "reasoning":
      return <Thinking id={part.key} text={part.text} open={part.open} />;
    case "tools":
      return <ToolGroup views={part.views} />;
    case "notice":
      return (
        <p className="notice" data-code={part.code}>
          <Icon name={part.code === "outcome_unknown" ? "warn" : "anchor"} size={14} />
          {part.text}
        </p>
      );
    case "compaction":
      return <CompactionRow id={part.key} mark={part.mark} text={part.text} />;
  }
}

/** Thinking is one line: its end while it grows, a closed row afterwards. */
function Thinking({ id, text, open: growing }: { id: string; text: string; open: boolean }) {
  const [open, toggle] = useExpanded(id);
  if (growing && !open) {
    return (
      <button type="button" className="thinking" aria-expanded={false} onClick={toggle}>
        <span className="clip">{lastLine(text)}</span>
      </button>
    );
  }
  return (
    <>
      <button type="button" className="thinking" aria-expanded={open} onClick={toggle}>
        <span className="clip">{open ? t.chat.thought : `${t.chat.thought}: ${firstLine(text)}`}</span>
      </button>
      {open && <div className="thinking-text">{text}</div>}
    </>
  );
}

function lastLine(text: string): string {
  const trimmed = text.trimEnd();
  return trimmed.slice(trimmed.lastIndexOf("\n") + 1) || t.chat.waiting;
}
