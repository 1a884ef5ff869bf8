import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { PtyTold } from "../api/types";
import { PtyLive, type PtySink } from "./pty-live";

class FakeSocket {
  static readonly OPEN = 1;
  static made: FakeSocket[] = [];
  readyState = 1;
  binaryType = "";
  sent: Array<Record<string, unknown>> = [];
  closed: number | undefined;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onmessage: ((message: { data: unknown }) => void) | null = null;
  constructor(readonly url: string) {
    FakeSocket.made.push(this);
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close(code?: number): void {
    this.closed = code ?? 1005;
  }
  tell(told: unknown): void {
    this.onmessage?.({ data: JSON.stringify(told) });
  }
  bytes(text: string): void {
    this.onmessage?.({ data: new TextEncoder().encode(text).buffer });
  }
  typed(): unknown[] {
    return this.sent.filter((said) => said.type === "input");
  }
}

const last = () => FakeSocket.made.at(-1) as FakeSocket;
const pty = { id: "pty_1", cols: 80, rows: 24, writer: "me" } as Extract<PtyTold, { type: "attached" }>["pty"];
const attached = (change: Record<string, unknown> = {}) => ({
  type: "attached", pty, is_writer: true, taken_seq: 0, offset: 0, live_from: 0, screen: null, ...change,
});

describe("a terminal on the wire", () => {
  let shown: string[];
  let done: Array<() => void>;

  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.made = [];
    shown = [];
    done = [];
    vi.stubGlobal("WebSocket", FakeSocket);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const sink: PtySink = {
    reset: (cols, rows) => shown.push(`reset ${cols}x${rows}`),
    resize: (cols, rows) => shown.push(`resize ${cols}x${rows}`),
    write: (bytes, live, drawn) => {
      shown.push(`${live ? "live" : "old"} ${new TextDecoder().decode(bytes)}`);
      done.push(drawn);
    },
  };

  function start(check: () => Promise<string | null> = async () => null) {
    const refused: string[] = [];
    const live = new PtyLive({
      url: (query) => `ws://x/?${new URLSearchParams(query)}`,
      viewer: "me",
      sink,
      onState: () => {},
      onRefused: (code) => refused.push(code),
      check,
      random: () => 1,
    });
    live.start(100, 30);
    return { live, refused };
  }

  it("begins with the screen, which asks nothing, and goes on live", () => {
    start();
    expect(last().url).toContain("viewer=me&write=if_free&cols=100&rows=30");
    expect(last().url).not.toContain("offset");
    last().tell(attached({ offset: 10, live_from: 10, screen: { offset: 10, cols: 80, rows: 24, len: 6 } }));
    last().bytes("screen$ ls");
    expect(shown).toEqual(["reset 80x24", "old screen", "live $ ls"]);
  });

  it("comes back at its offset and takes a replay for what it is", () => {
    start();
    last().tell(attached({ offset: 5, live_from: 5, screen: { offset: 5, cols: 80, rows: 24, len: 1 } }));
    last().bytes("sabc");
    last().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    expect(FakeSocket.made).toHaveLength(2);
    expect(last().url).toContain("offset=8");
    last().tell(attached({ offset: 8, live_from: 10 }));
    last().bytes("defg");
    expect(shown.slice(-2)).toEqual(["old de", "live fg"]);
  });

  it("asks for a screen again when the last one came only in part", () => {
    start();
    last().tell(attached({ offset: 5, live_from: 5, screen: { offset: 5, cols: 80, rows: 24, len: 100 } }));
    last().bytes("half");
    last().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    expect(last().url).not.toContain("offset");
  });

  it("types again what was not taken, once, under the numbers that are due", () => {
    const { live } = start();
    expect(live.type("lost"), "nobody to type to yet").toBe(false);
    last().tell(attached({ taken_seq: 3 }));
    live.type("a");
    live.type("b");
    live.type("c");
    expect(last().typed()).toEqual([
      { type: "input", seq: 4, text: "a" },
      { type: "input", seq: 5, text: "b" },
      { type: "input", seq: 6, text: "c" },
    ]);
    last().tell({ type: "waiting", reason: "link_lost" });
    live.type("d");
    last().tell(attached({ taken_seq: 5 }));
    expect(last().typed().slice(3)).toEqual([
      { type: "input", seq: 6, text: "c" },
      { type: "input", seq: 7, text: "d" },
    ]);
  });

  it("sends a large paste piece by piece, as the program takes it", () => {
    const { live } = start();
    last().tell(attached());
    expect(live.type("x".repeat(1_000_000))).toBe(true);
    expect(last().typed()).toHaveLength(4);
    last().tell({ type: "taken", seq: 2 });
    expect(last().typed()).toHaveLength(6);
    expect(live.type("y".repeat(9_000_000)), "over what may wait").toBe(false);
  });

  it("acknowledges what was drawn, and only on the socket it came from", () => {
    start();
    last().tell(attached());
    last().bytes("abc");
    const first = last();
    expect(first.sent.some((said) => said.type === "ack")).toBe(false);
    first.onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    done[0]?.();
    expect(last().sent).toEqual([]);
    last().tell(attached({ offset: 3, live_from: 3 }));
    last().bytes("de");
    done[1]?.();
    expect(last().sent).toEqual([{ type: "ack", bytes: 2 }]);
  });

  it("reads only, once another has taken over, and takes nothing back by itself", () => {
    const { live, refused } = start();
    last().tell(attached());
    last().tell({ type: "writer", viewer: "you", is_you: false });
    expect(live.type("x")).toBe(false);
    expect(live.state).toMatchObject({ isWriter: false, writer: "you" });
    last().onclose?.({ code: 1006, reason: "" });
    vi.advanceTimersByTime(500);
    expect(last().url).toContain("write=never");
    last().tell(attached({ is_writer: false }));
    live.take();
    expect(last().sent.map((said) => said.type)).toEqual(["take", "resize"]);
    last().tell({ type: "refused", seq: null, code: "missing_scope", detail: "" });
    expect(refused).toEqual(["missing_scope"]);
  });

  it("does not fight for its place with another page, nor come back to what is gone", () => {
    const { live } = start();
    last().tell(attached());
    last().onclose?.({ code: 4409, reason: "replaced" });
    vi.advanceTimersByTime(60_000);
    expect([FakeSocket.made.length, live.state.phase]).toEqual([1, "replaced"]);
    live.retryNow();
    last().onclose?.({ code: 4404, reason: "pty_not_found" });
    vi.advanceTimersByTime(60_000);
    expect([FakeSocket.made.length, live.state.phase, live.state.code]).toEqual([2, "gone", "pty_not_found"]);
  });

  it("asks after failures whether there is anything to come back to", async () => {
    const { live } = start(async () => "pty_not_found");
    last().onclose?.({ code: 1006, reason: "" });
    await vi.advanceTimersByTimeAsync(500);
    last().onclose?.({ code: 1006, reason: "" });
    await vi.advanceTimersByTimeAsync(0);
    expect(live.state).toMatchObject({ phase: "gone", code: "pty_not_found" });
  });

  it("gives a silent socket up", () => {
    start();
    last().tell(attached());
    vi.advanceTimersByTime(40_000);
    expect(last().sent.filter((said) => said.type === "ping")).toHaveLength(2);
    vi.advanceTimersByTime(20_500);
    expect(FakeSocket.made).toHaveLength(2);
  });

  it("counts what it was not given", () => {
    const { live } = start();
    last().tell(attached());
    last().tell({ type: "dropped", from: 0, to: 5_000 });
    last().tell({ type: "screen", screen: { offset: 5_000, cols: 80, rows: 24, len: 2 } });
    last().bytes("s!x");
    expect(live.state.skipped).toBe(5_000);
    expect(shown).toEqual(["resize 80x24", "reset 80x24", "old s!", "live x"]);
    last().tell({ type: "end", pty });
    expect(live.state.phase).toBe("ended");
    last().onclose?.({ code: 1000, reason: "" });
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.made).toHaveLength(1);
  });
});
