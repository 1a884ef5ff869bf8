import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import type { Busy } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { load, save } from "../../lib/ui/local";

const DRAFT_MS = 400;

interface ComposerProps {
  /** Under which the draft is kept on this device. */
  draftKey: string;
  busy: boolean;
  stopping?: boolean;
  archived?: boolean;
  onSend: (text: string, how: Busy) => Promise<unknown>;
  onStop?: () => void;
  children?: ReactNode;
}

/** Where a person writes. While the agent works, Enter queues and a chord sends now. */
export function Composer({ draftKey, busy, stopping, archived, onSend, onStop, children }: ComposerProps) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useDraft(draftKey);
  const [sending, setSending] = useState(false);
  useGrow(area, text);
  // On a phone the keyboard would cover what one came to read.
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
  }, []);

  const send = async (how: Busy) => {
    const said = text.trim();
    if (!said || sending) return;
    setSending(true);
    setText("");
    try {
      await onSend(said, how);
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
      onSubmit={(event) => {
        event.preventDefault();
        void send("queue");
      }}
    >
      <textarea
        ref={area}
        rows={1}
        aria-label={t.chat.compose}
        placeholder={busy ? t.chat.composeBusy : t.chat.composeHint}
        value={text}
        onChange={(e) => setText(e.target.value)}
        onKeyDown={onKey}
      />
      <div className="composer-bar">
        <div className="composer-tools">{children}</div>
        {busy && text.trim() && (
          <Button look="quiet" title="Ctrl Shift Enter" onClick={() => void send("interrupt")}>
            {t.chat.sendNow}
          </Button>
        )}
        {busy && onStop && (
          <Button className="stop" icon="stop" busy={stopping} title="Esc Esc" onClick={onStop}>
            {stopping ? t.chat.stopping : t.chat.stop}
          </Button>
        )}
        {(!busy || text.trim()) && (
          <IconButton
            type="submit"
            className="send"
            icon="send"
            label={busy ? t.chat.queue : t.chat.send}
            disabled={!text.trim() || sending}
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
