import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { processesQuery } from "../../lib/api/queries";
import type { ProcessView, WorkspaceView } from "../../lib/api/types";
import { bytes, clock, duration } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { useNow } from "../../lib/ui/hooks";
import { Mark } from "../../lib/ui/mark";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";
import { ProcessActions } from "./process-actions";
import { markOfProcess, stateText, tookMs } from "./process-state";

const REFRESH_MS = 2_000;

/** What runs in a workspace, renewed while it is looked at. */
export function Processes({ workspace }: { workspace: WorkspaceView }) {
  const live = workspace.status === "connected";
  const processes = useQuery({
    ...processesQuery(workspace.id),
    enabled: live,
    refetchInterval: REFRESH_MS,
    refetchIntervalInBackground: false,
  });
  const now = useNow(1_000);
  const items = processes.data?.items ?? [];
  return (
    <section className="ledger-group" aria-labelledby="processes">
      <h2 id="processes" className="ledger-label">
        {t.workspaces.processes}
      </h2>
      {live && processes.isPending && <LoadingRows rows={3} />}
      {processes.isError && !processes.data && (
        <ProblemNote error={processes.error} onRetry={() => void processes.refetch()} />
      )}
      {!live && items.length > 0 && <p className="ink-2 stale">{t.workspaces.stale}</p>}
      {(processes.isSuccess || !live) && items.length === 0 && (
        <p className="ink-2 stale">{live ? t.workspaces.noProcesses : t.workspaces.status[workspace.status]}</p>
      )}
      <ul className="ledger">
        {items.map((process) => (
          <ProcessRow key={process.id} process={process} workspaceId={workspace.id} now={now} live={live} />
        ))}
      </ul>
    </section>
  );
}

interface ProcessRowProps {
  process: ProcessView;
  workspaceId: string;
  now: number;
  live: boolean;
}

function ProcessRow({ process, workspaceId, now, live }: ProcessRowProps) {
  const running = process.state === "running";
  const usage = process.facts?.usage;
  return (
    <li className="process-row">
      <Mark state={markOfProcess(process)} label={stateText(process)} />
      <Link
        to="/workspaces/$workspaceId/processes/$processId"
        params={{ workspaceId, processId: process.id }}
        className="row-link mono clip"
        title={process.command}
      >
        {process.command}
      </Link>
      <span className="ink-2 process-state">
        {stateText(process)}
        {process.output_held_by > 0 && `, ${t.workspaces.held}`}
      </span>
      <span className="num ink-2 process-usage">{usage ? bytes(usage.max_rss_bytes) : ""}</span>
      <span className="num ink-2 process-size">{bytes(process.output_total)}</span>
      <time className="num ink-2" dateTime={process.started_at} title={clock(process.started_at)}>
        {running || process.ended_at ? duration(tookMs(process, now)) : ""}
      </time>
      {running && live ? <ProcessActions process={process} workspaceId={workspaceId} /> : <span className="process-actions" />}
    </li>
  );
}
