import { useMutation } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { api } from "../../../lib/api/calls";
import type { PtyMatchesView, PtyMatchView } from "../../../lib/api/types";
import { bytes, exact } from "../../../lib/text/format";
import { readable } from "../../../lib/text/output";
import { t } from "../../../lib/text/en";
import { Button, CopyButton, IconButton } from "../../../lib/ui/button";
import { ProblemNote } from "../../../lib/ui/states";

const LIMIT = 100;

interface TerminalSearchProps {
  workspaceId: string;
  ptyId: string;
  onClose: () => void;
}

/** Lines that the program has written, all that is kept of them: the workspace searches. */
export function TerminalSearch({ workspaceId, ptyId, onClose }: TerminalSearchProps) {
  const [pattern, setPattern] = useState("");
  const [matchCase, setMatchCase] = useState(false);
  const [context, setContext] = useState(0);
  const [found, setFound] = useState<PtyMatchesView | null>(null);
  const ask = (before?: number) =>
    api.searchPty(workspaceId, ptyId, {
      q: pattern, ignore_case: !matchCase, context, limit: LIMIT, ...(before === undefined ? {} : { before }),
    });
  const search = useMutation({ mutationFn: () => ask(), onSuccess: setFound });
  const older = useMutation({
    mutationFn: (before: number) => ask(before),
    onSuccess: (more) => setFound((now) => (now ? { ...now, matches: [...more.matches, ...now.matches] } : more)),
  });
  const first = found?.matches[0];
  return (
    <section className="terminal-search" aria-label={t.terminals.search}>
      <form
        className="find-bar"
        role="search"
        onKeyDown={(event) => event.key === "Escape" && onClose()}
        onSubmit={(event) => {
          event.preventDefault();
          if (pattern) search.mutate();
        }}
      >
        <input
          className="input mono"
          autoFocus
          value={pattern}
          placeholder={t.terminals.searchHint}
          aria-label={t.terminals.search}
          spellCheck={false}
          onChange={(event) => setPattern(event.target.value)}
        />
        <label className="check">
          <input type="checkbox" checked={matchCase} onChange={(event) => setMatchCase(event.target.checked)} />
          <span>{t.terminals.searchCase}</span>
        </label>
        <label className="find-context">
          {t.output.context}
          <select className="input" value={context} onChange={(event) => setContext(Number(event.target.value))}>
            {[0, 1, 3, 10].map((lines) => (
              <option key={lines}>{lines}</option>
            ))}
          </select>
        </label>
        <Button type="submit" busy={search.isPending} disabled={!pattern}>
          {t.output.search}
        </Button>
        <IconButton icon="close" label={t.common.close} onClick={onClose} />
      </form>
      {(search.error ?? older.error) && <ProblemNote error={search.error ?? older.error} />}
      {found && (
        <p className="ink-2" role="status">
          {found.total === 0 ? t.terminals.searchNone : t.terminals.searchCount(found.matches.length, found.total)}
          {found.dropped_bytes > 0 && ` ${t.terminals.searchDropped(bytes(found.dropped_bytes))}`}
        </p>
      )}
      {found && first && (
        <ol className="find-list" tabIndex={0}>
          {found.matches.length < found.total && (
            <li>
              <Button look="quiet" busy={older.isPending} onClick={() => older.mutate(first.offset)}>
                {t.terminals.searchOlder}
              </Button>
            </li>
          )}
          {found.matches.map((match) => (
            <MatchRow key={match.offset} match={match} />
          ))}
        </ol>
      )}
    </section>
  );
}

function MatchRow({ match }: { match: PtyMatchView }) {
  return (
    <li className="find-match">
      <span className="num ink-2" title={t.terminals.line(match.line + 1)}>
        {exact(match.line + 1)}
      </span>
      <pre className="mono">
        {match.before.map((line, i) => (
          <span key={`b${i}`} className="ink-2">
            {readable(line)}
            {"\n"}
          </span>
        ))}
        {marked(match)}
        {match.after.map((line, i) => (
          <span key={`a${i}`} className="ink-2">
            {"\n"}
            {readable(line)}
          </span>
        ))}
      </pre>
      <CopyButton text={match.text} />
    </li>
  );
}

/** The line with what matches in it marked; the ranges count bytes. */
export function marked(match: Pick<PtyMatchView, "text" | "ranges">): ReactNode[] {
  const raw = new TextEncoder().encode(match.text);
  const text = (from: number, to?: number) => readable(new TextDecoder().decode(raw.subarray(from, to)));
  const parts: ReactNode[] = [];
  let at = 0;
  for (const [from = 0, to = 0] of match.ranges) {
    if (from < at || to <= from) continue;
    parts.push(text(at, from), <mark key={from}>{text(from, to)}</mark>);
    at = to;
  }
  parts.push(text(at));
  return parts;
}
