import { describe, expect, it } from "vitest";
import type * as S from "../../lib/api/types";
import { cacheOf, label, turns } from "./waterfall";

const at = (ms: number) => new Date(1_790_000_000_000 + ms).toISOString();

function span(id: string, kind: string, parent: string | null, from: number, to: number | null, attributes = {}): S.SpanView {
  return {
    id,
    parent_id: parent,
    kind,
    name: id,
    status: to === null ? "running" : "ok",
    started_at: at(from),
    ended_at: to === null ? null : at(to),
    duration_ms: to === null ? null : to - from,
    attributes,
  };
}

const SPANS = [
  span("t1", "turn", null, 0, 1_000),
  span("s2", "step", "t1", 100, 900),
  span("o1", "tool", "s2", 500, 900, {
    "gen_ai.tool.name": "execute",
    "holdfast.queue_ms": 100,
    "holdfast.transfer_ms": 50,
    "holdfast.execute_ms": 200,
    "holdfast.return_ms": 50,
  }),
  span("a2.1", "attempt", "s2", 100, 500, {
    "gen_ai.request.model": "m",
    "holdfast.time_to_first_chunk_ms": 100,
    "holdfast.cache": { bytes: 100, tools_bytes: 40, system_bytes: 10, history_bytes: 30, new_bytes: 20, break_reason: "none" },
  }),
  span("t9", "turn", null, 2_000, null),
];

describe("a waterfall", () => {
  it("has the newest turn first and rows in the order of their begin", () => {
    const [running, done] = turns(SPANS, 1_790_000_002_500);
    expect(running?.span.id).toBe("t9");
    expect(running?.ms).toBe(500);
    expect(done?.rows.map((row) => [row.span.id, row.depth])).toEqual([
      ["s2", 1],
      ["a2.1", 2],
      ["o1", 2],
    ]);
  });

  it("shows what the time was spent with, on the axis of the turn", () => {
    const [, done] = turns(SPANS, 0);
    const segments = (id: string) =>
      done?.rows.find((row) => row.span.id === id)?.segments.map((s) => [s.phase, +s.left.toFixed(2), +s.width.toFixed(2)]);
    expect(segments("a2.1")).toEqual([
      ["wait", 0.1, 0.1],
      ["stream", 0.2, 0.3],
    ]);
    expect(segments("o1")).toEqual([
      ["queue", 0.5, 0.1],
      ["transfer", 0.6, 0.05],
      ["execute", 0.65, 0.2],
      ["return", 0.85, 0.05],
    ]);
  });

  it("names rows and reads the shape of the cache", () => {
    expect(SPANS.map(label)).toEqual(["turn", "step", "execute", "m", "turn"]);
    expect(cacheOf(SPANS[3] as S.SpanView)).toEqual({
      bytes: 100,
      tools: 40,
      system: 10,
      history: 30,
      fresh: 20,
      reason: "none",
      breakAt: null,
    });
    expect(cacheOf(SPANS[0] as S.SpanView)).toBeNull();
  });
});
