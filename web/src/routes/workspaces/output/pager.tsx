import { useCallback, useEffect, useMemo, useState } from "react";
import { outputPath } from "../../../lib/api/output";
import type { ProcessView } from "../../../lib/api/types";
import { exact } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";
import { Button, CopyButton } from "../../../lib/ui/button";
import { Icon } from "../../../lib/ui/icon";
import { LoadingRows, ProblemNote } from "../../../lib/ui/states";
import { Follower } from "./follower";
import { lastPage, pageAt, pageBefore, reader, startBefore, type Shown } from "./pages";
import { OutputSearch } from "./search";

interface PagerProps {
  process: ProcessView;
  workspaceId: string;
  /** A byte to begin at; none: the end of what runs, the start of what has ended. */
  at: number | undefined;
}

/** All that a process wrote, page by page, as it comes, or by lines that match. */
export function Pager({ process, workspaceId, at }: PagerProps) {
  const path = outputPath(workspaceId, process.id);
  const read = useMemo(() => reader(path), [path]);
  const [follows, setFollows] = useState(process.state === "running" && at === undefined);
  const [searches, setSearches] = useState(false);
  const [shown, setShown] = useState<Shown | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const go = useCallback(
    async (page: () => Promise<Shown>) => {
      setFollows(false);
      setSearches(false);
      setBusy(true);
      try {
        setShown(await page());
        setError(null);
      } catch (fault) {
        setError(fault);
      } finally {
        setBusy(false);
      }
    },
    [],
  );
  const show = useCallback((offset: number) => go(() => pageAt(read, startBefore(offset), offset > 0)), [go, read]);
  useEffect(() => {
    if (at !== undefined) void show(at);
    else if (process.state !== "running") void go(() => pageAt(read, 0, false));
    // The first page only: what the buttons show afterwards stays.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  const inPage = !follows && !searches;
  const hasLater = shown !== null && shown.to < shown.total;
  const later = () => {
    if (!shown) return;
    const next = shown.to === shown.droppedFrom && shown.droppedTo > shown.droppedFrom ? shown.droppedTo : shown.to;
    void go(() => pageAt(read, next, false));
  };
  return (
    <section className="pager" aria-label={t.output.title}>
      <div className="pager-bar" role="toolbar" aria-label={t.output.pages}>
        <Button look="quiet" disabled={busy || (inPage && shown?.from === 0)} onClick={() => void go(() => pageAt(read, 0, false))}>
          {t.output.first}
        </Button>
        <Button
          look="quiet"
          disabled={busy || !inPage || !shown || shown.from === 0}
          onClick={() => shown && void go(() => pageBefore(read, shown.from, shown.droppedFrom, shown.droppedTo))}
        >
          {t.output.earlier}
        </Button>
        <Button look="quiet" disabled={busy || !inPage || !hasLater} onClick={later}>
          {t.output.later}
        </Button>
        <Button look="quiet" disabled={busy || (inPage && shown !== null && !hasLater)} onClick={() => void go(() => lastPage(read))}>
          {t.output.last}
        </Button>
        {process.state === "running" && (
          <Button look={follows ? "primary" : "plain"} aria-pressed={follows} onClick={() => (setSearches(false), setFollows(!follows))}>
            {t.output.follow}
          </Button>
        )}
        <Button look={searches ? "primary" : "plain"} icon="search" aria-pressed={searches} onClick={() => (setFollows(false), setSearches(!searches))}>
          {t.output.search}
        </Button>
      </div>
      {error !== null && <ProblemNote error={error} />}
      {searches && <OutputSearch workspaceId={workspaceId} processId={process.id} onShow={(offset) => void show(offset)} />}
      {follows && <Follower path={path} from={Math.max(0, process.output_total - 64 * 1024)} />}
      {inPage && busy && !shown && <LoadingRows />}
      {inPage && shown && <Page shown={shown} busy={busy} />}
    </section>
  );
}

function Page({ shown, busy }: { shown: Shown; busy: boolean }) {
  const { from, to, total, droppedFrom, droppedTo } = shown;
  const dropped = droppedTo > droppedFrom;
  return (
    <>
      <div className="pager-facts">
        <p role="status" className="num ink-2">
          {total === 0 ? t.output.nothing : t.output.range(exact(from), exact(to), exact(total))}
        </p>
        {shown.text && <CopyButton text={shown.text} />}
      </div>
      {dropped && from === droppedTo && <Gap from={droppedFrom} to={droppedTo} />}
      {shown.text ? (
        <pre className="pager-text" tabIndex={0} aria-busy={busy || undefined} aria-label={t.output.title}>
          {shown.text}
        </pre>
      ) : (
        total > 0 && <p className="ink-2">{t.output.nothingHere}</p>
      )}
      {dropped && to === droppedFrom && <Gap from={droppedFrom} to={droppedTo} />}
    </>
  );
}

/** What is no longer kept, with its exact size. */
export function Gap({ from, to }: { from: number; to: number }) {
  return (
    <p className="pager-gap">
      <Icon name="warn" size={14} />
      {t.output.dropped(exact(to - from), exact(from), exact(to))}
    </p>
  );
}
