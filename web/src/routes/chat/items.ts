/**
 * Messages and preview as what the transcript draws: one item per article. Results are drawn with
 * their calls, so a `tool` message makes no item.
 */
import type * as S from "../../lib/api/types";
import { t } from "../../lib/text/en";
import type { Preview, PreviewItem } from "../../lib/live/chat-state";
import type { CompactionMark } from "../../lib/ui/compaction";
import type { ToolView } from "../../lib/ui/tools/view";

export type ViewPart =
  | { type: "text"; key: string; text: string }
  | { type: "reasoning"; key: string; text: string; open: boolean }
  | { type: "tools"; key: string; views: ToolView[] }
  | { type: "notice"; key: string; code: string; text: string }
  | { type: "compaction"; key: string; mark: CompactionMark | null; text: string };

export interface UserItem {
  kind: "user";
  key: string;
  message: S.MessageView;
  text: string;
}

export interface AnswerItem {
  kind: "answer";
  key: string;
  message: S.MessageView | null;
  parts: ViewPart[];
  /** The first answer after a user's message: it carries the heading. */
  first: boolean;
}

/** What an agent of the chat told when it came to rest. */
export interface ReportItem {
  kind: "report";
  key: string;
  message: S.MessageView;
  reports: readonly Report[];
}

export type Report = Extract<S.Part, { type: "agent_report" }>;

export type Item = UserItem | AnswerItem | ReportItem;

type ToolResult = Extract<S.Part, { type: "tool_result" }>;

export interface Durable {
  items: Item[];
  results: ReadonlyMap<string, ToolResult>;
  /** Calls of the last step that have no stored answer. */
  open: ReadonlySet<string>;
}

/** Items of the stored messages. Costs one pass; do it once per change of the messages. */
export function durableItems(messages: readonly S.MessageView[]): Durable {
  const results = new Map<string, ToolResult>();
  for (const message of messages) {
    if (message.role !== "tool") continue;
    for (const part of message.content) if (part.type === "tool_result") results.set(part.tool_call_id, part);
  }
  const items: Item[] = [];
  const open = new Set<string>();
  let first = true;
  for (const message of messages) {
    if (message.role === "user") {
      const reports = message.content.filter((part) => part.type === "agent_report");
      items.push(
        reports.length > 0
          ? { kind: "report", key: message.id, message, reports }
          : { kind: "user", key: message.id, message, text: textOf(message.content) },
      );
      first = true;
      open.clear();
    } else if (message.role === "assistant") {
      open.clear();
      for (const part of message.content) {
        if (part.type === "tool_call" && !results.has(part.tool_call_id)) open.add(part.tool_call_id);
      }
      items.push({ kind: "answer", key: message.id, message, parts: answerParts(message, results), first });
      first = false;
    }
  }
  return { items, results, open };
}

function answerParts(message: S.MessageView, results: ReadonlyMap<string, ToolResult>): ViewPart[] {
  const parts: ViewPart[] = [];
  message.content.forEach((part, i) => {
    const key = `${message.id}:${i}`;
    if (part.type === "text" || part.type === "notice") parts.push({ ...part, key });
    else if (part.type === "compaction") parts.push({ type: "compaction", key, mark: part, text: part.summary ?? "" });
    else if (part.type === "reasoning") {
      if (part.text) parts.push({ ...part, key, open: false });
    } else if (part.type === "tool_call") {
      const result = results.get(part.tool_call_id);
      push(parts, {
        id: part.tool_call_id,
        name: part.name,
        args: part.args,
        argsText: "",
        phase: result ? (result.is_error ? "failed" : "done") : "unanswered",
        result: result?.result ?? null,
        durationMs: result?.duration_ms ?? null,
        output: "",
      });
    }
  });
  return parts;
}

/** Live answers by tool call: what runs, its output, and results that are not sealed yet. */
export function liveTools(preview: Preview | null, results: readonly S.Part[] = []): ReadonlyMap<string, PreviewItem> {
  const live = new Map<string, PreviewItem>();
  results.forEach((value, index) => {
    if (value.type !== "tool_result") return;
    const { tool_call_id: id, name } = value;
    live.set(id, { index, kind: "tool_result", toolCallId: id, name, text: "", value });
  });
  for (const item of preview?.items ?? []) {
    if (item.kind === "tool_result" && item.toolCallId) live.set(item.toolCallId, item);
  }
  return live;
}

