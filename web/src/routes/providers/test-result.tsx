import type { ProviderTest } from "../../lib/api/types";
import { duration, plural } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Icon } from "../../lib/ui/icon";

/** What a provider answered: its latency and models, or why not. */
export function TestResult({ result }: { result: ProviderTest }) {
  if (!result.ok) {
    const facts = [result.error?.code, result.error?.status_code, result.error?.request_id].filter(Boolean);
    return (
      <div className="problem" role="alert">
        <Icon name="warn" />
        <div className="problem-body">
          <p className="problem-title">{t.providers.testFailed}</p>
          <p>{result.error?.message}</p>
          <p className="problem-facts mono">{facts.join(" · ")}</p>
        </div>
      </div>
    );
  }
  const names = result.models.slice(0, 4).join(", ");
  return (
    <p className="note" role="status">
      <Icon name="check" />
      <span>
        {t.providers.testOk(duration(result.latency_ms), plural(result.models.length, "model"))}
        {names && (
          <span className="ink-2">
            {": "}
            <span className="mono">{names}</span>
            {result.models.length > 4 && "…"}
          </span>
        )}
      </span>
    </p>
  );
}
