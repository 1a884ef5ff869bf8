import { useRef, type KeyboardEvent } from "react";
import type { PtyView } from "../../../lib/api/types";
import { t } from "../../../lib/text/en";
import { IconButton } from "../../../lib/ui/button";
import { Mark } from "../../../lib/ui/mark";
import { markOfProcess, stateText } from "../process-state";

/** What a terminal is called: as its program says, else its command. */
export function nameOf(pty: Pick<PtyView, "title" | "command">): string {
  return pty.title || pty.command || t.terminals.shell;
}

interface TerminalTabsProps {
  tabs: readonly PtyView[];
  chosen: string | null;
  busy: boolean;
  onChoose: (pty: string) => void;
  onClose: (pty: PtyView) => void;
  onOpen: () => void;
}

/** One tab per terminal; arrows move between them, Delete closes. */
export function TerminalTabs({ tabs, chosen, busy, onChoose, onClose, onOpen }: TerminalTabsProps) {
  const list = useRef<HTMLDivElement>(null);
  const onKey = (event: KeyboardEvent, at: number) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    const pty = to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
    if (pty) {
      onChoose(pty.id);
      list.current?.querySelector<HTMLElement>(`[data-pty="${pty.id}"]`)?.focus();
    } else if (event.key === "Delete" && tabs[at]) onClose(tabs[at]);
    else return;
    event.preventDefault();
  };
  const shown = tabs.find((pty) => pty.id === chosen);
  return (
    <div className="terminal-tabs">
      <div ref={list} role="tablist" aria-label={t.terminals.list} className="terminal-list">
        {tabs.map((pty, at) => (
          <button
            key={pty.id}
            type="button"
            role="tab"
            id={`tab-${pty.id}`}
            data-pty={pty.id}
            aria-selected={pty.id === chosen}
            aria-controls={pty.id === chosen ? "terminal-panel" : undefined}
            tabIndex={pty.id === chosen || (!chosen && at === 0) ? 0 : -1}
            className="terminal-tab"
            title={pty.command}
            onClick={() => onChoose(pty.id)}
            onKeyDown={(event) => onKey(event, at)}
          >
            <Mark state={markOfProcess(pty)} label={stateText(pty)} />
            <span className="clip">{nameOf(pty)}</span>
            {pty.chat_id && <span className="tag">{t.terminals.agent}</span>}
          </button>
        ))}
      </div>
      {shown && <IconButton icon="close" label={t.terminals.close(nameOf(shown))} onClick={() => onClose(shown)} />}
      <IconButton icon="plus" label={t.terminals.open} disabled={busy} onClick={onOpen} />
    </div>
  );
}
