/**
 * One chat on the wire: a socket, the reduced state, older pages. Events of a frame of the screen
 * are applied together, so that a fast stream costs one render per frame.
 */
import { useEffect, useSyncExternalStore } from "react";
import { api } from "../api/calls";
import { BASE } from "../api/client";
import { chatQuery, queryClient } from "../api/queries";
import type * as S from "../api/types";
import { applyAll, INITIAL, prepend, resumed, type ChatState } from "./chat-state";
import { LiveSocket, socketUrl, type SocketState } from "./socket";

/** Events held back at most; beyond that they are applied at once. */
const PENDING_MAX = 20_000;
const HIDDEN_FLUSH_MS = 250;
/** A snapshot is drawn when it is complete, or after this. */
const SNAPSHOT_FLUSH_MS = 300;
const PAGE = 100;
/** Messages that a chat opens with; those before them are read when somebody scrolls there. */
const TAIL = 200;
/** Chats kept for a quick return; the cursor resumes them. */
const KEPT = 8;

export interface Older {
  loading: boolean;
  /** Nothing before what is shown. */
  done: boolean;
  error: unknown;
}

export interface LiveView {
  chat: ChatState;
  socket: SocketState;
  older: Older;
}

const NO_OLDER: Older = { loading: false, done: false, error: null };

export class ChatLive {
  private view: LiveView;
  private pending: S.Envelope[] = [];
  private scheduled = false;
  private users = 0;
  private readonly listeners = new Set<() => void>();
  private readonly socket: LiveSocket;

  constructor(readonly id: string) {
    this.socket = new LiveSocket({
      url: () => {
        const { cursor, messages } = this.view.chat;
        const query = new URLSearchParams({ tail: String(TAIL) });
        if (cursor) query.set("cursor", cursor);
        if (cursor && messages[0]) query.set("from", String(messages[0].seq));
        return socketUrl(`${BASE}/chats/${id}/stream?${query}`);
      },
      onFrame: (events) => this.take(events as S.Envelope[]),
      onState: (socket) => {
        const chat = socket.phase === "open" ? resumed(this.view.chat) : this.view.chat;
        this.set({ socket, chat });
      },
      onTrouble: () => void queryClient.invalidateQueries({ queryKey: chatQuery(id).queryKey }),
    });
    this.view = { chat: INITIAL, socket: this.socket.state, older: NO_OLDER };
  }

  readonly get = (): LiveView => this.view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Connects while at least one user is there. */
  use(): () => void {
    this.users += 1;
    if (this.users === 1) this.socket.start();
    return () => {
      this.users -= 1;
      if (this.users === 0) this.socket.stop();
    };
  }

  readonly retryNow = (): void => this.socket.retryNow();

  readonly loadOlder = async (): Promise<void> => {
    const { older, chat } = this.view;
    const first = chat.messages[0];
    if (older.loading || older.done || !chat.ready || !first) return;
    this.set({ older: { ...older, loading: true, error: null } });
    try {
      const page = await api.messagesBefore(this.id, first.seq, PAGE);
      this.set({
        chat: prepend(this.view.chat, page.items),
        older: { loading: false, done: page.items.length < PAGE, error: null },
      });
    } catch (error) {
      this.set({ older: { loading: false, done: false, error } });
    }
  };

  private take(events: S.Envelope[]): void {
    for (const event of events) this.pending.push(event);
    const ready = this.view.chat.ready || events.some((event) => event.type === "ready");
    if (this.pending.length > PENDING_MAX || (ready && !this.view.chat.ready)) this.flush();
    else if (!this.scheduled) {
      this.scheduled = true;
      if (ready && document.visibilityState === "visible") requestAnimationFrame(this.flush);
      else setTimeout(this.flush, ready ? HIDDEN_FLUSH_MS : SNAPSHOT_FLUSH_MS);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    const events = this.pending;
    if (events.length === 0) return;
    this.pending = [];
    const again = events.some((event) => event.type === "resync");
    this.set({ chat: applyAll(this.view.chat, events), older: again ? NO_OLDER : this.view.older });
  };

  private set(change: Partial<LiveView>): void {
    this.view = { ...this.view, ...change };
    for (const listener of this.listeners) listener();
  }
}

const kept = new Map<string, ChatLive>();

function chatLive(id: string): ChatLive {
  const there = kept.get(id);
  if (there) kept.delete(id);
  const live = there ?? new ChatLive(id);
  kept.set(id, live);
  for (const old of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(old);
  }
  return live;
}

export function useChatLive(id: string, enabled: boolean): LiveView & Pick<ChatLive, "retryNow" | "loadOlder"> {
  const live = chatLive(id);
  useEffect(() => (enabled ? live.use() : undefined), [live, enabled]);
  const view = useSyncExternalStore(live.subscribe, live.get);
  return { ...view, retryNow: live.retryNow, loadOlder: live.loadOlder };
}
