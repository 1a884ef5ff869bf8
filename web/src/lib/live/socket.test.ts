import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveSocket } from "./socket";

class FakeSocket {
  static made: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((message: { data: unknown }) => void) | null = null;
  closed = false;
  constructor(readonly url: string) {
    FakeSocket.made.push(this);
  }
  close(): void {
    this.closed = true;
  }
}

const last = () => FakeSocket.made.at(-1) as FakeSocket;

describe("a live socket", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.made = [];
    vi.stubGlobal("WebSocket", FakeSocket);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  function open(random = 1) {
    let cursor = "";
    const frames: unknown[][] = [];
    const socket = new LiveSocket({
      url: () => `ws://x/${cursor}`,
      onFrame: (events) => {
        frames.push(events);
        cursor = "9";
      },
      random: () => random,
    });
    socket.start();
    last().onopen?.();
    return { socket, frames };
  }

  it("resumes where it was, after a pause", () => {
    const { socket } = open();
    last().onmessage?.({ data: '[{"type":"ping"}]' });
    last().onclose?.();
    expect(socket.state.phase).toBe("waiting");
    expect(FakeSocket.made).toHaveLength(1);
    vi.advanceTimersByTime(500);
    expect(FakeSocket.made).toHaveLength(2);
    expect(last().url).toBe("ws://x/9");
  });

  it("waits longer each time, never beyond half a minute, and forgets it once it works", () => {
    const { socket } = open();
    const pauses: number[] = [];
    for (let i = 0; i < 10; i += 1) {
      last().onclose?.();
      pauses.push((socket.state.retryAt ?? 0) - Date.now());
      vi.advanceTimersByTime(30_000);
    }
    expect(pauses.slice(0, 3)).toEqual([500, 1_000, 2_000]);
    expect(Math.max(...pauses)).toBe(30_000);
    last().onopen?.();
    expect(socket.state).toMatchObject({ phase: "open", attempt: 0, lostAt: null });
  });

  it("spreads its attempts over the whole pause", () => {
    const { socket } = open(0);
    last().onclose?.();
    expect(socket.state.retryAt).toBe(Date.now());
  });

  it("takes silence for a dead line", () => {
    const { socket } = open();
    const first = last();
    vi.advanceTimersByTime(60_000);
    expect(first.closed).toBe(true);
    expect(socket.state.phase).toBe("waiting");
  });

  it("ignores frames that are not JSON", () => {
    const { frames } = open();
    last().onmessage?.({ data: "{" });
    last().onmessage?.({ data: new ArrayBuffer(1) });
    last().onmessage?.({ data: "[1]" });
    expect(frames).toEqual([[1]]);
  });

  it("is quiet after it was stopped", () => {
    const { socket } = open();
    socket.stop();
    expect(last().closed).toBe(true);
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.made).toHaveLength(1);
  });
});
