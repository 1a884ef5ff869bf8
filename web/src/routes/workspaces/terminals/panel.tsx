import { useCallback, useEffect, useRef, useState } from "react";
import { api } from "../../../lib/api/calls";
import { BASE } from "../../../lib/api/client";
import { asProblem } from "../../../lib/api/problem";
import { meQuery, queryClient } from "../../../lib/api/queries";
import type { PtyView } from "../../../lib/api/types";
import { NO_PTY, PtyLive, type PtyState } from "../../../lib/live/pty-live";
import { socketUrl } from "../../../lib/live/socket";
import { lineCount } from "../../../lib/terminal/paste";
import { TerminalScreen } from "../../../lib/terminal/screen";
import { viewerName } from "../../../lib/terminal/viewer";
import { t } from "../../../lib/text/en";
import { Asking, type Ask } from "./asking";
import { KeyBar, withHeld, type Held } from "./keys";
import { TerminalSearch } from "./search";
import { StateLine, TerminalTools } from "./tools";

interface TerminalPanelProps {
  workspaceId: string;
  pty: PtyView;
  onAgain: () => void;
}

/** The pair that does the work: what draws, and what speaks with the server. */
interface Parts {
  screen: TerminalScreen;
  live: PtyLive;
}

const FREE: Held = { ctrl: false, alt: false };

/** One terminal. */
export default function TerminalPanel({ workspaceId, pty, onAgain }: TerminalPanelProps) {
  const host = useRef<HTMLDivElement>(null);
  const parts = useRef<Parts | null>(null);
  const held = useRef<Held>(FREE);
  const [holds, setHolds] = useState<Held>(FREE);
  const [state, setState] = useState<PtyState>(NO_PTY);
  const [title, setTitle] = useState("");
  const [ask, setAsk] = useState<Ask | null>(null);
  const [note, setNote] = useState<string | null>(null);
  const [searches, setSearches] = useState(false);
  const [reader, setReader] = useState(false);

  const hold = useCallback((next: Held) => {
    held.current = next;
    setHolds(next);
  }, []);

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const path = `${BASE}/workspaces/${workspaceId}/ptys/${pty.id}/attach`;
    const refused = (code: string) => setNote(t.terminals.refused[code] ?? code);
    const type = (data: string) => {
      const sent = withHeld(data, held.current);
      if (held.current.ctrl || held.current.alt) hold(FREE);
      const { state: now } = live;
      if (live.type(sent)) setNote(null);
      else if (now.phase === "ended") refused("exited");
      else if (now.isWriter && sent.length > 1) refused("full");
      else if (now.phase === "attached") refused("read_only");
    };
    const screen: TerminalScreen = new TerminalScreen({
      onData: type,
      onBinary: (data) => void live.typeBinary(data),
      onPaste: (text, bracketed) => {
        if (lineCount(text) > 1 && !bracketed) setAsk({ kind: "paste", text });
        else screen.paste(text);
      },
      // What the page says of a lost connection takes room that it will give back.
      onRoom: (cols, rows) => live.state.phase === "attached" && live.resize(cols, rows),
      onTitle: setTitle,
      onClipboard: (text) => setAsk({ kind: "clipboard", text }),
      onLink: (target) => setAsk({ kind: "link", target }),
      onLeave: () => document.getElementById(`tab-${pty.id}`)?.focus(),
      onSearch: () => setSearches(true),
      onSelection: () => {},
      answers: () => live.state.isWriter,
    });
    const live: PtyLive = new PtyLive({
      url: (query) => socketUrl(`${path}?${new URLSearchParams(query).toString()}`),
      viewer: viewerName(pty.id),
      sink: screen,
      onState: setState,
      onRefused: refused,
      check: async () => {
        try {
          await api.ptys(workspaceId);
          return null;
        } catch (error) {
          const problem = asProblem(error);
          if (problem.status === 401) void queryClient.invalidateQueries({ queryKey: meQuery.queryKey });
          return problem.status === 404 ? problem.code : null;
        }
      },
    });
    screen.open(element);
    // For the browser tests: what is shown, cell by cell.
    Object.assign(element, { terminal: screen.terminal });
    const size = screen.room() ?? { cols: pty.cols, rows: pty.rows };
    parts.current = { screen, live };
    live.start(size.cols, size.rows);
    screen.focus();
    return () => {
      parts.current = null;
      live.stop();
      screen.dispose();
    };
    // A panel is one terminal's: what else changes of it comes by its socket.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [workspaceId, pty.id]);

  useEffect(() => {
    if (parts.current) parts.current.screen.terminal.options.screenReaderMode = reader;
  }, [reader]);

  useEffect(() => {
    const size = state.phase === "attached" ? parts.current?.screen.room() : null;
    if (size) parts.current?.live.resize(size.cols, size.rows);
  }, [state.phase]);

  const focus = () => parts.current?.screen.focus();
  const take = () => {
    parts.current?.live.take();
    setNote(null);
    focus();
  };
  const isStill = state.phase === "waiting" || state.phase === "reconnecting";
  return (
    <div className="terminal-panel" role="tabpanel" id="terminal-panel" aria-labelledby={`tab-${pty.id}`}>
      <div className="terminal-bar">
        <StateLine
          state={state}
          note={note}
          title={title || pty.command}
          onTake={take}
          onRetry={() => parts.current?.live.retryNow()}
          onAgain={onAgain}
        />
        <TerminalTools
          recording={`${BASE}/workspaces/${workspaceId}/ptys/${pty.id}/recording`}
          text={() => parts.current?.screen.text() ?? ""}
          searches={searches}
          reader={reader}
          onSearch={() => setSearches(!searches)}
          onReader={() => setReader(!reader)}
        />
      </div>
      {searches && (
        <TerminalSearch
          workspaceId={workspaceId}
          ptyId={pty.id}
          onClose={() => {
            setSearches(false);
            focus();
          }}
        />
      )}
      {ask && (
        <Asking
          ask={ask}
          onPaste={(text) => parts.current?.screen.paste(text)}
          onClose={() => {
            setAsk(null);
            focus();
          }}
        />
      )}
      <div className="terminal-frame" data-still={isStill || undefined} data-watching={!state.isWriter || undefined}>
        <div ref={host} className="terminal-host" />
      </div>
      <KeyBar
        held={holds}
        application={() => parts.current?.screen.terminal.modes.applicationCursorKeysMode ?? false}
        onHold={hold}
        onSend={(data) => {
          parts.current?.screen.terminal.input(data);
          focus();
        }}
      />
    </div>
  );
}
