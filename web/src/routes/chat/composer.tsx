import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import type { Busy, FilePart } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { load, save } from "../../lib/ui/local";
import { Chips } from "./files/chips";
import { filesOf, notYet } from "./files/state";
import { useChips } from "./files/use-chips";

const DRAFT_MS = 400;

interface ComposerProps {
  /** Under which the draft is kept on this device. */
  draftKey: string;
  /** Where files go; null: the chat does not exist yet. */
  chatId: string | null;
  busy: boolean;
  stopping?: boolean;
  archived?: boolean;
  onSend: (text: string, how: Busy, files: FilePart[]) => Promise<unknown>;
  onStop?: () => void;
  children?: ReactNode;
}

/** Where a person writes. While the agent works, Enter queues and a chord sends now. */
export function Composer({ draftKey, chatId, busy, stopping, archived, onSend, onStop, children }: ComposerProps) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useDraft(draftKey);
  const [sending, setSending] = useState(false);
  const [dropping, setDropping] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const { chips, add, again, remove, said: gone } = useChips(draftKey, chatId);
  const wait = notYet(chips);
  const hasContent = text.trim() !== "" || chips.length > 0;
  useGrow(area, text);
  // On a phone the keyboard would cover what one came to read.
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
  }, []);

  const send = async (how: Busy) => {
    const said = text.trim();
    if (!hasContent || wait || sending) return;
    const along = chips;
    setSending(true);
    setText("");
    try {
      await onSend(said, how, filesOf(along));
      gone(along);
    } catch {
      // The problem is shown by the page; what was written comes back.
      setText((now) => now || said);
    } finally {
      setSending(false);
      area.current?.focus({ preventScroll: true });
    }
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
    const mod = event.ctrlKey || event.metaKey;
    if (mod && event.shiftKey) void send("interrupt");
    else if (!event.shiftKey) void send("queue");
    else return;
    event.preventDefault();
  };
  if (archived) return <p className="composer-closed">{t.chat.archived}</p>;
  return (
    <form
      className="composer"
      data-dropping={dropping || undefined}
      onDragOver={(event) => {
        if (!event.dataTransfer.types.includes("Files")) return;
        event.preventDefault();
        setDropping(true);
      }}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setDropping(false);
      }}
      onDrop={(event) => {
        if (event.dataTransfer.files.length === 0) return;
        event.preventDefault();
        setDropping(false);
        add([...event.dataTransfer.files]);
      }}
      onSubmit={(event) => {
        event.preventDefault();
        void send("queue");
      }}
    >
      {dropping && <p className="composer-drop">{t.files.drop}</p>}
      {chips.length > 0 && <Chips chips={chips} onRemove={remove} onAgain={again} />}
      <textarea
        ref={area}
        rows={1}
        aria-label={t.chat.compose}
        placeholder={busy ? t.chat.composeBusy : t.chat.composeHint}
        value={text}
        onChange={(e) => setText(e.target.value)}
        onKeyDown={onKey}
        onPaste={(event) => {
          const { files } = event.clipboardData;
          // What was copied from a page comes as text and as a picture of it: the text is meant.
          if (files.length === 0 || event.clipboardData.types.includes("text/plain")) return;
          event.preventDefault();
          add([...files]);
        }}
      />
      {wait && (
        <p className="composer-wait ink-2" role="status">
          {wait}
        </p>
      )}
      <div className="composer-bar">
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          onChange={(event) => {
            add([...(event.target.files ?? [])]);
            event.target.value = "";
          }}
        />
        <IconButton className="attach" icon="attach" label={t.files.add} onClick={() => picker.current?.click()} />
        <div className="composer-tools">{children}</div>
        {busy && hasContent && (
          <Button look="quiet" title="Ctrl Shift Enter" disabled={wait !== null} onClick={() => void send("interrupt")}>
            {t.chat.sendNow}
          </Button>
        )}
        {busy && onStop && (
          <Button className="stop" icon="stop" busy={stopping} title="Esc Esc" onClick={onStop}>
            {stopping ? t.chat.stopping : t.chat.stop}
          </Button>
        )}
        {(!busy || hasContent) && (
          <IconButton
            type="submit"
            className="send"
            icon="send"
            label={busy ? t.chat.queue : t.chat.send}
            disabled={!hasContent || wait !== null || sending}
          />
        )}
      </div>
    </form>
  );
}

/** What is being written survives a reload. */
function useDraft(key: string) {
  const [text, setText] = useState(() => load(`draft.${key}`, ""));
  useEffect(() => {
    const timer = setTimeout(() => save(`draft.${key}`, text || null), text ? DRAFT_MS : 0);
    return () => clearTimeout(timer);
  }, [key, text]);
  return [text, setText] as const;
}

/** Grows with its text, up to what the style sheet allows. */
function useGrow(area: React.RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [area, text]);
}
