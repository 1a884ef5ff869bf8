import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import { workspaceQuery, workspacesQuery } from "../../lib/api/queries";
import type { WorkspaceView } from "../../lib/api/types";
import { age, clock, duration } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { ConfirmDialog } from "../../lib/ui/confirm";
import { Icon } from "../../lib/ui/icon";
import { useNow, useTitle } from "../../lib/ui/hooks";
import { Mark, markOfWorkspace } from "../../lib/ui/mark";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";
import { EditCheck } from "./edit-check";
import { JoinCommand } from "./join";
import { WorkspaceNav } from "./nav";
import { Processes } from "./processes";

export function WorkspacePage() {
  const { workspaceId } = useParams({ from: "/shell/workspaces/$workspaceId" });
  const workspace = useQuery(workspaceQuery(workspaceId));
  useTitle(workspace.data?.name ?? t.workspaces.title);
  return (
    <main className="page" id="content">
      <Link to="/workspaces" className="back">
        <Icon name="back" size={14} />
        {t.workspaces.title}
      </Link>
      {workspace.isPending && <LoadingRows />}
      {workspace.isError && <ProblemNote error={workspace.error} onRetry={() => void workspace.refetch()} />}
      {workspace.data && <Detail workspace={workspace.data} />}
    </main>
  );
}

function Detail({ workspace }: { workspace: WorkspaceView }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [removing, setRemoving] = useState(false);
  const [joining, setJoining] = useState(false);
  const remove = useMutation({
    mutationFn: () => api.deleteWorkspace(workspace.id),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: workspacesQuery.queryKey });
      await navigate({ to: "/workspaces" });
    },
  });
  return (
    <>
      <header className="page-head">
        <h1>{workspace.name}</h1>
        {workspace.status !== "pending" && (
          <Link to="/new" search={{ workspace: workspace.id }} className="button button-plain">
            <Icon name="chat" />
            {t.workspaces.newChat}
          </Link>
        )}
        <Button look="quiet" onClick={() => setRemoving(true)}>
          {t.common.remove}
        </Button>
      </header>
      {workspace.status !== "pending" && <WorkspaceNav id={workspace.id} />}
      <StatusLine workspace={workspace} />
      {workspace.status === "pending" || joining ? (
        <JoinCommand workspace={workspace} />
      ) : (
        <Facts workspace={workspace} />
      )}
      {workspace.status === "unreachable" && !joining && (
        <Button look="quiet" onClick={() => setJoining(true)}>
          {t.workspaces.rejoin}
        </Button>
      )}
      {workspace.status !== "pending" && <Processes workspace={workspace} />}
      {workspace.status !== "pending" && <EditCheck workspace={workspace} />}
      {removing && (
        <ConfirmDialog
          title={t.workspaces.remove(workspace.name)}
          text={t.workspaces.removeText}
          action={t.common.remove}
          busy={remove.isPending}
          error={remove.error}
          onConfirm={() => remove.mutate()}
          onClose={() => setRemoving(false)}
        />
      )}
    </>
  );
}

function StatusLine({ workspace }: { workspace: WorkspaceView }) {
  const since = workspace.unreachable_since;
  return (
    <p className="status-line" role="status">
      <Mark state={markOfWorkspace(workspace.status)} />
      {since ? t.workspaces.unreachableSince(clock(since)) : t.workspaces.status[workspace.status]}
    </p>
  );
}

function Facts({ workspace }: { workspace: WorkspaceView }) {
  const now = useNow(5_000);
  const words = t.workspaces.facts;
  const system = [workspace.os, workspace.arch].filter(Boolean).join(", ");
  const rows: Array<[string, string | null | undefined]> = [
    [words.host, workspace.hostname],
    [words.os, system],
    [words.version, workspace.version],
    [words.sandbox, workspace.sandbox ?? null],
    [words.root, workspace.root],
    [words.rtt, workspace.rtt_ms != null && workspace.status === "connected" ? duration(workspace.rtt_ms) : null],
    [words.seen, workspace.status !== "connected" && workspace.last_seen_at ? age(workspace.last_seen_at, now) : null],
  ];
  return (
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
  );
}
