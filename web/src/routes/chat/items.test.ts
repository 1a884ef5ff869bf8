import { describe, expect, it } from "vitest";
import type * as S from "../../lib/api/types";
import { applyAll, INITIAL } from "../../lib/live/chat-state";
import { durableItems, liveTools, previewParts, turnFacts, withLive, type AnswerItem } from "./items";

let seq = 0;
function message(role: S.Role, content: S.Part[], fields: Partial<S.MessageView> = {}): S.MessageView {
  seq += 1;
  return { id: `m${seq}`, chat_id: "c", seq, revision: seq, role, content, created_at: "2026-01-01T00:00:00Z", ...fields };
}
const call = (id: string): S.Part => ({ type: "tool_call", tool_call_id: id, name: "execute", args: { command: "ls" } });
const result = (id: string): S.Part => ({ type: "tool_result", tool_call_id: id, name: "execute", result: {}, duration_ms: 5 });
const text = (value: string): S.Part => ({ type: "text", text: value });

describe("the transcript", () => {
  it("draws results with their calls and gives tool messages no place of their own", () => {
    const { items, open } = durableItems([
      message("user", [text("go")]),
      message("assistant", [text("looking"), call("a"), call("b")]),
      message("tool", [result("a"), result("b")]),
      message("assistant", [text("done")]),
    ]);
    expect(items.map((item) => item.kind)).toEqual(["user", "answer", "answer"]);
    expect(open.size).toBe(0);
    const tools = (items[1] as AnswerItem).parts[1];
    expect(tools?.type === "tools" && tools.views.map((view) => view.phase)).toEqual(["done", "done"]);
    expect((items[2] as AnswerItem).first).toBe(false);
  });

  it("gives what an agent tells a place of its own", () => {
    const report: S.Part = { type: "agent_report", agent_id: "chat_1", title: "find it", outcome: "done", text: "There." };
    const { items } = durableItems([message("user", [text("go")]), message("user", [report])]);
    expect(items.map((item) => item.kind)).toEqual(["user", "report"]);
    expect(items[1]).toMatchObject({ reports: [{ title: "find it", outcome: "done" }] });
  });

  it("shows a call without an answer as running only while the chat runs", () => {
    const durable = durableItems([message("user", [text("go")]), message("assistant", [call("x")])]);
    const parts = (durable.items[1] as AnswerItem).parts;
    const preview = applyAll(INITIAL, [
      { type: "part", cursor: "", history_version: 1, attempt: 0, seq: 1, index: 0, kind: "tool_result", tool_call_id: "x", delta: "out" },
    ]).preview;
    const phase = (running: boolean) => {
      const part = withLive(parts, liveTools(preview), running)[0];
      return part?.type === "tools" ? part.views.map((view) => [view.phase, view.output]) : null;
    };
    expect(phase(true)).toEqual([["running", "out"]]);
    expect(phase(false)).toEqual([["unanswered", ""]]);
    const waits = withLive(parts, liveTools(preview), true, new Set(["x"]))[0];
    expect(waits?.type === "tools" && waits.views[0]?.phase).toBe("asked");
  });

  it("takes a result that is there before its batch is sealed", () => {
    const durable = durableItems([message("assistant", [call("y"), call("z")])]);
    const preview = applyAll(INITIAL, [
      { type: "part", cursor: "", history_version: 1, attempt: 0, seq: 1, index: 0, kind: "tool_result", tool_call_id: "y", value: result("y") },
    ]).preview;
    const part = withLive((durable.items[0] as AnswerItem).parts, liveTools(preview), true)[0];
    expect(part?.type === "tools" && part.views.map((view) => view.phase)).toEqual(["done", "running"]);
  });

  it("takes what is stored of a batch that waits for a person", () => {
    const durable = durableItems([message("assistant", [call("s"), call("u")])]);
    const { preview, results } = applyAll(INITIAL, [{ type: "results", cursor: "", items: [result("s")] }]);
    const live = liveTools(preview, results);
    const part = withLive((durable.items[0] as AnswerItem).parts, live, false, new Set(["u"]))[0];
    expect(part?.type === "tools" && part.views.map((view) => view.phase)).toEqual(["done", "asked"]);
  });

  it("never draws a call twice, as a preview and as a message", () => {
    const preview = applyAll(INITIAL, [
      { type: "part", cursor: "", history_version: 1, attempt: 1, seq: 1, index: 0, kind: "tool_call", tool_call_id: "w", name: "execute", delta: "{}" },
    ]).preview;
    expect(previewParts(preview, durableItems([]))).toHaveLength(1);
    expect(previewParts(preview, durableItems([message("assistant", [call("w")])]))).toHaveLength(0);
  });

  it("counts a turn from the person's message to the last answer", () => {
    const usage = { input: 10, cache_read: 5, cache_write: 1, output: 4, reasoning: 0, source: "provider" };
    const facts = turnFacts([
      message("user", [], { created_at: "2026-01-01T00:00:00Z" }),
      message("assistant", [], { usage, created_at: "2026-01-01T00:00:02Z" }),
      message("assistant", [], { usage, created_at: "2026-01-01T00:00:05Z" }),
    ]);
    expect(facts).toEqual({ ms: 5_000, tokens: 40 });
    expect(turnFacts([message("user", [])])).toBeNull();
  });
});
