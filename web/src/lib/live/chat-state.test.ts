import { describe, expect, it } from "vitest";
import type * as S from "../api/types";
import { apply, applyAll, INITIAL, LIVE_TAIL, prepend, resumed, type ChatState } from "./chat-state";

function message(id: string, seq: number, revision: number, fields: Partial<S.MessageView> = {}): S.MessageView {
  return { id, chat_id: "chat_1", seq, revision, role: "user", content: [], created_at: "", ...fields };
}

function event(type: S.Envelope["type"], fields: object = {}, cursor = "1.0.0.0"): S.Envelope {
  return { type, cursor, ...fields } as S.Envelope;
}

function said(value: S.MessageView): S.Envelope {
  return event("message", { message: value });
}

function part(seq: number, fields: Partial<S.PreviewPart> = {}): S.Envelope {
  return event("part", { history_version: 3, attempt: 1, seq, index: 0, kind: "text", ...fields });
}

const texts = (state: ChatState) => state.preview?.items.map((item) => item.text) ?? [];
const ids = (state: ChatState) => state.messages.map((m) => m.id);

describe("a model that stands in", () => {
  it("is shown until the next status, also to who comes late", () => {
    const told = applyAll(INITIAL, [
      { type: "status", cursor: "", status: "running" },
      { type: "fallback", cursor: "", selected_model: "large", answered_by: "small", reason: "provider_overloaded" },
    ]);
    expect(told.fallback).toEqual({ selected: "large", answered: "small", reason: "provider_overloaded" });
    expect(applyAll(told, [{ type: "status", cursor: "", status: "waiting" }]).fallback).toBeNull();
  });
});

describe("messages", () => {
  it("stand in the order of their seq, however they come", () => {
    const state = applyAll(INITIAL, [said(message("b", 5, 2)), said(message("a", 1, 1)), said(message("c", 9, 3))]);
    expect(ids(state)).toEqual(["a", "b", "c"]);
  });

  it("are replaced by a newer revision and never by an older one", () => {
    const newer = message("a", 1, 7, { content: [{ type: "text", text: "new" }] });
    const state = applyAll(INITIAL, [said(newer), said(message("a", 1, 3))]);
    expect(state.messages).toEqual([newer]);
  });

  it("go when they are removed", () => {
    const state = applyAll(INITIAL, [said(message("a", 1, 1)), said(message("b", 2, 2)), event("message_removed", { id: "a" })]);
    expect(ids(state)).toEqual(["b"]);
  });

  it("are the same, applied once or twice, in one batch or one by one", () => {
    const events = [said(message("a", 1, 1)), said(message("b", 2, 2)), event("message_removed", { id: "a" }), said(message("c", 3, 4))];
    const once = applyAll(INITIAL, events);
    expect(events.reduce(apply, INITIAL)).toEqual(once);
    expect(ids(applyAll(once, events.slice(2)))).toEqual(ids(once));
  });

  it("of an older page are put before what is there", () => {
    const state = prepend(applyAll(INITIAL, [said(message("c", 3, 3))]), [message("a", 1, 1), message("b", 2, 2)]);
    expect(ids(state)).toEqual(["a", "b", "c"]);
  });
});

