import "../../../styles/terminal.css";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { api } from "../../../lib/api/calls";
import { ptysQuery, workspaceQuery } from "../../../lib/api/queries";
import type { PtyView } from "../../../lib/api/types";
import { t } from "../../../lib/text/en";
import { Button } from "../../../lib/ui/button";
import { ConfirmDialog } from "../../../lib/ui/confirm";
import { useTitle } from "../../../lib/ui/hooks";
import { Icon } from "../../../lib/ui/icon";
import { Empty, LoadingRows, ProblemNote } from "../../../lib/ui/states";
import { WorkspaceNav } from "../nav";
import { nameOf, TerminalTabs } from "./tabs";

const REFRESH_MS = 3_000;
const TerminalPanel = lazy(() => import("./panel"));

/** The terminals of a workspace, one tab each. */
export function TerminalsPage() {
  const { workspaceId } = useParams({ from: "/shell/workspaces/$workspaceId/terminals" });
  const { pty: asked } = useSearch({ from: "/shell/workspaces/$workspaceId/terminals" });
  const client = useQueryClient();
  const navigate = useNavigate();
  const workspace = useQuery(workspaceQuery(workspaceId));
  const ptys = useQuery({ ...ptysQuery(workspaceId), refetchInterval: REFRESH_MS, refetchIntervalInBackground: false });
  const [closing, setClosing] = useState<PtyView | null>(null);
  useTitle(`${t.terminals.title}${workspace.data ? ` · ${workspace.data.name}` : ""}`);

  const all = ptys.data?.items ?? [];
  // Those that run, oldest first, and the one that is looked at, also when it has ended.
  const tabs = all.filter((pty) => pty.state === "running" || pty.id === asked).toReversed();
  const chosen = tabs.find((pty) => pty.id === asked) ?? (asked ? null : (tabs[0] ?? null));
  const choose = (pty: string | null) =>
    navigate({ to: "/workspaces/$workspaceId/terminals", params: { workspaceId }, search: pty ? { pty } : {}, replace: true });
  const renew = () => client.invalidateQueries({ queryKey: ptysQuery(workspaceId).queryKey });

  const open = useMutation({
    mutationFn: () => api.openPty(workspaceId, {}),
    onSuccess: async (pty) => {
      await renew();
      await choose(pty.id);
    },
  });
  const close = useMutation({
    mutationFn: (pty: PtyView) => api.closePty(workspaceId, pty.id),
    onSuccess: async (_, pty) => {
      setClosing(null);
      if (pty.id === asked) await choose(null);
      await renew();
    },
  });

  return (
    <main className="terminals" id="content">
      <header className="terminals-head">
        <Link to="/workspaces" className="back">
          <Icon name="back" size={14} />
          {t.workspaces.title}
        </Link>
        <h1>{workspace.data?.name ?? ""}</h1>
        <WorkspaceNav id={workspaceId} />
      </header>
      {ptys.isPending && <LoadingRows rows={3} />}
      {ptys.isError && !ptys.data && <ProblemNote error={ptys.error} onRetry={() => void ptys.refetch()} />}
      {open.isError && <ProblemNote error={open.error} />}
      {ptys.data && tabs.length === 0 && !asked && (
        <Empty
          title={t.terminals.empty}
          action={
            <Button look="primary" icon="plus" busy={open.isPending} onClick={() => open.mutate()}>
              {t.terminals.openHere}
            </Button>
          }
        >
          {t.terminals.emptyText}
        </Empty>
      )}
      {(tabs.length > 0 || asked) && ptys.data && (
        <>
          <TerminalTabs
            tabs={tabs}
            chosen={chosen?.id ?? null}
            busy={open.isPending}
            onChoose={(pty) => void choose(pty)}
            onClose={(pty) => (pty.state === "running" ? setClosing(pty) : void choose(null))}
            onOpen={() => open.mutate()}
          />
          {chosen ? (
            <Suspense fallback={<LoadingRows rows={3} />}>
              <TerminalPanel key={chosen.id} workspaceId={workspaceId} pty={chosen} onAgain={() => open.mutate()} />
            </Suspense>
          ) : (
            <Empty title={t.terminals.gone} />
          )}
        </>
      )}
      {closing && (
        <ConfirmDialog
          title={t.terminals.closeTitle(nameOf(closing))}
          text={t.terminals.closeText}
          action={t.terminals.closeAction}
          busy={close.isPending}
          error={close.error}
          onConfirm={() => close.mutate(closing)}
          onClose={() => setClosing(null)}
        />
      )}
    </main>
  );
}
