import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import * as Menu from "@radix-ui/react-dropdown-menu";
import { api } from "../../lib/api/calls";
import { processesQuery } from "../../lib/api/queries";
import type { ProcessView, WorkspaceView } from "../../lib/api/types";
import { bytes, clock, duration } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { IconButton } from "../../lib/ui/button";
import { useNow } from "../../lib/ui/hooks";
import { Mark, type MarkState } from "../../lib/ui/mark";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";

const REFRESH_MS = 2_000;
const SIGNALS = ["INT", "TERM", "KILL", "HUP", "STOP", "CONT"] as const;

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
  const client = useQueryClient();
  const signal = useMutation({
    mutationFn: (name: string) => api.signal(workspaceId, process.id, name),
    onSettled: () => client.invalidateQueries({ queryKey: processesQuery(workspaceId).queryKey }),
  });
  const running = process.state === "running";
  const end = process.ended_at ? Date.parse(process.ended_at) : now;
  return (
    <li className="process-row">
      <Mark state={markOfProcess(process)} label={stateText(process)} />
      <span className="mono clip" title={process.command}>
        {process.command}
      </span>
      <span className="ink-2 process-state">{stateText(process)}</span>
      <span className="num ink-2">{bytes(process.output_total)}</span>
      <time className="num ink-2" dateTime={process.started_at} title={clock(process.started_at)}>
        {running || process.ended_at ? duration(Math.max(0, end - Date.parse(process.started_at))) : ""}
      </time>
      {running && live ? (
        <Menu.Root modal={false}>
          <Menu.Trigger asChild>
            <IconButton className="process-signal" icon="signal" label={`${t.workspaces.signal}: ${process.command}`} disabled={signal.isPending} />
          </Menu.Trigger>
          <Menu.Portal>
            <Menu.Content className="menu" align="end" sideOffset={4}>
              {SIGNALS.map((name) => (
                <Menu.Item key={name} className="menu-item mono" onSelect={() => signal.mutate(name)}>
                  SIG{name}
                </Menu.Item>
              ))}
            </Menu.Content>
          </Menu.Portal>
        </Menu.Root>
      ) : (
        <span className="process-signal" />
      )}
      {signal.isError && <ProblemNote error={signal.error} />}
    </li>
  );
}

function stateText(process: ProcessView): string {
  const words = t.workspaces;
  switch (process.state) {
    case "running":
      return words.running;
    case "not_started":
      return process.error?.message ?? words.notStarted;
    case "lost":
      return words.lost;
    default:
      if (!process.exit) return words.exited(0);
      return "signal" in process.exit ? words.killed(process.exit.signal) : words.exited(process.exit.code);
  }
}

function markOfProcess(process: ProcessView): MarkState {
  if (process.state === "running") return "work";
  if (process.state === "lost") return "lost";
  const ok = process.state === "exited" && process.exit && "code" in process.exit && process.exit.code === 0;
  return ok ? "rest" : "fail";
}
