import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { workspacesQuery } from "../../lib/api/queries";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Field } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";
import { JoinCommand } from "../workspaces/join";

export function WorkspaceStep({ onDone }: { onDone: () => void }) {
  const client = useQueryClient();
  const workspaces = useQuery(workspacesQuery);
  const [name, setName] = useState("devbox");
  const create = useMutation({
    mutationFn: () => api.createWorkspace({ name: name.trim() }),
    onSuccess: () => client.invalidateQueries({ queryKey: workspacesQuery.queryKey }),
  });
  const all = workspaces.data?.items ?? [];
  const workspace =
    all.find((item) => item.status === "connected") ?? all.find((item) => item.id === create.data?.id) ?? all[0];
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  const problem = create.error ? asProblem(create.error) : null;
  return (
    <>
      <h1>{t.setup.workspaceTitle}</h1>
      <p className="ink-2">{t.setup.workspaceText}</p>
      {workspace ? (
        <JoinCommand key={workspace.id} workspace={workspace} />
      ) : (
        <form className="form" onSubmit={submit}>
          <Field
            label={t.setup.workspaceName}
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
          </div>
        </form>
      )}
      {workspace?.status === "connected" ? (
        <div className="form-actions">
          <Button look="primary" onClick={onDone}>
            {t.common.next}
          </Button>
        </div>
      ) : (
        <Button look="quiet" className="setup-skip" onClick={onDone}>
          {t.common.skip}
        </Button>
      )}
    </>
  );
}
