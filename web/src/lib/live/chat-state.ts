/**
 * A chat as a viewer knows it: `apply(state, envelope)` over the event stream, pure.
 *
 * ```text
 *  message, message_removed ──► messages   sorted by seq, newer revision replaces
 *  part, preview_reset      ──► preview    one episode (history_version, attempt), parts by index
 *  status queue retry …     ──► the rest   replaced whole
 *  resync                   ──► everything is dropped, a snapshot follows, then ready
 * ```
 */
import type * as S from "../api/types";

/** Live output kept per tool: the tail is what is shown. */
export const LIVE_TAIL = 64 * 1024;

export interface PreviewItem {
  index: number;
  kind: S.PreviewKind;
  toolCallId: string | null;
  name: string | null;
  /** What was appended so far. */
  text: string;
  /** The whole part, once it is known. */
  value: S.Part | null;
}

export interface Preview {
  history: number;
  attempt: number;
  /** Last piece applied. */
  seq: number;
  items: readonly PreviewItem[];
}

export interface Retry {
  attempt: number;
  delayMs: number;
  retryAt: string;
  error: S.ChatErrorView;
}

export interface ChatState {
  /** Where to resume; null: from the start. */
  cursor: string | null;
  /** The snapshot after subscribing is complete. */
  ready: boolean;
  messages: readonly S.MessageView[];
  preview: Preview | null;
  head: S.ChatHead | null;
  status: S.ChatStatus;
  queue: readonly S.QueuedView[];
  retry: Retry | null;
  error: S.ChatErrorView | null;
  actions: readonly S.ActionView[];
  fallback: { selected: string; answered: string; reason: string } | null;
  /** Stored answers of the last step's calls while others of it wait. */
  results: readonly S.Part[];
}

export const INITIAL: ChatState = {
  cursor: null,
  ready: false,
  messages: [],
  preview: null,
  head: null,
  status: "waiting",
  queue: [],
  retry: null,
  error: null,
  actions: [],
  fallback: null,
  results: [],
};

/** One event. */
export function apply(state: ChatState, event: S.Envelope): ChatState {
  return applyAll(state, [event]);
}

/** A batch; arrays are copied once however many events touch them. */
export function applyAll(state: ChatState, events: readonly S.Envelope[]): ChatState {
  let next = { ...state };
  let messages: S.MessageView[] | null = null;
  for (const event of events) {
    next.cursor = event.cursor ?? next.cursor;
    switch (event.type) {
      case "message": {
        messages ??= [...next.messages];
        if (put(messages, event.message)) next.preview = settle(next.preview, event.message);
        break;
      }
      case "message_removed": {
        messages = (messages ?? [...next.messages]).filter((m) => m.id !== event.id);
        break;
      }
      case "resync": {
        messages = [];
        next = { ...INITIAL };
        break;
      }
      default:
        Object.assign(next, rest(next, event));
    }
  }
  if (messages) next.messages = messages;
  return next;
}

/** A page of older messages, as a page of the history answers. */
export function prepend(state: ChatState, page: readonly S.MessageView[]): ChatState {
  const messages = [...state.messages];
  for (const message of page) put(messages, message);
  return { ...state, messages };
}

/** A new connection: what the server tells anew is forgotten, what it only continues is kept. */
export function resumed(state: ChatState): ChatState {
  return { ...state, ready: false, retry: null, fallback: null, actions: [], results: [] };
}

type Rest = Exclude<S.Envelope, { type: "message" | "message_removed" | "resync" }>;

function rest(state: ChatState, event: Rest): Partial<ChatState> {
  switch (event.type) {
    case "part":
      return { preview: append(state.preview, event), retry: null };
    case "preview_reset":
      return { preview: null };
    case "status":
      return statusChange(event.status);
    case "queue":
      return { queue: event.items };
    case "retry":
      return {
        preview: null,
        retry: { attempt: event.attempt, delayMs: event.delay_ms, retryAt: event.retry_at, error: event.error },
      };
    case "fallback":
      return {
        fallback: { selected: event.selected_model, answered: event.answered_by, reason: event.reason },
      };
    case "results":
      return { results: event.items };
    case "action_required":
      return { actions: event.actions };
    case "chat":
      return { head: event.chat, status: event.chat.status };
    case "error":
      return { error: event.error ?? null };
    case "ready":
      return { ready: true };
    default:
      // usage and ping change nothing here; an unknown type comes from a newer server.
      return {};
  }
}

/** Ends a retry phase and a fallback. At rest no episode runs either: what was seen of one is a message by now. */
function statusChange(status: S.ChatStatus): Partial<ChatState> {
  const ended = { status, retry: null, fallback: null };
  if (status === "running" || status === "interrupting") return ended;
  return { ...ended, preview: null };
}

/** Puts a message in its place. False: it is not newer than what is there. */
function put(messages: S.MessageView[], message: S.MessageView): boolean {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if ((messages[mid] as S.MessageView).seq < message.seq) low = mid + 1;
    else high = mid;
  }
  const there = messages[low];
  if (there?.id === message.id) {
    if (there.revision > message.revision) return false;
    messages[low] = message;
    return there.revision !== message.revision;
  }
  messages.splice(low, 0, message);
  return true;
}

/** What is left of a preview once a message has become durable. */
function settle(preview: Preview | null, message: S.MessageView): Preview | null {
  if (!preview) return null;
  const done = new Set(
    message.content.flatMap((part) => (part.type === "tool_result" ? [part.tool_call_id] : [])),
  );
  const items = preview.items.filter((item) =>
    message.role === "assistant" ? item.kind === "tool_result" : !done.has(item.toolCallId ?? ""),
  );
  return items.length === preview.items.length ? preview : { ...preview, items };
}

function append(preview: Preview | null, part: S.PreviewPart): Preview {
  const same = preview && preview.history === part.history_version && preview.attempt === part.attempt;
  if (same && part.seq <= preview.seq) return preview;
  // Episodes only go forward: a late piece of an older one is dropped.
  if (preview && !same && older(part, preview)) return preview;
  const items = same ? [...preview.items] : [];
  const at = items.findIndex((item) => item.index === part.index);
  const before = at >= 0 ? items[at] : undefined;
  const item: PreviewItem = {
    index: part.index,
    kind: part.kind,
    toolCallId: part.tool_call_id ?? before?.toolCallId ?? null,
    name: part.name ?? before?.name ?? null,
    text: tail((before?.text ?? "") + (part.delta ?? ""), part.kind),
    value: part.value ?? before?.value ?? null,
  };
  if (before) items[at] = item;
  else {
    items.push(item);
    items.sort((a, b) => a.index - b.index);
  }
  return { history: part.history_version, attempt: part.attempt, seq: part.seq, items };
}

function older(part: S.PreviewPart, preview: Preview): boolean {
  return part.history_version !== preview.history
    ? part.history_version < preview.history
    : part.attempt < preview.attempt;
}

function tail(text: string, kind: S.PreviewKind): string {
  return kind === "tool_result" && text.length > LIVE_TAIL ? text.slice(-LIVE_TAIL) : text;
}
