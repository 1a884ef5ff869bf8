// What a turn spent its time with, and what the model calls of a month used.
const BEGIN = Date.now() - 400_000;
const at = (ms) => new Date(BEGIN + ms).toISOString();

/** One span, `ms` long from `from` after the turn's begin; no `ms`: it runs. */
function span(id, parent, kind, from, ms, attributes = {}, status = "ok") {
  return { id, parent_id: parent, kind, name: kind, status, started_at: at(from), ended_at: ms === null ? null : at(from + ms), duration_ms: ms, attributes };
}

const call = (from, first, reason, fresh) => ({
  "gen_ai.request.model": "claude-opus-4-8", "gen_ai.usage.input_tokens": 2100 + fresh, "gen_ai.usage.cache_read.input_tokens": 9800, "gen_ai.usage.output_tokens": 320, "holdfast.cost_micros": 48_200, "holdfast.time_to_first_chunk_ms": first,
  "holdfast.cache": { bytes: 61_000 + fresh, tools_bytes: 18_000, system_bytes: 9_000, history_bytes: 34_000, new_bytes: fresh, break_reason: reason, break_at_byte: reason === "compaction" ? 27_000 : null },
});
const tool = (name, queue, transfer, execute, back) => ({ "gen_ai.tool.name": name, "holdfast.queue_ms": queue, "holdfast.transfer_ms": transfer, "holdfast.execute_ms": execute, "holdfast.return_ms": back });

export const SPANS = [
  span("t1", null, "turn", 0, 41_400),
  span("s1", "t1", "step", 0, 29_300),
  span("a1", "s1", "attempt", 10, 1_900, { "gen_ai.request.model": "claude-opus-4-8", "error.type": "overloaded" }, "error"),
  span("a2", "s1", "attempt", 3_100, 7_400, call(3_100, 1_250, "first", 61_000)),
  span("x1", "s1", "tool", 10_600, 18_600, tool("execute", 120, 40, 18_410, 30)),
  span("x2", "s1", "tool", 10_600, 700, tool("read_file", 90, 35, 560, 15)),
  span("c1", "t1", "compaction", 29_300, 3_700),
  span("s2", "t1", "step", 33_000, 8_400),
  span("a3", "s2", "attempt", 33_010, 8_350, call(33_010, 900, "compaction", 4_200)),
  span("t2", null, "turn", 120_000, null, {}, "running"),
  span("s3", "t2", "step", 120_000, null, {}, "running"),
  span("a4", "s3", "attempt", 120_010, 2_600, call(120_010, 700, "none", 900)),
  span("x3", "s3", "tool", 122_700, null, { "gen_ai.tool.name": "execute" }, "running"),
];

export const SENT = { exact: true, body: { model: "claude-opus-4-8", max_tokens: 8_192, system: [{ type: "text", text: "You work in the workspace devbox." }], messages: [{ role: "user", content: [{ type: "text", text: "Why is the link test flaky?" }] }] } };

const used = (days, model, purpose, calls, input, cost) => ({
  day: new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10) + "T00:00:00.000Z", model, purpose, calls, unknown_calls: days === 1 ? 2 : 0, input_tokens: input, cache_read_tokens: input * 5, cache_write_tokens: input, output_tokens: Math.round(input / 8), reasoning_tokens: 0, cost_micros: cost, priced_calls: cost ? calls : 0,
});

export const USAGE = {
  from: at(-30 * 86_400_000), to: at(86_400_000),
  items: [used(0, "claude-opus-4-8", "step", 214, 1_840_000, 9_412_000), used(0, "claude-opus-4-8", "compaction", 2, 120_000, 410_000), used(1, "qwen3-coder-30b", "step", 91, 640_000, 0), used(4, "claude-opus-4-8", "step", 33, 212_000, 1_020_500)],
};
