import { memo, useState } from "react";
import { duration } from "../../text/format";
import { t } from "../../text/en";
import { useNow } from "../hooks";
import { Icon } from "../icon";
import { useExpanded } from "./expanded";
import { LiveOutput } from "./details";
import { lookOf } from "./registry";
import { endedBadly, type ToolView } from "./view";

/** One line of the ledger: glyph, verb, object, remark, duration; open it for the rest. */
export const ToolRow = memo(function ToolRow({ view }: { view: ToolView }) {
  const [open, toggle] = useExpanded(view.id);
  const look = lookOf(view.name);
  const running = view.phase === "running" || view.phase === "input";
  const verb = view.phase === "asked" ? t.tools.wants : look.label[running ? 0 : 1];
  const object = look.object(view);
  const meta = metaOf(view) ?? look.meta(view);
  return (
    <div className={`tool tool-${view.phase} ${endedBadly(view.result) ? "tool-bad" : ""}`}>
      <Tick view={view} />
      <button type="button" className="tool-row" aria-expanded={open} data-tool={view.id} onClick={toggle}>
        <Icon name={look.icon} />
        <span className="tool-verb">{verb}</span>
        <span className="tool-object mono clip">{object}</span>
        {meta && <span className="tool-meta">{meta}</span>}
        <Elapsed view={view} />
        <span className="tool-chevron" data-open={open || undefined}>
          <Icon name="chevron" size={12} />
        </span>
      </button>
      {open ? (
        <div className="tool-detail">
          <look.Detail view={view} />
        </div>
      ) : (
        view.phase === "running" && view.output && <LiveOutput output={view.output} />
      )}
    </div>
  );
});

/** The states that are the same for every tool, in words. */
function metaOf(view: ToolView): string | null {
  if (view.phase === "failed") return t.tools.failed;
  if (view.phase === "unanswered") return t.tools.unanswered;
  if (view.phase === "asked") return t.tools.asked;
  return null;
}

/** A tick on the spine; its length grows with the logarithm of the time it took. */
function Tick({ view }: { view: ToolView }) {
  const steps = view.durationMs === null ? 1 : Math.min(5, Math.max(1, Math.floor(Math.log10(view.durationMs + 1))));
  return <span className="tick" data-length={steps} aria-hidden="true" />;
}

function Elapsed({ view }: { view: ToolView }) {
  const running = view.phase === "running";
  const [start] = useState(() => Date.now());
  const now = useNow(1_000, running);
  const ms = view.durationMs ?? (running ? now - start : null);
  return <span className="tool-time num">{ms !== null && (ms >= 1_000 || !running) ? duration(ms) : ""}</span>;
}
