import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { sentQuery } from "../../lib/api/queries";
import type { SpanView } from "../../lib/api/types";
import { count } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, CopyButton } from "../../lib/ui/button";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";
import { cacheOf, type Cache } from "./waterfall";

/** Everything that is known of a span; of a model call also what was sent. */
export function SpanDetail({ chatId, span }: { chatId: string; span: SpanView }) {
  const cache = cacheOf(span);
  const facts = Object.entries(span.attributes).filter(([, value]) => typeof value !== "object" || Array.isArray(value));
  return (
    <div className="trace-detail">
      {cache && <CacheStrip cache={cache} />}
      <dl className="trace-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt className="mono">{name}</dt>
            <dd className="mono">{Array.isArray(value) ? value.join(", ") : String(value)}</dd>
          </div>
        ))}
      </dl>
      {span.kind === "attempt" && <SentRequest chatId={chatId} span={span.id} />}
    </div>
  );
}

/** The prompt in the order in which it is cached: what stood in the one before is filled. */
function CacheStrip({ cache }: { cache: Cache }) {
  const part = (bytes: number) => ({ flexGrow: Math.max(bytes, cache.bytes / 200) });
  return (
    <figure className="trace-cache">
      <div className="trace-strip" aria-hidden="true">
        <span className="strip-tools" style={part(cache.tools)} />
        <span className="strip-system" style={part(cache.system)} />
        <span className="strip-history" style={part(cache.history)} />
        <span className="strip-new" style={part(cache.fresh)} />
      </div>
      <figcaption>
        {t.trace.cache(count(cache.bytes), count(cache.bytes - cache.fresh))}{" "}
        {cache.reason !== "none" && (
          <strong>
            {t.trace.reasons[cache.reason] ?? cache.reason}
            {cache.breakAt ? ` ${t.trace.breakAt(count(cache.breakAt))}` : ""}
          </strong>
        )}
      </figcaption>
    </figure>
  );
}

function SentRequest({ chatId, span }: { chatId: string; span: string }) {
  const [asked, setAsked] = useState(false);
  const sent = useQuery({ ...sentQuery(chatId, span), enabled: asked });
  if (!asked) {
    return (
      <Button look="quiet" icon="output" onClick={() => setAsked(true)}>
        {t.trace.showSent}
      </Button>
    );
  }
  if (sent.isPending) return <LoadingRows rows={3} />;
  if (sent.isError) return <ProblemNote error={sent.error} onRetry={() => void sent.refetch()} />;
  const text = JSON.stringify(sent.data.body, null, 2);
  return (
    <section className="trace-sent" aria-label={t.trace.sent}>
      <header>
        <h3>{sent.data.exact ? t.trace.sentExactly : t.trace.sentAbout}</h3>
        <CopyButton text={text} />
      </header>
      <pre className="mono" tabIndex={0}>
        {text}
      </pre>
    </section>
  );
}
