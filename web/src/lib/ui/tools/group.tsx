import { plural } from "../../text/format";
import { t } from "../../text/en";
import { Icon } from "../icon";
import { useExpanded } from "./expanded";
import { lookOf } from "./registry";
import { ToolRow } from "./row";
import type { ToolView } from "./view";

/** Rows that fold into one line from here on. */
const FOLD_OVER = 3;

/** Tool rows in a run: many quiet ones fold into "Read 7 files, searched twice". */
export function ToolGroup({ views }: { views: readonly ToolView[] }) {
  const id = `group:${views[0]?.id ?? ""}`;
  const [open, toggle] = useExpanded(id);
  const folds = views.length > FOLD_OVER && views.every((view) => view.phase === "done" && lookOf(view.name).quiet);
  if (!folds) return views.map((view) => <ToolRow key={view.id} view={view} />);
  return (
    <>
      <div className="tool">
        <span className="tick" data-length={2} aria-hidden="true" />
        <button type="button" className="tool-row" aria-expanded={open} onClick={toggle}>
          <Icon name="list" />
          <span className="tool-verb">{summary(views)}</span>
          <span className="tool-object" />
          <span className="tool-chevron" data-open={open || undefined}>
            <Icon name="chevron" size={12} />
          </span>
        </button>
      </div>
      {open && views.map((view) => <ToolRow key={view.id} view={view} />)}
    </>
  );
}

/** "Read 7 files, searched twice". */
export function summary(views: readonly ToolView[]): string {
  const counts = new Map<string, number>();
  for (const view of views) {
    const kind = view.name === "read_file" ? "read" : view.name === "search" || view.name === "glob" ? "search" : "look";
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const parts: string[] = [];
  const read = counts.get("read");
  const search = counts.get("search");
  const look = counts.get("look");
  if (read) parts.push(t.tools.folded.read(plural(read, "file")));
  if (search) parts.push(t.tools.folded.search(times(search)));
  if (look) parts.push(t.tools.folded.look(times(look)));
  const text = parts.join(", ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function times(n: number): string {
  return n === 1 ? "once" : n === 2 ? "twice" : `${n} times`;
}
