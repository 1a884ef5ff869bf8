import "../../styles/trace.css";
import { useQuery } from "@tanstack/react-query";
import { usageQuery } from "../../lib/api/queries";
import { count } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { useTitle } from "../../lib/ui/hooks";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";

/** What was used in the last 30 days, by day, model and purpose. */
export function UsagePage() {
  useTitle(t.usage.title);
  const usage = useQuery(usageQuery);
  const items = usage.data?.items ?? [];
  return (
    <section aria-labelledby="usage">
      <header className="page-head">
        <h2 id="usage" className="section-title">
          {t.usage.title}
        </h2>
      </header>
      <p className="page-text">{t.usage.text}</p>
      {usage.isPending && <LoadingRows rows={4} />}
      {usage.isError && <ProblemNote error={usage.error} onRetry={() => void usage.refetch()} />}
      {usage.isSuccess && items.length === 0 && <Empty title={t.usage.empty} />}
      {items.length > 0 && (
        <div className="usage-wrap" tabIndex={0} role="group" aria-labelledby="usage">
          <table className="usage-table">
            <thead>
              <tr>
                {t.usage.columns.map((column, i) => (
                  <th key={column} scope="col" className={i > 2 ? "num" : undefined}>
                    {column}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {items.map((item) => (
                <tr key={`${item.day}${item.model}${item.purpose}`}>
                  <td className="num-left">{item.day.slice(0, 10)}</td>
                  <td className="mono">{item.model}</td>
                  <td>{t.usage.purposes[item.purpose] ?? item.purpose}</td>
                  <td className="num">{item.calls}</td>
                  <td className="num">{count(item.input_tokens)}</td>
                  <td className="num">{count(item.cache_read_tokens)}</td>
                  <td className="num">{count(item.output_tokens)}</td>
                  <td className="num">{item.priced_calls > 0 ? t.trace.cost(item.cost_micros) : "–"}</td>
                  <td className="num">{item.unknown_calls || ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
