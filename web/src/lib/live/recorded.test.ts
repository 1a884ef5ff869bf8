import { describe, expect, it } from "vitest";
import { durableItems, liveTools, previewParts, withLive, type AnswerItem } from "../../routes/chat/items";
import type * as S from "../api/types";
import { apply, applyAll, INITIAL, type ChatState } from "./chat-state";
import recorded from "./recorded-turns.json";

const frames = recorded.frames as unknown as S.Envelope[][];
const events = frames.flat();
const messages = recorded.messages as unknown as S.MessageView[];

/** Everything that the page shows of the answers, as one text. */
function shown(state: ChatState): string {
  const durable = durableItems(state.messages);
  const parts = durable.items.flatMap((item) => (item.kind === "answer" ? item.parts : []));
  return [...parts, ...previewParts(state.preview, durable)]
    .flatMap((part) => (part.type === "text" ? [part.text] : []))
    .join("\n");
}

describe("a recorded stream of a real server", () => {
  it("ends with what the server says afterwards", () => {
    const state = applyAll(INITIAL, events);
    expect(state.messages).toEqual(messages);
    expect([state.status, state.queue, state.preview, state.ready]).toEqual([recorded.status, recorded.queue, null, true]);
  });

  it("ends the same in frames, one by one or in uneven pieces", () => {
    const whole = applyAll(INITIAL, events);
    expect(frames.reduce(applyAll, INITIAL)).toEqual(whole);
    expect(events.reduce(apply, INITIAL)).toEqual(whole);
    let pieces = INITIAL;
    for (let at = 0, size = 1; at < events.length; at += size, size = (size % 7) + 1) {
      pieces = applyAll(pieces, events.slice(at, at + size));
    }
    expect(pieces).toEqual(whole);
  });

  it("ends the same when it is cut anywhere and what was told is told again", () => {
    const whole = applyAll(INITIAL, events);
    for (let cut = 0; cut < events.length; cut += 3) {
      const before = applyAll(INITIAL, events.slice(0, cut));
      const again = [{ ...(events[0] as S.Envelope), type: "resync", reason: "cursor_invalid" } as S.Envelope, ...events];
      expect(applyAll(before, again)).toEqual(whole);
    }
  });

  it("never shows a text twice, nor less of it than a moment before", () => {
    let state = INITIAL;
    let before = "";
    for (const event of events) {
      state = apply(state, event);
      const now = shown(state);
      expect(now.startsWith(before.trimEnd()), `after ${event.type}: ${JSON.stringify([before, now])}`).toBe(true);
      before = now;
    }
  });

  it("shows a command's output while it runs", () => {
    const seen: string[] = [];
    let state = INITIAL;
    for (const event of events) {
      state = apply(state, event);
      const durable = durableItems(state.messages);
      const last = durable.items.at(-1) as AnswerItem | undefined;
      if (last?.kind !== "answer") continue;
      for (const part of withLive(last.parts, liveTools(state.preview), state.status === "running")) {
        if (part.type === "tools") seen.push(...part.views.filter((v) => v.phase === "running").map((v) => v.output));
      }
    }
    expect(seen.some((output) => output === "line 1\n")).toBe(true);
    expect(seen.some((output) => output.includes("line 3\n"))).toBe(true);
  });
});
