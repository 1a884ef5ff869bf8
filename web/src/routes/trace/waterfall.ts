/**
 * Spans as the rows of a waterfall: one block per turn, its steps, attempts and tools below it on
 * one time axis. Pure.
 */
import type * as S from "../../lib/api/types";
import { t } from "../../lib/text/en";

export type Phase = "wait" | "stream" | "queue" | "transfer" | "execute" | "return" | "whole";

export interface Segment {
  phase: Phase;
  /** From the begin of the turn, 0 to 1. */
  left: number;
  width: number;
}

export interface Row {
  span: S.SpanView;
  depth: number;
  ms: number;
  segments: Segment[];
}

export interface Turn {
  span: S.SpanView;
  ms: number;
  rows: Row[];
}

/** Newest turn first; rows in the order of their begin. */
export function turns(spans: readonly S.SpanView[], nowMs: number): Turn[] {
  const children = new Map<string, S.SpanView[]>();
  for (const span of spans) {
    if (!span.parent_id) continue;
    const siblings = children.get(span.parent_id);
    if (siblings) siblings.push(span);
    else children.set(span.parent_id, [span]);
  }
  return spans
    .filter((span) => span.kind === "turn")
    .map((span) => turn(span, children, nowMs))
    .toReversed();
}

function turn(span: S.SpanView, children: ReadonlyMap<string, S.SpanView[]>, nowMs: number): Turn {
  const begin = Date.parse(span.started_at);
  const below = flat(span, 1, children);
  const end = Math.max(endOf(span, nowMs), ...below.map(([child]) => endOf(child, nowMs)));
  const total = Math.max(end - begin, 1);
  const rows = below.map(([child, depth]) => {
    const from = Date.parse(child.started_at);
    const ms = endOf(child, nowMs) - from;
    const scale = (at: number) => Math.min(Math.max((at - begin) / total, 0), 1);
    const segments = phases(child, ms).map(([phase, start, length]) => {
      const left = scale(from + start);
      return { phase, left, width: scale(from + start + length) - left };
    });
    return { span: child, depth, ms, segments };
  });
  return { span, ms: end - begin, rows };
}

function flat(
  span: S.SpanView,
  depth: number,
  children: ReadonlyMap<string, S.SpanView[]>,
): [S.SpanView, number][] {
  return (children.get(span.id) ?? [])
    .toSorted((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at) || order(a) - order(b))
    .flatMap((child) => [[child, depth] as [S.SpanView, number], ...flat(child, depth + 1, children)]);
}

/** Of what begins in the same millisecond: the model's call before the tools that it asked for. */
function order(span: S.SpanView): number {
  return span.kind === "attempt" ? 0 : 1;
}

function endOf(span: S.SpanView, nowMs: number): number {
  return span.ended_at ? Date.parse(span.ended_at) : Math.max(nowMs, Date.parse(span.started_at));
}

/** What a span spent its time with: phase, start and length in milliseconds. */
function phases(span: S.SpanView, ms: number): [Phase, number, number][] {
  const first = number(span, "holdfast.time_to_first_chunk_ms");
  if (span.kind === "attempt" && first !== null) {
    const wait = Math.min(first, ms);
    return [
      ["wait", 0, wait],
      ["stream", wait, ms - wait],
    ];
  }
  if (span.kind === "tool" && number(span, "holdfast.execute_ms") !== null) {
    const names = ["queue", "transfer", "execute", "return"] as const;
    let start = 0;
    return names.map((phase) => {
      const length = number(span, `holdfast.${phase}_ms`) ?? 0;
      const segment: [Phase, number, number] = [phase, start, length];
      start += length;
      return segment;
    });
  }
  return [["whole", 0, ms]];
}

export function number(span: S.SpanView, name: string): number | null {
  const value = (span.attributes as Record<string, unknown>)[name];
  return typeof value === "number" ? value : null;
}

export function text(span: S.SpanView, name: string): string | null {
  const value = (span.attributes as Record<string, unknown>)[name];
  return typeof value === "string" ? value : null;
}

export interface Cache {
  bytes: number;
  tools: number;
  system: number;
  history: number;
  fresh: number;
  reason: string;
  breakAt: number | null;
}

/** What a provider's cache could know of an attempt's prompt; none: it is no attempt. */
export function cacheOf(span: S.SpanView): Cache | null {
  const shape = (span.attributes as Record<string, unknown>)["holdfast.cache"] as Record<string, unknown> | undefined;
  if (!shape) return null;
  const of = (name: string) => (typeof shape[name] === "number" ? shape[name] : 0);
  return {
    bytes: of("bytes"),
    tools: of("tools_bytes"),
    system: of("system_bytes"),
    history: of("history_bytes"),
    fresh: of("new_bytes"),
    reason: typeof shape.break_reason === "string" ? shape.break_reason : "first",
    breakAt: typeof shape.break_at_byte === "number" ? shape.break_at_byte : null,
  };
}

/** What a row is called: the model, the tool, the attempt of a step. */
export function label(span: S.SpanView): string {
  if (span.kind === "naming") return t.trace.naming;
  return text(span, "gen_ai.tool.name") ?? text(span, "gen_ai.request.model") ?? span.kind;
}
