import "../../styles/trace.css";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { chatQuery, tracesQuery } from "../../lib/api/queries";
import type { SpanView } from "../../lib/api/types";
import { clock, count, duration } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { useNow, useTitle } from "../../lib/ui/hooks";
import { Icon } from "../../lib/ui/icon";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";
import { SpanDetail } from "./detail";
import { label, number, turns, type Row, type Turn } from "./waterfall";

export function TracePage() {
  const { chatId } = useParams({ from: "/shell/chats/$chatId/trace" });
  const chat = useQuery(chatQuery(chatId));
  const traces = useQuery(tracesQuery(chatId));
  useTitle(t.trace.title);
  const items = traces.data?.items;
  const running = items?.some((span) => span.status === "running") ?? false;
  const now = useNow(running ? 500 : 60_000);
  const blocks = useMemo(() => turns(items ?? [], now), [items, now]);
  const [open, setOpen] = useState<string | null>(null);
  return (
    <main className="page trace" id="content">
      <header className="page-head">
        <Link to="/chats/$chatId" params={{ chatId }} className="icon-button" aria-label={t.trace.back}>
          <Icon name="back" />
        </Link>
        <h1 className="clip">
          {t.trace.title} <span className="ink-2">{chat.data?.title}</span>
        </h1>
      </header>
      <ul className="trace-legend" aria-label={t.trace.legend}>
        {(["wait", "stream", "queue", "transfer", "execute", "return"] as const).map((phase) => (
          <li key={phase}>
            <span className={`trace-swatch phase-${phase}`} aria-hidden="true" />
            {t.trace.phases[phase]}
          </li>
        ))}
      </ul>
      {traces.isPending && <LoadingRows rows={6} />}
      {traces.isError && <ProblemNote error={traces.error} onRetry={() => void traces.refetch()} />}
      {traces.isSuccess && blocks.length === 0 && <Empty title={t.trace.empty} />}
      {blocks.map((block) => (
        <TurnBlock
          key={block.span.id}
          chatId={chatId}
          turn={block}
          open={open}
          onOpen={(id) => setOpen(open === id ? null : id)}
        />
      ))}
    </main>
  );
}

interface TurnBlockProps {
  chatId: string;
  turn: Turn;
  open: string | null;
  onOpen: (id: string) => void;
}

function TurnBlock({ chatId, turn, open, onOpen }: TurnBlockProps) {
  const { span, rows } = turn;
  const sum = (name: string) => rows.reduce((total, row) => total + (number(row.span, name) ?? 0), 0);
  const input = sum("gen_ai.usage.input_tokens");
  const cached = sum("gen_ai.usage.cache_read.input_tokens");
  const output = sum("gen_ai.usage.output_tokens");
  const cost = sum("holdfast.cost_micros");
  return (
    <section className="trace-turn" aria-label={t.trace.turnAt(clock(span.started_at))}>
      <header className="trace-turn-head" data-status={span.status}>
        <h2>
          <time dateTime={span.started_at}>{clock(span.started_at)}</time> {t.trace.statuses[span.status] ?? span.status}
        </h2>
        <span className="num">{duration(turn.ms)}</span>
        {input + output > 0 && (
          <span className="num ink-2">
            {t.trace.tokens(count(input), count(cached), count(output))}
            {cost > 0 && ` · ${t.trace.cost(cost)}`}
          </span>
        )}
      </header>
      <ol className="trace-rows">
        {rows.map((row) => (
          <li key={row.span.id}>
            <TraceRow row={row} open={open === row.span.id} onOpen={() => onOpen(row.span.id)} />
            {open === row.span.id && <SpanDetail chatId={chatId} span={row.span} />}
          </li>
        ))}
      </ol>
    </section>
  );
}

function TraceRow({ row, open, onOpen }: { row: Row; open: boolean; onOpen: () => void }) {
  const { span, depth, ms, segments } = row;
  return (
    <button type="button" className="trace-row" data-status={span.status} aria-expanded={open} onClick={onOpen}>
      <span className="trace-name clip" style={{ paddingLeft: (depth - 1) * 14 }}>
        <Icon name={ICONS[span.kind] ?? "unknown"} size={14} />
        <span className="clip">{label(span)}</span>
      </span>
      <span className="trace-axis" aria-hidden="true">
        {segments.map((segment) => (
          <span
            key={segment.phase}
            className={`trace-bar phase-${segment.phase}`}
            style={{ left: `${segment.left * 100}%`, width: `${segment.width * 100}%` }}
          />
        ))}
      </span>
      <span className="trace-ms num">{duration(ms)}</span>
      <span className="sr-only">{t.trace.statuses[span.status] ?? span.status}</span>
    </button>
  );
}

const ICONS: Record<SpanView["kind"], "list" | "think" | "terminal" | "archive"> = {
  step: "list",
  attempt: "think",
  tool: "terminal",
  compaction: "archive",
};
