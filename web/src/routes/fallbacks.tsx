import { Link, type ErrorComponentProps } from "@tanstack/react-router";
import { t } from "../lib/text/en";
import { Empty, LoadingRows, ProblemNote } from "../lib/ui/states";

export function NotFound() {
  return (
    <main className="page page-narrow" id="content">
      <h1 className="sr-only">{t.notFound.title}</h1>
      <Empty
        title={t.notFound.title}
        action={
          <Link to="/" className="button button-plain">
            {t.notFound.home}
          </Link>
        }
      >
        {t.notFound.text}
      </Empty>
    </main>
  );
}

export function RouteLoading() {
  return (
    <div className="page">
      <LoadingRows />
    </div>
  );
}

export function RouteError({ error, reset }: ErrorComponentProps) {
  return (
    <div className="page page-narrow">
      <ProblemNote
        error={error}
        onRetry={() => {
          reset();
          location.reload();
        }}
      />
    </div>
  );
}
