/**
 * One WebSocket that reconnects by itself: back-off with full jitter, resume by the cursor that
 * `url()` puts in, a watchdog for silent connections. It buffers nothing: each frame is handed on.
 */
const MIN_MS = 250;
const MAX_MS = 30_000;
/** The server pings well within this; longer silence means that the path is dead. */
const SILENCE_MS = 60_000;

export type SocketPhase = "idle" | "connecting" | "open" | "waiting";

export interface SocketState {
  phase: SocketPhase;
  /** Attempts since the last working connection. */
  attempt: number;
  /** When the next attempt begins, in the page's clock; only while waiting. */
  retryAt: number | null;
  /** Since when there is no working connection; null before the first and while open. */
  lostAt: number | null;
}

export interface SocketOptions {
  url: () => string;
  onFrame: (events: unknown[]) => void;
  onState?: (state: SocketState) => void;
  /** Asked after repeated failures: should it go on? (Signed out means no.) */
  onTrouble?: () => void;
  random?: () => number;
}

const IDLE: SocketState = { phase: "idle", attempt: 0, retryAt: null, lostAt: null };

export class LiveSocket {
  state: SocketState = IDLE;
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watchdog: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: SocketOptions) {}

  start(): void {
    if (this.state.phase !== "idle") return;
    addEventListener("online", this.retryNow);
    document.addEventListener("visibilitychange", this.onVisible);
    this.connect();
  }

  stop(): void {
    removeEventListener("online", this.retryNow);
    document.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.timer);
    this.drop();
    this.set(IDLE);
  }

  /** Cuts the pause short. */
  readonly retryNow = (): void => {
    if (this.state.phase !== "waiting") return;
    clearTimeout(this.timer);
    this.connect();
  };

  private readonly onVisible = (): void => {
    if (document.visibilityState === "visible") this.retryNow();
  };

  private connect(): void {
    this.set({ ...this.state, phase: "connecting", retryAt: null });
    const socket = new WebSocket(this.options.url());
    this.socket = socket;
    socket.onopen = () => {
      this.set({ phase: "open", attempt: 0, retryAt: null, lostAt: null });
      this.watch();
    };
    socket.onmessage = (message) => {
      this.watch();
      const events = frameOf(message.data);
      if (events) this.options.onFrame(events);
    };
    socket.onclose = () => this.lost();
  }

  private lost(): void {
    this.drop();
    const attempt = this.state.attempt + 1;
    const bound = Math.min(MAX_MS, MIN_MS * 2 ** Math.min(attempt, 10));
    const pause = (this.options.random ?? Math.random)() * bound;
    this.timer = setTimeout(() => this.connect(), pause);
    const now = Date.now();
    this.set({ phase: "waiting", attempt, retryAt: now + pause, lostAt: this.state.lostAt ?? now });
    if (attempt % 3 === 2) this.options.onTrouble?.();
  }

  private watch(): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.lost(), SILENCE_MS);
  }

  private drop(): void {
    clearTimeout(this.watchdog);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private set(state: SocketState): void {
    this.state = state;
    this.options.onState?.(state);
  }
}

/** An API path as a WebSocket address on this page's host. */
export function socketUrl(path: string): string {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
}

function frameOf(data: unknown): unknown[] | null {
  if (typeof data !== "string") return null;
  try {
    const value: unknown = JSON.parse(data);
    return Array.isArray(value) ? value : [value];
  } catch {
    return null;
  }
}
