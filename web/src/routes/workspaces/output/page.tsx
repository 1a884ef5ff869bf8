import "../../../styles/terminal.css";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import { processQuery, workspaceQuery } from "../../../lib/api/queries";
import type { ProcessView } from "../../../lib/api/types";
import { bytes, clock, duration } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";
import { CopyButton } from "../../../lib/ui/button";
import { useNow, useTitle } from "../../../lib/ui/hooks";
import { Icon } from "../../../lib/ui/icon";
import { Mark } from "../../../lib/ui/mark";
import { LoadingRows, ProblemNote } from "../../../lib/ui/states";
import { ProcessActions } from "../process-actions";
import { markOfProcess, stateText, tookMs } from "../process-state";
import { Pager } from "./pager";

const REFRESH_MS = 2_000;

/** One process: how it stands, and all that it wrote. */
export function ProcessPage() {
  const { workspaceId, processId } = useParams({ from: "/shell/workspaces/$workspaceId/processes/$processId" });
  const { at } = useSearch({ from: "/shell/workspaces/$workspaceId/processes/$processId" });
  const workspace = useQuery(workspaceQuery(workspaceId));
  const process = useQuery({
    ...processQuery(workspaceId, processId),
    refetchInterval: (query) => (query.state.data?.state === "running" ? REFRESH_MS : false),
    refetchIntervalInBackground: false,
  });
  useTitle(process.data?.command ?? t.output.title);
  return (
    <main className="page page-output" id="content">
      <Link to="/workspaces/$workspaceId" params={{ workspaceId }} className="back">
        <Icon name="back" size={14} />
        {t.output.back(workspace.data?.name ?? "")}
      </Link>
      {process.isPending && <LoadingRows />}
      {process.isError && !process.data && (
        <ProblemNote error={process.error} onRetry={() => void process.refetch()} />
      )}
      {process.data && (
        <>
          <Head process={process.data} workspaceId={workspaceId} />
          <Pager key={processId} process={process.data} workspaceId={workspaceId} at={at} />
        </>
      )}
    </main>
  );
}

function Head({ process, workspaceId }: { process: ProcessView; workspaceId: string }) {
  const running = process.state === "running";
  const now = useNow(1_000, running);
  const words = t.output.facts;
  const facts = process.facts;
  const rows: Array<[string, string | null]> = [
    [words.started, clock(process.started_at)],
    [words.took, duration(tookMs(process, now))],
    [words.pid, process.os_pid ? String(process.os_pid) : null],
    [words.output, bytes(process.output_total)],
    [words.cpu, facts?.usage ? duration(facts.usage.user_ms + facts.usage.system_ms) : null],
    [words.memory, facts?.usage ? bytes(facts.usage.max_rss_bytes) : null],
    [words.held, process.output_held_by > 0 ? t.output.held(process.output_held_by, commands(facts?.output_holders)) : null],
    [words.stopped, facts?.stopped ? (t.output.means[facts.stopped.means] ?? facts.stopped.means) : null],
    [words.sandbox, facts?.sandbox ?? null],
    [words.cwd, process.cwd],
  ];
  return (
    <>
      <header className="page-head">
        <h1 className="mono output-command">{process.command}</h1>
        <CopyButton text={process.command} />
        {running && <ProcessActions process={process} workspaceId={workspaceId} />}
      </header>
      <p className="status-line" role="status">
        <Mark state={markOfProcess(process)} />
        {stateText(process)}
      </p>
      <dl className="facts">
        {rows
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd className="mono">{value}</dd>
            </div>
          ))}
      </dl>
      {remarks(process).map((remark) => (
        <p key={remark} className="note">
          <Icon name="warn" size={14} />
          {remark}
        </p>
      ))}
    </>
  );
}

/** What happened to it that its exit does not say. */
function remarks(process: ProcessView): string[] {
  const { oom_killed: oom, processes_refused: refused, spool_full_bytes: lost, stopped } = process.facts ?? {};
  const found: string[] = [];
  if (oom) {
    const limit = oom.limit_bytes ? t.output.oomLimit(bytes(oom.limit_bytes)) : t.output.oomMachine;
    found.push(t.output.oom(oom.kills, oom.peak_bytes ? t.output.oomPeak(limit, bytes(oom.peak_bytes)) : limit));
  }
  if (refused) found.push(t.output.refused(refused.refused, refused.limit ?? null));
  if (lost) found.push(t.output.spoolFull(bytes(lost)));
  if (stopped && stopped.left > 0) found.push(t.output.left(stopped.left, commands(stopped.survivors)));
  return found;
}

/** Some processes of the operating system, in words. */
function commands(found: Array<{ os_pid: number; command: string }> = []): string {
  return found.map((one) => `${one.command} (${one.os_pid})`).join(", ");
}
