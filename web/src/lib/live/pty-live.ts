/**
 * One terminal on the wire: attaches, reconnects by itself, numbers what is typed so that nothing is
 * typed twice, and acknowledges what was drawn so that a flood waits on the server.
 *
 * ```text
 * connecting ──attached──► attached ──waiting──► waiting (the server waits for the workspace)
 *     ▲                       │  └──end──► ended        │
 *     └──── reconnecting ◄────┴───── socket lost ◄──────┘      4404 ► gone, 4409 ► replaced
 * ```
 */
import type { PtySaid, PtyTold, PtyView } from "../api/types";

const MIN_MS = 250;
const MAX_MS = 30_000;
/** The socket is asked for a sign of life this often … */
const PING_MS = 20_000;
/** … and counts as dead after so much silence. */
const SILENCE_MS = 45_000;
/** Unacknowledged bytes that the server may send. */
const WINDOW = 1024 * 1024;
const ACK_EVERY = 64 * 1024;
/** Characters in one input frame: under the server's 64 KiB whatever they are. */
const PIECE = 16 * 1024;
/** Typed and not yet taken: what may be on its way, and what may wait at all. */
const IN_FLIGHT = 64 * 1024;
export const PENDING_MAX = 8 * 1024 * 1024;

/** What draws. */
export interface PtySink {
  /** Forgets what is shown: a screen of this size follows. */
  reset(cols: number, rows: number): void;
  resize(cols: number, rows: number): void;
  /** Draws; `live`: what it asks the terminal may be answered. `done` when it is drawn. */
  write(bytes: Uint8Array, live: boolean, done: () => void): void;
}

export type PtyPhase = "connecting" | "attached" | "waiting" | "reconnecting" | "ended" | "replaced" | "gone";

export interface PtyState {
  phase: PtyPhase;
  pty: PtyView | null;
  isWriter: boolean;
  /** Who writes; null: nobody. */
  writer: string | null;
  attempt: number;
  retryAt: number | null;
  /** Bytes of output that this page was not given. */
  skipped: number;
  /** Why it is gone. */
  code: string | null;
}

export interface PtyOptions {
  /** The address with these parameters. */
  url: (query: Record<string, string>) => string;
  viewer: string;
  sink: PtySink;
  onState: (state: PtyState) => void;
  /** Nothing was typed, because another writes or the program has ended. */
  onRefused?: (code: string) => void;
  /** After failures: is it still there? Null: try again; else why not. */
  check?: () => Promise<string | null>;
  random?: () => number;
}

interface Input {
  seq: number;
  text?: string;
  base64?: string;
  size: number;
  sent: boolean;
}

export const NO_PTY: PtyState = {
  phase: "connecting", pty: null, isWriter: false, writer: null, attempt: 0, retryAt: null, skipped: 0, code: null,
};

export class PtyLive {
  state: PtyState = NO_PTY;
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private beat: ReturnType<typeof setInterval> | undefined;
  private heardAt = 0;
  private size = { cols: 80, rows: 24 };
  private write: "never" | "if_free" | "take" = "if_free";
  /** One past the last byte that was handed to the sink; null: it shows nothing yet. */
  private offset: number | null = null;
  private liveFrom = 0;
  private screenMissing = 0;
  private received = 0;
  private drawn = 0;
  private acked = 0;
  private epoch = 0;
  private nextSeq: number | null = null;
  private pending: Input[] = [];
  private pendingSize = 0;

  constructor(private readonly options: PtyOptions) {}

  start(cols: number, rows: number): void {
    this.size = { cols, rows };
    addEventListener("online", this.retryNow);
    document.addEventListener("visibilitychange", this.onVisible);
    this.connect();
  }

