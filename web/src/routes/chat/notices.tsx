import { Link } from "@tanstack/react-router";
import type { ChatErrorView, WorkspaceView } from "../../lib/api/types";
import type { ChatState, Retry } from "../../lib/live/chat-state";
import { clock, duration } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, CopyButton } from "../../lib/ui/button";
import { useNow } from "../../lib/ui/hooks";
import { Icon } from "../../lib/ui/icon";

interface ChatNoticesProps {
  chat: ChatState;
  workspace: WorkspaceView | null;
  onRetry: () => void;
}

/** What stands between the transcript and the composer: retries, errors, a workspace that is away. */
export function ChatNotices({ chat, workspace, onRetry }: ChatNoticesProps) {
  return (
    <>
      {workspace?.status === "unreachable" && <Unreachable workspace={workspace} waiting={chat.status === "running"} />}
      {workspace?.status === "pending" && (
        <p className="banner" role="status">
          <span className="mark mark-pending" />
          <span>
            {t.chat.notConnected(workspace.name)}{" "}
            <Link to="/workspaces/$workspaceId" params={{ workspaceId: workspace.id }} className="link">
              {t.chat.connect}
            </Link>
          </span>
        </p>
      )}
      {chat.fallback && chat.status !== "waiting" && (
        <p className="banner" role="status">
          <Icon name="anchor" />
          {t.chat.fallback(chat.fallback.selected, chat.fallback.answered, chat.fallback.reason)}
        </p>
      )}
      {chat.status === "running" && chat.head?.queue_position != null && (
        <p className="banner" role="status">
          <span className="mark mark-pending" />
          <span>
            {t.chat.queuedAt(chat.head.queue_position)} <span className="ink-2">{t.chat.queuedWhy}</span>
          </span>
        </p>
      )}
      {chat.retry && <RetryBanner retry={chat.retry} />}
      {chat.status === "error" && chat.error && isPause(chat.error) && (
        <PausedCard error={chat.error} onContinue={onRetry} />
      )}
      {chat.status === "error" && chat.error && !isPause(chat.error) && (
        <ErrorBanner error={chat.error} onRetry={onRetry} />
      )}
    </>
  );
}

function Unreachable({ workspace, waiting }: { workspace: WorkspaceView; waiting: boolean }) {
  const now = useNow(1_000);
  const since = workspace.unreachable_since ?? workspace.last_seen_at;
  const ms = since ? Math.max(0, now - Date.parse(since)) : 0;
  return (
    <p className="banner banner-lost" role="status">
      <span className="mark mark-lost" />
      <span>
        {since ? t.chat.unreachable(workspace.name, clock(since), duration(Math.floor(ms / 1_000) * 1_000)) : t.marks.lost}{" "}
        <span className="ink-2">{waiting ? t.chat.unreachableTurn : t.chat.unreachableRest}</span>
      </span>
    </p>
  );
}

function RetryBanner({ retry }: { retry: Retry }) {
  const now = useNow(250);
  const left = Math.max(0, Math.ceil((Date.parse(retry.retryAt) - now) / 1_000));
  return (
    <div className="banner banner-work" role="status">
      <Icon name="retry" />
      <div>
        <p>{left > 0 ? t.chat.retryIn(retry.attempt, left) : t.chat.retryNow(retry.attempt)}</p>
        <p className="ink-2">{retry.error.message}</p>
        <Facts error={retry.error} />
      </div>
    </div>
  );
}

function ErrorBanner({ error, onRetry }: { error: ChatErrorView; onRetry: () => void }) {
  const facts = [error.code, error.provider, error.status_code, error.request_id].filter(Boolean).join(" · ");
  return (
    <div className="problem" role="alert">
      <Icon name="warn" />
      <div className="problem-body">
        <p className="problem-title">{error.message}</p>
        <Facts error={error} />
        <div className="problem-actions">
          <Button icon="retry" onClick={onRetry}>
            {t.chat.tryAgain}
          </Button>
          <CopyButton label={t.common.copyDiagnostics} text={`${error.message}\n${facts}`} />
        </div>
      </div>
    </div>
  );
}

/** Limits, not faults: the turn waits for somebody to let it go on. */
function isPause(error: ChatErrorView): boolean {
  return error.code in t.chat.pauses;
}

function PausedCard({ error, onContinue }: { error: ChatErrorView; onContinue: () => void }) {
  const why = t.chat.pauses[error.code as keyof typeof t.chat.pauses];
  return (
    <div className="banner banner-need paused-card" role="status">
      <Icon name="anchor" />
      <div className="problem-body">
        <p className="problem-title">{t.chat.paused(why)}</p>
        <p className="ink-2">{error.message}</p>
      </div>
      <Button look="primary" onClick={onContinue}>
        {t.chat.goOn}
      </Button>
    </div>
  );
}

function Facts({ error }: { error: ChatErrorView }) {
  const facts = [error.code, error.provider, error.status_code, error.request_id].filter(Boolean);
  return <p className="problem-facts mono">{facts.join(" · ")}</p>;
}
