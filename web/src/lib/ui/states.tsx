/** The designed states of every screen: loading, empty, error. */
import { useEffect, useState, type ReactNode } from "react";
import { asProblem } from "../api/problem";
import { t } from "../text/en";
import { Button, CopyButton } from "./button";
import { Icon } from "./icon";

/** Shows its children only once loading has taken long enough to be noticed. */
export function After({ ms = 150, children }: { ms?: number; children: ReactNode }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), ms);
    return () => clearTimeout(timer);
  }, [ms]);
  return shown ? children : null;
}

/** A skeleton of ledger rows. */
export function LoadingRows({ rows = 6 }: { rows?: number }) {
  return (
    <After>
      <div className="skeleton" role="status" aria-label={t.common.loading}>
        {Array.from({ length: rows }, (_, i) => (
          <span key={i} className="skeleton-row" data-width={i % 3} />
        ))}
      </div>
    </After>
  );
}

interface EmptyProps {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}

export function Empty({ title, children, action }: EmptyProps) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children && <div className="empty-text">{children}</div>}
      {action && <div className="empty-action">{action}</div>}
    </div>
  );
}

/** What happened, its code and request id, and what can be done. */
export function ProblemNote({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const problem = asProblem(error);
  const facts = [problem.code, problem.requestId].filter(Boolean).join(" · ");
  return (
    <div className="problem" role="alert">
      <Icon name={problem.status === 403 ? "lock" : "warn"} />
      <div className="problem-body">
        <p className="problem-title">{problem.title}</p>
        {problem.detail && problem.detail !== problem.title && <p>{problem.detail}</p>}
        {problem.hint && <p>{problem.hint}</p>}
        <p className="problem-facts mono">{facts}</p>
        <div className="problem-actions">
          {onRetry && (
            <Button icon="retry" onClick={onRetry}>
              {t.common.retry}
            </Button>
          )}
          <CopyButton label={t.common.copyDiagnostics} text={diagnostics(error)} />
        </div>
      </div>
    </div>
  );
}

function diagnostics(error: unknown): string {
  const problem = asProblem(error);
  return [
    `${problem.code} (${problem.status})`,
    problem.title,
    problem.detail,
    problem.requestId && `request ${problem.requestId}`,
    `page ${location.pathname}`,
    `at ${new Date().toISOString()}`,
  ]
    .filter(Boolean)
    .join("\n");
}
