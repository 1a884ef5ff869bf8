import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { workspacesQuery } from "../../lib/api/queries";
import type { WorkspaceView } from "../../lib/api/types";
import { age, clock, duration, middle } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Dialog } from "../../lib/ui/dialog";
import { Field } from "../../lib/ui/field";
import { useNow, useTitle } from "../../lib/ui/hooks";
import { Mark, markOfWorkspace } from "../../lib/ui/mark";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";

export function WorkspacesPage() {
  useTitle(t.workspaces.title);
  const workspaces = useQuery(workspacesQuery);
  const [adding, setAdding] = useState(false);
  const items = workspaces.data?.items ?? [];
  const add = (
    <Button look={items.length === 0 ? "primary" : "plain"} icon="plus" onClick={() => setAdding(true)}>
      {t.workspaces.add}
    </Button>
  );
  return (
    <main className="page" id="content">
      <header className="page-head">
        <h1>{t.workspaces.title}</h1>
        {items.length > 0 && add}
      </header>
      {workspaces.isPending && <LoadingRows />}
      {workspaces.isError && <ProblemNote error={workspaces.error} onRetry={() => void workspaces.refetch()} />}
      {workspaces.isSuccess && items.length === 0 && (
        <Empty title={t.workspaces.empty} action={add}>
          {t.workspaces.emptyText}
        </Empty>
      )}
      {items.length > 0 && (
        <div className="ledger fleet" role="table" aria-label={t.workspaces.title}>
          <div role="rowgroup">
            <div className="fleet-head" role="row">
              {t.workspaces.columns.map((column, i) => (
                <span key={column} role="columnheader" className={i >= 2 ? "num" : ""}>
                  {column}
                </span>
              ))}
            </div>
          </div>
          <div role="rowgroup">
            {items.map((workspace) => (
              <WorkspaceRow key={workspace.id} workspace={workspace} />
            ))}
          </div>
        </div>
      )}
      {adding && <AddWorkspace onClose={() => setAdding(false)} />}
    </main>
  );
}

function WorkspaceRow({ workspace }: { workspace: WorkspaceView }) {
  const now = useNow(30_000);
  const status = workspace.unreachable_since
    ? t.workspaces.unreachableSince(clock(workspace.unreachable_since))
    : t.workspaces.status[workspace.status];
  return (
    <div className="fleet-row" role="row">
      <span role="cell" className="fleet-name">
        <Mark state={markOfWorkspace(workspace.status)} label={status} />
        <span className="fleet-title">
          <Link to="/workspaces/$workspaceId" params={{ workspaceId: workspace.id }} className="fleet-link clip">
            {workspace.name}
          </Link>
          <span className="ink-2 fleet-status">{status}</span>
        </span>
      </span>
      <span role="cell" className="mono ink-2 clip" title={workspace.root ?? undefined}>
        {workspace.root ? middle(workspace.root) : ""}
      </span>
      <span role="cell" className="num">
        {workspace.status === "connected" && workspace.rtt_ms != null ? duration(workspace.rtt_ms) : ""}
      </span>
      <span role="cell" className="num ink-2">
        {workspace.status !== "connected" && workspace.last_seen_at ? age(workspace.last_seen_at, now) : ""}
      </span>
    </div>
  );
}

function AddWorkspace({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => api.createWorkspace({ name: name.trim() }),
    onSuccess: async (workspace) => {
      await client.invalidateQueries({ queryKey: workspacesQuery.queryKey });
      await navigate({ to: "/workspaces/$workspaceId", params: { workspaceId: workspace.id } });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  const problem = create.error ? asProblem(create.error) : null;
  return (
    <Dialog title={t.workspaces.add} onClose={onClose}>
      <form className="form" onSubmit={submit}>
        <Field
          label={t.workspaces.name}
          hint={t.workspaces.nameHint}
          autoFocus
          required
          value={name}
          onChange={(e) => setName(e.target.value)}
          error={problem?.field("name")}
        />
        {problem && <ProblemNote error={problem} />}
        <div className="form-actions">
          <Button type="submit" look="primary" busy={create.isPending}>
            {t.setup.workspaceCreate}
          </Button>
          <Button look="quiet" onClick={onClose}>
            {t.common.cancel}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
