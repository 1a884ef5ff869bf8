import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { workspaceQuery } from "../../lib/api/queries";
import type { WorkspaceView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Field } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";

const SECONDS = 120;

/** What is run after the agent edited files. */
export function EditCheck({ workspace }: { workspace: WorkspaceView }) {
  const client = useQueryClient();
  const set = workspace.edit_check;
  const [command, setCommand] = useState(set?.command ?? "");
  const [seconds, setSeconds] = useState(String(set?.timeout_s ?? SECONDS));
  const save = useMutation({
    mutationFn: () =>
      api.patchWorkspace(workspace.id, {
        edit_check: command.trim() ? { command: command.trim(), timeout_s: Number(seconds) } : null,
      }),
    onSuccess: (now) => client.setQueryData(workspaceQuery(workspace.id).queryKey, now),
  });
  const problem = save.error ? asProblem(save.error) : null;
  const changed = command.trim() !== (set?.command ?? "") || (set != null && Number(seconds) !== set.timeout_s);
  return (
    <section className="setting-block" aria-labelledby="edit-check">
      <h2 id="edit-check" className="section-title">
        {t.editCheck.title}
      </h2>
      <p className="page-text">{t.editCheck.text}</p>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <div className="form-pair">
          <Field
            label={t.editCheck.command}
            mono
            placeholder="cargo check"
            value={command}
            onChange={(e) => setCommand(e.target.value)}
            error={problem?.field("edit_check/command")}
          />
          <Field
            label={t.editCheck.seconds}
            type="number"
            min={1}
            max={600}
            step={1}
            required
            value={seconds}
            onChange={(e) => setSeconds(e.target.value)}
            error={problem?.field("edit_check/timeout_s")}
          />
        </div>
        {problem && <ProblemNote error={problem} />}
        <div className="form-actions">
          <Button type="submit" busy={save.isPending} disabled={!changed}>
            {t.common.save}
          </Button>
        </div>
      </form>
    </section>
  );
}
