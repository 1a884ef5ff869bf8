import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { bootstrapQuery, meQuery, modelsQuery, workspacesQuery } from "../../lib/api/queries";
import { asProblem } from "../../lib/api/problem";
import { startListStream } from "../../lib/live/list-stream";
import { t } from "../../lib/text/en";
import { Brand } from "../../lib/ui/brand";
import { useTitle } from "../../lib/ui/hooks";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";
import { AdminStep } from "./admin";
import { ChatStep } from "./first-chat";
import { ModelStep } from "./model";
import { WorkspaceStep } from "./workspace";

/** The one-time link: four steps, each can be left and taken up again. */
export function SetupPage() {
  useTitle(t.setup.title);
  const client = useQueryClient();
  const navigate = useNavigate();
  const token = useSearch({ from: "/setup" }).token ?? tokenOfHash();
  const bootstrap = useQuery(bootstrapQuery);
  const signedOut = bootstrap.data?.setup_required ?? true;
  const me = useQuery({ ...meQuery, enabled: !signedOut, retry: false });
  const ready = !signedOut && me.isSuccess;
  const models = useQuery({ ...modelsQuery, enabled: ready });
  const workspaces = useQuery({ ...workspacesQuery, enabled: ready });
  const [chosen, setChosen] = useState<number | null>(null);
  useEffect(() => (ready ? startListStream() : undefined), [ready]);

  // Where a half-finished set-up goes on.
  const hasModel = (models.data?.items.length ?? 0) > 0;
  const hasWorkspace = workspaces.data?.items.some((item) => item.status === "connected") ?? false;
  const settled = models.isSuccess && workspaces.isSuccess;
  useEffect(() => {
    if (settled && chosen === null) setChosen(hasModel ? (hasWorkspace ? 3 : 2) : 1);
  }, [settled, hasModel, hasWorkspace, chosen]);

  const failed = bootstrap.error ?? models.error ?? workspaces.error;
  const unknown = me.error && asProblem(me.error).status === 401;
  const step = signedOut ? 0 : chosen;
  const done = async () => {
    await client.invalidateQueries({ queryKey: bootstrapQuery.queryKey });
    await client.invalidateQueries({ queryKey: meQuery.queryKey });
    await navigate({ to: "/setup", search: {}, replace: true });
  };
  return (
    <main className="gate gate-wide" id="content">
      <Brand />
      {unknown ? (
        <p className="gate-form">
          {t.setup.done}{" "}
          <Link to="/login" search={{ to: "/setup" }} className="link">
            {t.login.title}
          </Link>
        </p>
      ) : (
        <div className="setup">
          <ol className="setup-steps">
            {t.setup.steps.map((name, i) => (
              <li key={name} aria-current={i === step ? "step" : undefined} data-done={step !== null && i < step}>
                {name}
              </li>
            ))}
          </ol>
          <section className="setup-body">
            {failed && <ProblemNote error={failed} onRetry={() => void client.invalidateQueries()} />}
            {!failed && (bootstrap.isPending || step === null) && <LoadingRows rows={4} />}
            {bootstrap.isSuccess && step === 0 && <AdminStep token={token} onDone={done} />}
            {step === 1 && <ModelStep onDone={() => setChosen(2)} />}
            {step === 2 && <WorkspaceStep onDone={() => setChosen(3)} />}
            {step === 3 && <ChatStep />}
          </section>
        </div>
      )}
    </main>
  );
}

/** Some servers put the code behind `#`, so that no log ever holds it. */
function tokenOfHash(): string | undefined {
  return new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;
}
