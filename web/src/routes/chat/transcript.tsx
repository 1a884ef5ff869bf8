import { defaultRangeExtractor, useVirtualizer, type Range, type VirtualItem, type Virtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { LiveView } from "../../lib/live/chat-live";
import type { PreviewItem } from "../../lib/live/chat-state";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Icon } from "../../lib/ui/icon";
import { ProblemNote } from "../../lib/ui/states";
import { AnswerArticle, type RailState } from "./article";
import { liveTools, previewParts, turnFacts, type Durable, type Item } from "./items";
import { ReportArticle } from "./report";
import { UserArticle } from "./said";

/** Distance from the end within which the view sticks to it. */
const STICK_PX = 64;
const OVERSCAN = 8;
const PADDING_PX = 16;
/** Older messages are asked for when the reader is this close to the first. */
const OLDER_AT = 6;
const LIVE_KEY = "live";

/** Where the reader was in a chat, if not at its end. */
interface Place {
  offset: number;
  sizes: VirtualItem[];
}
const PLACES_KEPT = 50;
const places = new Map<string, Place>();

interface TranscriptProps {
  chatId: string;
  live: LiveView;
  durable: Durable;
  /** The workspace does not answer. */
  lost: boolean;
  onLoadOlder: () => void;
}

/** Only what is near the screen is in the page, however long the chat is. */
export function Transcript({ chatId, live, durable, lost, onLoadOlder }: TranscriptProps) {
  const { chat, older } = live;
  const scroller = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const tools = useMemo(() => liveTools(chat.preview, chat.results), [chat.preview, chat.results]);
  const preview = useMemo(() => previewParts(chat.preview, durable), [chat.preview, durable]);
  const asked = useMemo(() => new Set(chat.actions.map((action) => action.tool_call_id)), [chat.actions]);
  const running = chat.status === "running" || chat.status === "interrupting";
  const writing = preview.length > 0 || (running && durable.open.size === 0);
  const last = durable.items.at(-1);
  const items = useMemo<Item[]>(
    () =>
      writing
        ? [...durable.items, { kind: "answer", key: LIVE_KEY, message: null, parts: preview, first: last?.kind !== "answer" }]
        : durable.items,
    [durable, writing, preview, last],
  );

  const [place] = useState(() => places.get(chatId));
  const current = useRef<Virtualizer<HTMLDivElement, Element>>(null);
  // Before the virtualizer's own clean-up, which forgets where it was.
  useLayoutEffect(() => () => remember(chatId, current.current), [chatId]);
  const virtual = useVirtualizer({
    initialOffset: place?.offset ?? 0,
    initialMeasurementsCache: place?.sizes ?? [],
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: (i) => estimate(items[i]),
    getItemKey: (i) => items[i]?.key ?? i,
    overscan: OVERSCAN,
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: STICK_PX,
    paddingStart: PADDING_PX,
    paddingEnd: PADDING_PX,
    rangeExtractor: useCallback((range: Range) => withFocused(range, scroller.current), []),
  });
  // Sizes are known only after they were drawn, so this is asked after every drawing.
  const ends = virtual.isAtEnd(STICK_PX);
  useEffect(() => setAtEnd(virtual.isAtEnd(STICK_PX)), [virtual, ends, items, virtual.scrollOffset]);

  const settled = useRef(false);
  useLayoutEffect(() => {
    if (settled.current || items.length === 0) return;
    settled.current = true;
    if (!place) virtual.scrollToEnd();
  }, [items.length, virtual, place]);
  current.current = virtual;

  const first = virtual.getVirtualItems()[0]?.index ?? 0;
  const canLoad = chat.ready && !older.done && !older.loading && !older.error && (chat.messages[0]?.seq ?? 0) > 1;
  useEffect(() => {
    if (canLoad && first <= OLDER_AT) onLoadOlder();
  }, [canLoad, first, onLoadOlder]);

  const missed = useMissed(items.length, atEnd);
  const facts = useMemo(() => (running ? null : turnFacts(chat.messages)), [running, chat.messages]);
  const rail = railOf(chat.status, lost);
  return (
    <div className="transcript-wrap">
      <div
        ref={scroller}
        className="transcript"
        role="log"
        aria-live="off"
        aria-label={t.chat.transcript}
        tabIndex={0}
      >
        {older.error ? <ProblemNote error={older.error} onRetry={onLoadOlder} /> : null}
        <div className="transcript-sizer" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((row) => {
            const item = items[row.index];
            if (!item) return null;
            const isLast = row.index === items.length - 1;
            return (
              <Row key={row.key} row={row} measure={virtual.measureElement}>
                {item.kind === "user" ? (
                  <UserArticle item={item} position={row.index + 1} size={items.length} />
                ) : item.kind === "report" ? (
                  <ReportArticle item={item} position={row.index + 1} size={items.length} />
                ) : (
                  <AnswerArticle
                    item={item}
                    position={row.index + 1}
                    size={items.length}
                    tools={isLast ? tools : NONE}
                    running={isLast && running}
                    asked={asked}
                    rail={isLast ? rail : "done"}
                    facts={isLast ? facts : null}
                  />
                )}
              </Row>
            );
          })}
        </div>
      </div>
      {!atEnd && (
        <Button className="to-end" onClick={() => virtual.scrollToEnd()}>
          <Icon name="down" size={14} />
          {missed > 0 ? t.chat.newBelow(missed) : t.chat.toEnd}
        </Button>
      )}
    </div>
  );
}