/** The parts of an answer with what is live of its open calls. */
export function withLive(
  parts: readonly ViewPart[],
  live: ReadonlyMap<string, PreviewItem>,
  running: boolean,
  asked: ReadonlySet<string> = NOBODY,
): readonly ViewPart[] {
  return parts.map((part) => {
    if (part.type !== "tools" || !part.views.some((view) => view.phase === "unanswered")) return part;
    return { ...part, views: part.views.map((view) => liveView(view, live.get(view.id), running, asked)) };
  });
}

const NOBODY: ReadonlySet<string> = new Set();

function liveView(
  view: ToolView,
  item: PreviewItem | undefined,
  running: boolean,
  asked: ReadonlySet<string>,
): ToolView {
  if (view.phase !== "unanswered") return view;
  if (asked.has(view.id)) return { ...view, phase: "asked" };
  const result = item?.value?.type === "tool_result" ? item.value : null;
  if (result) {
    return {
      ...view,
      phase: result.is_error ? "failed" : "done",
      result: result.result,
      durationMs: result.duration_ms ?? null,
      output: item?.text ?? "",
    };
  }
  return running ? { ...view, phase: "running", output: item?.text ?? "" } : view;
}

/** The answer that is being written, as parts; none: nothing was said yet. */
export function previewParts(preview: Preview | null, durable: Durable): ViewPart[] {
  const parts: ViewPart[] = [];
  const items = preview?.items.filter((item) => item.kind !== "tool_result") ?? [];
  items.forEach((item, i) => {
    const key = `live:${item.index}`;
    const last = i === items.length - 1;
    if (item.kind === "text") {
      const text = item.value?.type === "text" ? item.value.text : item.text;
      if (text) parts.push({ type: "text", key, text });
    } else if (item.kind === "reasoning") {
      const text = item.value?.type === "reasoning" ? item.value.text : item.text;
      if (text) parts.push({ type: "reasoning", key, text, open: last && !item.value });
    } else if (item.kind === "compaction") {
      parts.push({ type: "compaction", key, mark: null, text: item.text });
    } else {
      const id = item.toolCallId ?? key;
      if (durable.open.has(id) || durable.results.has(id)) return;
      push(parts, {
        id,
        name: item.name ?? "",
        args: item.value?.type === "tool_call" ? item.value.args : null,
        argsText: item.text,
        phase: "input",
        result: null,
        durationMs: null,
        output: "",
      });
    }
  });
  return parts;
}

/** Calls that follow each other stand in one group. */
function push(parts: ViewPart[], view: ToolView): void {
  const last = parts.at(-1);
  if (last?.type === "tools") last.views.push(view);
  else parts.push({ type: "tools", key: `tools:${view.id}`, views: [view] });
}

export function textOf(content: readonly S.Part[]): string {
  return content
    .flatMap((part) => {
      if (part.type === "text") return [part.text];
      if (part.type === "agent_report") return [t.chat.reported(part.title, t.agents.outcomes[part.outcome])];
      // What somebody who asked for a compaction said.
      return part.type === "notice" && part.code === "compact" ? [`/compact ${part.text}`.trim()] : [];
    })
    .join("\n\n");
}

/** What the last turn used and how long it took, once it is over. */
export function turnFacts(messages: readonly S.MessageView[]): { ms: number; tokens: number } | null {
  let tokens = 0;
  const last = messages.at(-1);
  for (let i = messages.length - 1; i >= 0; i -= 1) {
    const message = messages[i] as S.MessageView;
    if (message.usage) {
      const { input, cache_read, cache_write, output } = message.usage;
      tokens += input + cache_read + cache_write + output;
    }
    if (message.role === "user") {
      if (!last || last === message) return null;
      return { ms: Date.parse(last.created_at) - Date.parse(message.created_at), tokens };
    }
  }
  return null;
}
