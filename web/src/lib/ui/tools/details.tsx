/** What a tool row shows when it is open. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { bytes } from "../../text/format";
import { t } from "../../text/en";
import { CopyButton } from "../button";
import { useToolWorkspace } from "./workspace";
import { errorOf, lastLines, list, number, record, text, type ToolView } from "./view";

/** Characters of a text drawn at once: a megabyte in one element would stop the page. */
const SHOWN = 40_000;
const ROWS = 200;
const LIVE_LINES = 12;

/** The last lines of what a running tool writes. */
export function LiveOutput({ output }: { output: string }) {
  return (
    <pre className="tool-output tool-live" aria-label={t.tools.liveOutput}>
      {lastLines(output, LIVE_LINES)}
    </pre>
  );
}

export function ExecuteDetail({ view }: { view: ToolView }) {
  const command = text(view.args, "command") ?? "";
  const output = text(view.result, "output") ?? view.output;
  const omitted = number(record(view.result).truncated, "omitted_bytes");
  return (
    <>
      <div className="tool-command">
        <pre tabIndex={0}>{command}</pre>
        <CopyButton text={command} />
      </div>
      <ToolError view={view} />
      {output && <Output value={output} />}
      {omitted !== null && <p className="tool-note">{t.tools.omitted(bytes(omitted))}</p>}
      {view.phase === "done" && !output && <p className="tool-note">{t.tools.noOutput}</p>}
      <ProcessLink view={view} />
    </>
  );
}

/** To all that the process of this call wrote; nothing where the call names none. */
function ProcessLink({ view }: { view: ToolView }) {
  const workspaceId = useToolWorkspace();
  const processId = text(view.result, "process_id") ?? text(view.args, "process_id");
  if (!workspaceId || !processId) return null;
  const at = number(view.args, "offset");
  return (
    <p className="tool-note">
      <Link
        to="/workspaces/$workspaceId/processes/$processId"
        params={{ workspaceId, processId }}
        search={at === null ? {} : { at }}
        className="link"
      >
        {t.tools.open}
      </Link>
    </p>
  );
}

interface TextDetailProps {
  view: ToolView;
  field?: string;
  text?: string | null;
}

export function TextDetail({ view, field = "output", text: given }: TextDetailProps) {
  const value = given ?? text(view.result, field);
  return (
    <>
      <ToolError view={view} />
      {value && <Output value={value} />}
      {!value && view.phase === "done" && <p className="tool-note">{t.tools.noOutput}</p>}
      <ProcessLink view={view} />
    </>
  );
}

export function RowsDetail({ rows }: { rows: ReadonlyArray<readonly [string | null, string | null]> }) {
  return (
    <ul className="tool-rows" tabIndex={0}>
      {rows.slice(0, ROWS).map(([name, meta], i) => (
        <li key={i}>
          <span>{name}</span>
          <span className="num ink-3">{meta}</span>
        </li>
      ))}
      {rows.length > ROWS && <li className="ink-3">{t.tools.moreRows(rows.length - ROWS)}</li>}
    </ul>
  );
}

export function DiffDetail({ view }: { view: ToolView }) {
  const files = list(view.result, "files");
  return (
    <>
      <ToolError view={view} />
      {files.map((file, i) => (
        <section key={i} className="tool-diff">
          <header>
            <span className="mono">{text(file, "path")}</span>
            <span className="num">
              <span className="added">+{number(file, "added") ?? 0}</span>{" "}
              <span className="removed">−{number(file, "removed") ?? 0}</span>
            </span>
          </header>
          <pre tabIndex={0}>{diffLines(text(file, "diff") ?? "")}</pre>
        </section>
      ))}
      {files.length === 0 && view.phase !== "failed" && <JsonDetail view={view} />}
    </>
  );
}

function diffLines(diff: string): ReactNode {
  return diff
    .trimEnd()
    .slice(0, SHOWN)
    .split("\n")
    .filter((line) => !/^(---|\+\+\+) /.test(line))
    .map((line, i) => {
      const kind = line.startsWith("+") ? "add" : line.startsWith("-") ? "del" : line.startsWith("@@") ? "hunk" : "same";
      return (
        <span key={i} className={`diff-line diff-${kind}`}>
          {line}
          {"\n"}
        </span>
      );
    });
}

export function JsonDetail({ view }: { view: ToolView }) {
  const args = view.phase === "input" ? view.argsText : pretty(view.args);
  return (
    <>
      <ToolError view={view} />
      <p className="tool-part">{t.tools.arguments}</p>
      <Output value={args} />
      {view.result !== null && view.result !== undefined && (
        <>
          <p className="tool-part">{t.tools.result}</p>
          <Output value={pretty(view.result)} />
        </>
      )}
      <ProcessLink view={view} />
    </>
  );
}

export function ToolError({ view }: { view: ToolView }) {
  if (view.phase !== "failed") return null;
  const error = errorOf(view.result);
  return (
    <p className="tool-error">
      {error?.message ?? pretty(view.result)}
      {error?.code && <span className="mono"> {error.code}</span>}
    </p>
  );
}

function Output({ value }: { value: string }) {
  return (
    <div className="tool-box">
      <pre className="tool-output" tabIndex={0}>
        {value.length > SHOWN ? value.slice(0, SHOWN) : value}
      </pre>
      {value.length > SHOWN && <p className="tool-note">{t.tools.cut(bytes(value.length - SHOWN))}</p>}
      <CopyButton text={value} />
    </div>
  );
}

function pretty(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "";
}