describe("the preview", () => {
  it("appends deltas of one part and keeps parts apart by index", () => {
    const state = applyAll(INITIAL, [part(1, { delta: "He" }), part(2, { delta: "llo" }), part(3, { index: 1, delta: "x" })]);
    expect(texts(state)).toEqual(["Hello", "x"]);
  });

  it("ignores what it has seen", () => {
    const state = applyAll(INITIAL, [part(1, { delta: "a" }), part(2, { delta: "b" }), part(2, { delta: "b" }), part(1, { delta: "a" })]);
    expect(texts(state)).toEqual(["ab"]);
  });

  it("begins anew with a new attempt, and drops late pieces of the old one", () => {
    const state = applyAll(INITIAL, [part(9, { delta: "old" }), part(1, { attempt: 2, delta: "new" }), part(10, { delta: "late" })]);
    expect(texts(state)).toEqual(["new"]);
  });

  it("goes with a reset, and the same episode may be told again from another place", () => {
    const state = applyAll(INITIAL, [part(4, { delta: "ab" }), event("preview_reset"), part(4, { delta: "ab" })]);
    expect(texts(state)).toEqual(["ab"]);
  });

  it("gives way to the message that it became, but keeps running tools", () => {
    const state = applyAll(INITIAL, [
      part(1, { delta: "I will look." }),
      part(2, { index: 1, kind: "tool_result", tool_call_id: "t1", name: "execute", delta: "line\n" }),
      said(message("m", 2, 2, { role: "assistant", content: [{ type: "text", text: "I will look." }] })),
    ]);
    expect(state.preview?.items.map((item) => item.kind)).toEqual(["tool_result"]);
  });

  it("keeps its text when an older message is told again with a new revision", () => {
    const first = applyAll(INITIAL, [said(message("m", 2, 2, { role: "assistant" })), part(1, { delta: "next" })]);
    expect(texts(apply(first, said(message("m", 2, 2, { role: "assistant" }))))).toEqual(["next"]);
  });

  it("lets go of a tool's output when its result is stored", () => {
    const result: S.Part = { type: "tool_result", tool_call_id: "t1", name: "execute", result: {}, is_error: false };
    const state = applyAll(INITIAL, [
      part(1, { kind: "tool_result", tool_call_id: "t1", delta: "a" }),
      part(2, { index: 1, kind: "tool_result", tool_call_id: "t2", delta: "b" }),
      said(message("r", 3, 3, { role: "tool", content: [result] })),
    ]);
    expect(state.preview?.items.map((item) => item.toolCallId)).toEqual(["t2"]);
  });

  it("keeps only the end of live output", () => {
    const state = applyAll(INITIAL, [
      part(1, { kind: "tool_result", tool_call_id: "t", delta: "x".repeat(LIVE_TAIL) }),
      part(2, { kind: "tool_result", tool_call_id: "t", delta: "end" }),
    ]);
    expect(texts(state)[0]).toHaveLength(LIVE_TAIL);
    expect(texts(state)[0]?.endsWith("xend")).toBe(true);
  });

  it("is empty at rest", () => {
    const state = applyAll(INITIAL, [part(1, { delta: "half" }), event("status", { status: "waiting" })]);
    expect(state.preview).toBeNull();
  });
});

describe("the rest", () => {
  const retry = event("retry", { attempt: 2, delay_ms: 900, retry_at: "t", error: { code: "x", message: "", retryable: true } });

  it("ends a retry with a new status, a new part or a new connection", () => {
    const during = apply(INITIAL, retry);
    expect(during.retry?.attempt).toBe(2);
    expect(apply(during, event("status", { status: "running" })).retry).toBeNull();
    expect(apply(during, part(1, { attempt: 3, delta: "a" })).retry).toBeNull();
    expect(resumed(during).retry).toBeNull();
  });

  it("forgets everything at a resync and is ready again after the snapshot", () => {
    const before = applyAll(INITIAL, [said(message("a", 1, 1)), event("queue", { items: [{ id: "q" }] }), event("ready")]);
    const after = applyAll(before, [event("resync", { reason: "cursor_invalid" }), said(message("z", 9, 9))]);
    expect([ids(after), after.queue, after.ready]).toEqual([["z"], [], false]);
    expect(apply(after, event("ready")).ready).toBe(true);
  });

  it("resumes after the last event, whatever it was", () => {
    expect(applyAll(INITIAL, [event("ping", {}, "4.2.1.9"), event("nobody_knows_it" as "ping", {}, "5.0.0.0")]).cursor).toBe("5.0.0.0");
  });

  it("clears an error when it is told that there is none", () => {
    const failed = apply(INITIAL, event("error", { error: { code: "c", message: "m", retryable: false } }));
    expect(failed.error?.code).toBe("c");
    expect(apply(failed, event("error", { error: null })).error).toBeNull();
  });
});
