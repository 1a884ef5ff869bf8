import type { PtyState } from "../../../lib/live/pty-live";
import { bytes } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";
import { Button, IconButton } from "../../../lib/ui/button";
import { useNow } from "../../../lib/ui/hooks";
import { Icon } from "../../../lib/ui/icon";
import { Mark, type MarkState } from "../../../lib/ui/mark";
import { stateText } from "../process-state";

interface StateLineProps {
  state: PtyState;
  note: string | null;
  title: string;
  onTake: () => void;
  onRetry: () => void;
  onAgain: () => void;
}

/** How the terminal stands, and what can be done about it. */
export function StateLine({ state, note, title, onTake, onRetry, onAgain }: StateLineProps) {
  const now = useNow(1_000, state.phase === "reconnecting");
  const words = t.terminals;
  const seconds = state.retryAt === null ? 0 : Math.max(0, Math.ceil((state.retryAt - now) / 1_000));
  const watches = state.phase === "attached" && !state.isWriter;
  const [mark, text]: [MarkState, string] = {
    connecting: ["pending", words.connecting] as [MarkState, string],
    attached: state.isWriter
      ? (["work", words.writing] as [MarkState, string])
      : (["rest", `${words.readOnly}. ${state.writer ? words.writtenBy : words.nobody}`] as [MarkState, string]),
    waiting: ["lost", words.waiting] as [MarkState, string],
    reconnecting: ["lost", words.reconnecting(state.attempt, seconds)] as [MarkState, string],
    ended: ["rest", `${words.ended} ${state.pty ? stateText(state.pty) : ""}`.trim()] as [MarkState, string],
    replaced: ["rest", words.replaced] as [MarkState, string],
    gone: ["fail", words.gone] as [MarkState, string],
  }[state.phase];
  return (
    <div className="terminal-state">
      <p role="status" className="terminal-says">
        <Mark state={mark} />
        <span className="terminal-title clip mono" title={title}>
          {title}
        </span>
        <span className="ink-2">{note ?? text}</span>
        {state.skipped > 0 && <span className="ink-2">{words.skipped(bytes(state.skipped))}</span>}
      </p>
      {watches && (
        <Button onClick={onTake}>
          {state.writer ? words.takeOver : words.write}
        </Button>
      )}
      {state.phase === "reconnecting" && (
        <Button look="quiet" icon="retry" onClick={onRetry}>
          {t.common.retryNow}
        </Button>
      )}
      {state.phase === "replaced" && <Button onClick={onRetry}>{words.showHere}</Button>}
      {(state.phase === "ended" || state.phase === "gone") && (
        <Button icon="plus" onClick={onAgain}>
          {words.open}
        </Button>
      )}
    </div>
  );
}

interface TerminalToolsProps {
  recording: string;
  text: () => string;
  searches: boolean;
  reader: boolean;
  onSearch: () => void;
  onReader: () => void;
}

export function TerminalTools({ recording, text, searches, reader, onSearch, onReader }: TerminalToolsProps) {
  return (
    <div className="terminal-tools">
      <span className="ink-2 terminal-leave">{t.terminals.leave}</span>
      <IconButton icon="search" label={t.terminals.search} aria-pressed={searches} onClick={onSearch} />
      <IconButton icon="copy" label={t.terminals.copy} onClick={() => void navigator.clipboard?.writeText(text())} />
      <IconButton icon="reader" label={t.terminals.reader} aria-pressed={reader} onClick={onReader} />
      <a className="icon-button" href={recording} download title={t.terminals.record} aria-label={t.terminals.record}>
        <Icon name="down" />
      </a>
    </div>
  );
}