const NONE: ReadonlyMap<string, PreviewItem> = new Map();

interface RowProps {
  row: VirtualItem;
  measure: (node: Element | null) => void;
  children: React.ReactNode;
}

function Row({ row, measure, children }: RowProps) {
  return (
    <div
      ref={measure}
      data-index={row.index}
      className="transcript-row"
      style={{ transform: `translateY(${row.start}px)` }}
    >
      {children}
    </div>
  );
}

function remember(chatId: string, virtual: Virtualizer<HTMLDivElement, Element> | null): void {
  places.delete(chatId);
  if (!virtual || virtual.scrollOffset === null || virtual.isAtEnd(STICK_PX)) return;
  places.set(chatId, { offset: virtual.scrollOffset, sizes: virtual.takeSnapshot() });
  for (const old of places.keys()) {
    if (places.size <= PLACES_KEPT) break;
    places.delete(old);
  }
}

/** Items that were added while the reader was elsewhere. */
function useMissed(count: number, atEnd: boolean): number {
  const seen = useRef(count);
  if (atEnd || count < seen.current) seen.current = count;
  return count - seen.current;
}

/** The row that holds the focus is never taken out of the page. */
function withFocused(range: Range, scroller: HTMLElement | null): number[] {
  const indexes = defaultRangeExtractor(range);
  const row = document.activeElement?.closest<HTMLElement>(".transcript-row");
  if (!row || !scroller?.contains(row)) return indexes;
  const focused = Number(row.dataset.index);
  if (indexes.includes(focused) || focused >= range.count) return indexes;
  return [...indexes, focused].toSorted((a, b) => a - b);
}

/** Good guesses keep the scroll bar still. */
function estimate(item: Item | undefined): number {
  if (!item) return 60;
  if (item.kind === "report") return 80 * item.reports.length;
  if (item.kind === "user") return 64 + 24 * Math.ceil(item.text.length / 84);
  return item.parts.reduce((sum, part) => {
    if (part.type === "tools") return sum + 30 * part.views.length;
    return sum + (part.type === "text" ? 32 + 24 * Math.ceil(part.text.length / 84) : 28);
  }, item.first ? 28 : 4);
}

function railOf(status: string, lost: boolean): RailState {
  if (status === "requires_action") return "need";
  if (status === "error") return "fail";
  if (status === "running" || status === "interrupting") return lost ? "lost" : "work";
  return "done";
}
