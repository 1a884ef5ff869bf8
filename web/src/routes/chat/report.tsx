import { Link } from "@tanstack/react-router";
import { memo, useId } from "react";
import { clock, firstLine } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { CopyButton } from "../../lib/ui/button";
import { Icon } from "../../lib/ui/icon";
import { Markdown } from "../../lib/ui/markdown/markdown";
import type { Report, ReportItem } from "./items";

interface ReportArticleProps {
  item: ReportItem;
  position: number;
  size: number;
}

/** What agents told when they came to rest: a line each, open for the whole report. */
export const ReportArticle = memo(function ReportArticle({ item, position, size }: ReportArticleProps) {
  const id = useId();
  return (
    <article className="said report" aria-labelledby={id} aria-posinset={position} aria-setsize={size} tabIndex={-1}>
      <h2 id={id} className="sr-only">
        {t.agents.title} <time dateTime={item.message.created_at}>{clock(item.message.created_at)}</time>
      </h2>
      {item.reports.map((report, i) => (
        <ReportRow key={`${item.key}:${i}`} report={report} />
      ))}
    </article>
  );
});

function ReportRow({ report }: { report: Report }) {
  return (
    <details className="report-row">
      <summary>
        <Icon name="anchor" size={14} /> {t.chat.reported(report.title, t.agents.outcomes[report.outcome])}{" "}
        <span className="ink-2 clip">{firstLine(report.text)}</span>
      </summary>
      <Markdown text={report.text} />
      <p className="tool-note">
        <Link to="/chats/$chatId" params={{ chatId: report.agent_id }} className="link">
          {t.agents.open}
        </Link>
        <CopyButton text={report.text} />
      </p>
    </details>
  );
}
