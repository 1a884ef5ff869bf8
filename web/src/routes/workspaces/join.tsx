import { useMutation } from "@tanstack/react-query";
import { useEffect } from "react";
import { api } from "../../lib/api/calls";
import type { WorkspaceView } from "../../lib/api/types";
import { age } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, CopyButton } from "../../lib/ui/button";
import { useNow } from "../../lib/ui/hooks";
import { Mark, markOfWorkspace } from "../../lib/ui/mark";
import { ProblemNote } from "../../lib/ui/states";

/** The one command that connects a workspace; flips to "connected" when the daemon has called. */
export function JoinCommand({ workspace }: { workspace: WorkspaceView }) {
  const token = useMutation({ mutationFn: () => api.joinToken(workspace.id) });
  const now = useNow(5_000);
  const { mutate } = token;
  const pending = workspace.status === "pending";
  useEffect(() => {
    if (pending) mutate();
  }, [mutate, pending]);

  if (workspace.status === "connected") return <Connected workspace={workspace} />;
  const expired = token.data && Date.parse(token.data.expires_at) < now;
  return (
    <div className="join">
      {token.isError && <ProblemNote error={token.error} onRetry={() => mutate()} />}
      {token.data && (
        <>
          <p>{t.workspaces.joinText}</p>
          <div className="command">
            <pre tabIndex={0}>
              <code>{token.data.command}</code>
            </pre>
            <CopyButton text={token.data.command} />
          </div>
          <p className="field-hint">
            {expired ? t.workspaces.joinExpired : t.workspaces.joinExpires(age(flip(token.data.expires_at, now), now))}{" "}
            <button type="button" className="link" onClick={() => mutate()}>
              {t.workspaces.joinAgain}
            </button>
          </p>
        </>
      )}
      {pending ? (
        <p className="join-wait" role="status">
          <Mark state="work" />
          {t.setup.waiting(workspace.name)}
        </p>
      ) : (
        !token.data && <Button onClick={() => mutate()}>{t.workspaces.joinMake}</Button>
      )}
    </div>
  );
}

function Connected({ workspace }: { workspace: WorkspaceView }) {
  const facts = [workspace.os, workspace.arch, workspace.root].filter(Boolean);
  return (
    <p className="join-done" role="status">
      <Mark state={markOfWorkspace(workspace.status)} />
      <strong>{t.setup.connected(workspace.name)}</strong>
      <span className="mono ink-2">{facts.join(" · ")}</span>
    </p>
  );
}

/** A moment as far in the past as the given one is in the future. */
function flip(iso: string, now: number): string {
  return new Date(2 * now - Date.parse(iso)).toISOString();
}
