import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../../lib/api/calls";
import { exact } from "../../../lib/text/format";
import { matchesOf } from "../../../lib/text/output";
import { t } from "../../../lib/text/en";
import { Button } from "../../../lib/ui/button";
import { ProblemNote } from "../../../lib/ui/states";

interface OutputSearchProps {
  workspaceId: string;
  processId: string;
  onShow: (offset: number) => void;
}

/** Lines of an output that match; the workspace searches, not the page. */
export function OutputSearch({ workspaceId, processId, onShow }: OutputSearchProps) {
  const [pattern, setPattern] = useState("");
  const [context, setContext] = useState(0);
  const search = useMutation({ mutationFn: () => api.searchOutput(workspaceId, processId, pattern, context) });
  const rows = search.data ? matchesOf(search.data.text) : [];
  const count = rows.filter((row) => typeof row !== "string" && !row.context).length;
  return (
    <>
      <form
        className="find-bar"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          if (pattern) search.mutate();
        }}
      >
        <input
          className="input mono"
          autoFocus
          value={pattern}
          placeholder={t.output.searchHint}
          aria-label={t.output.searchHint}
          spellCheck={false}
          onChange={(event) => setPattern(event.target.value)}
        />
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
      </form>
      {search.isError && <ProblemNote error={search.error} />}
      {search.isSuccess && (
        <p className="ink-2" role="status">
          {count === 0 ? t.output.none : t.output.matches(count)}
        </p>
      )}
      {rows.length > 0 && (
        <ol className="find-list">
          {rows.map((row, i) =>
            typeof row === "string" ? (
              <li key={i} className="find-gap">
                {row}
              </li>
            ) : (
              <li key={i} data-context={row.context || undefined}>
                <button type="button" className="find-row" title={t.output.show(exact(row.offset))} onClick={() => onShow(row.offset)}>
                  <span className="num ink-2">{row.line === null ? "" : exact(row.line)}</span>
                  <span className="mono">{row.text}</span>
                </button>
              </li>
            ),
          )}
        </ol>
      )}
    </>
  );
}