  stop(): void {
    removeEventListener("online", this.retryNow);
    document.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.timer);
    this.drop(1000);
  }

  readonly retryNow = (): void => {
    if (this.state.phase !== "reconnecting" && this.state.phase !== "replaced") return;
    clearTimeout(this.timer);
    this.connect();
  };

  /** Types. False: there is too much that was not taken yet, or nobody to type to. */
  type(text: string): boolean {
    const pieces: Array<Pick<Input, "text" | "size">> = [];
    for (let at = 0; at < text.length; ) {
      let end = Math.min(text.length, at + PIECE);
      // Never between the halves of a character.
      if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end -= 1;
      pieces.push({ text: text.slice(at, end), size: end - at });
      at = end;
    }
    return this.enqueue(pieces);
  }

  /** Types bytes that are no text: old mouse reports. */
  typeBinary(data: string): boolean {
    return this.enqueue([{ base64: btoa(data), size: data.length }]);
  }

  /** The window has this size; the terminal gets it if this viewer writes. */
  resize(cols: number, rows: number): void {
    if (cols === this.size.cols && rows === this.size.rows) return;
    this.size = { cols, rows };
    this.say({ type: "resize", cols, rows });
  }

  take(): void {
    this.write = "take";
    this.say({ type: "take" });
    this.say({ type: "resize", ...this.size });
  }

  release(): void {
    this.write = "never";
    this.say({ type: "release" });
  }

  private enqueue(pieces: Array<Pick<Input, "text" | "base64" | "size">>): boolean {
    const size = pieces.reduce((sum, piece) => sum + piece.size, 0);
    const { phase, isWriter } = this.state;
    if (phase === "ended" || phase === "gone" || phase === "replaced" || !isWriter || this.nextSeq === null) return false;
    if (this.pendingSize + size > PENDING_MAX) return false;
    for (const piece of pieces) {
      this.pending.push({ ...piece, seq: this.nextSeq, sent: false });
      this.nextSeq += 1;
    }
    this.pendingSize += size;
    this.flush();
    return true;
  }

  /** Sends what may be on its way. */
  private flush(): void {
    if (this.state.phase !== "attached") return;
    let inFlight = 0;
    for (const input of this.pending) {
      inFlight += input.size;
      if (inFlight > IN_FLIGHT && inFlight > input.size) return;
      if (input.sent) continue;
      input.sent = true;
      const { seq, text, base64 } = input;
      this.say({ type: "input", seq, ...(text === undefined ? { base64 } : { text }) });
    }
  }

  private taken(seq: number): void {
    while (this.pending[0] && this.pending[0].seq <= seq) this.pendingSize -= this.pending.shift()?.size ?? 0;
    this.flush();
  }

  private connect(): void {
    this.set({ phase: this.state.phase === "reconnecting" ? "reconnecting" : "connecting", retryAt: null });
    const query: Record<string, string> = {
      viewer: this.options.viewer,
      write: this.write,
      cols: String(this.size.cols),
      rows: String(this.size.rows),
      window: String(WINDOW),
    };
    // A screen that came only in part is no place to go on from.
    if (this.offset !== null && this.screenMissing === 0) query.offset = String(this.offset);
    const socket = new WebSocket(this.options.url(query));
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.epoch += 1;
    this.received = this.drawn = this.acked = 0;
    this.heardAt = Date.now();
    this.beat = setInterval(() => this.checkBeat(), PING_MS);
    socket.onmessage = (message) => {
      this.heardAt = Date.now();
      if (typeof message.data === "string") this.told(JSON.parse(message.data) as PtyTold);
      else this.bytes(new Uint8Array(message.data as ArrayBuffer));
    };
    socket.onclose = (event) => this.lost(event.code, event.reason);
  }

  private told(told: PtyTold): void {
    switch (told.type) {
      case "attached":
        return this.attached(told);
      case "screen":
        this.screenMissing = told.screen.len;
        this.offset = told.screen.offset;
        this.liveFrom = told.screen.offset;
        return this.options.sink.reset(told.screen.cols, told.screen.rows);
      case "dropped":
        this.offset = told.to;
        return this.set({ skipped: this.state.skipped + told.to - told.from });
      case "resized":
        if (this.state.pty) this.set({ pty: { ...this.state.pty, cols: told.cols, rows: told.rows } });
        return this.options.sink.resize(told.cols, told.rows);
      case "writer":
        // Whoever lost the role keeps watching after a reconnect, and takes nothing back by itself.
        this.write = told.is_you ? "if_free" : "never";
        this.set({ isWriter: told.is_you, writer: told.viewer ?? null });
        if (!told.is_you) this.forget();
        return;
      case "taken":
        return this.taken(told.seq);
      case "refused":
        if (told.code !== "not_attached") {
          const { seq } = told;
          if (typeof seq === "number") this.refused(seq);
          this.options.onRefused?.(told.code);
        }
        return;
      case "waiting":
        return this.set({ phase: "waiting" });
      case "end":
        this.forget();
        return this.set({ phase: "ended", pty: told.pty, isWriter: false });
    }
  }

  private attached(told: Extract<PtyTold, { type: "attached" }>): void {
    this.offset = told.offset;
    this.liveFrom = told.live_from;
    this.screenMissing = told.screen?.len ?? 0;
    this.write = told.is_writer ? "if_free" : "never";
    const { sink } = this.options;
    if (told.screen) sink.reset(told.screen.cols, told.screen.rows);
    else if (told.offset >= told.live_from) sink.resize(told.pty.cols, told.pty.rows);
    // What was not taken is typed again, under the numbers that are due now.
    this.nextSeq = told.taken_seq + 1;
    const rest = this.pending.filter((input) => input.seq > told.taken_seq);
    this.pending = [];
    this.pendingSize = 0;
    this.set({
      phase: "attached", pty: told.pty, isWriter: told.is_writer, writer: told.pty.writer ?? null, attempt: 0, retryAt: null,
    });
    if (told.is_writer && rest.length > 0) this.enqueue(rest);
  }

  private bytes(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      const offset = this.offset ?? 0;
      let length = rest.length;
      let live = false;
      if (this.screenMissing > 0) {
        length = Math.min(length, this.screenMissing);
        this.screenMissing -= length;
      } else {
        live = offset >= this.liveFrom;
        if (!live) length = Math.min(length, this.liveFrom - offset);
        this.offset = offset + length;
      }
      this.draw(rest.subarray(0, length), live);
      rest = rest.subarray(length);
    }
  }

  private draw(bytes: Uint8Array, live: boolean): void {
    this.received += bytes.length;
    const { epoch } = this;
    this.options.sink.write(bytes, live, () => {
      // An acknowledgement counts for the socket that the bytes came from.
      if (epoch !== this.epoch) return;
      this.drawn += bytes.length;
      if (this.drawn - this.acked < ACK_EVERY && this.drawn < this.received) return;
      this.acked = this.drawn;
      this.say({ type: "ack", bytes: this.drawn });
    });
  }

  private refused(seq: number): void {
    const at = this.pending.findIndex((input) => input.seq === seq);
    if (at >= 0) this.pendingSize -= this.pending.splice(at, 1)[0]?.size ?? 0;
  }

  private forget(): void {
    this.pending = [];
    this.pendingSize = 0;
  }

  private say(said: PtySaid): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(said));
  }

  private checkBeat(): void {
    if (Date.now() - this.heardAt > SILENCE_MS) this.lost(4408, "");
    else this.say({ type: "ping" });
  }

  private lost(code: number, reason: string): void {
    this.drop();
    if (this.state.phase === "ended") return;
    if (code === 4409) return this.set({ phase: "replaced", isWriter: false });
    if (code === 4404 || code === 4403) return this.set({ phase: "gone", isWriter: false, code: reason });
    const attempt = this.state.attempt + 1;
    const pause = (this.options.random ?? Math.random)() * Math.min(MAX_MS, MIN_MS * 2 ** Math.min(attempt, 10));
    this.set({ phase: "reconnecting", attempt, retryAt: Date.now() + pause });
    this.timer = setTimeout(() => this.connect(), pause);
    if (attempt % 3 === 2 || code === 4401) void this.ask();
  }

  private async ask(): Promise<void> {
    const code = await this.options.check?.();
    if (!code || this.state.phase !== "reconnecting") return;
    clearTimeout(this.timer);
    this.drop();
    this.set({ phase: "gone", isWriter: false, code });
  }

  private readonly onVisible = (): void => {
    if (document.visibilityState === "visible" && this.state.phase === "reconnecting") this.retryNow();
  };

  private drop(code?: number): void {
    clearInterval(this.beat);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  private set(change: Partial<PtyState>): void {
    this.state = { ...this.state, ...change };
    this.options.onState(this.state);
  }
}
