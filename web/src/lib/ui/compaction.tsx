import { count } from "../text/format";
import { t } from "../text/en";
import { Icon } from "./icon";
import { Markdown } from "./markdown/markdown";
import { useExpanded } from "./tools/expanded";

export interface CompactionMark {
  method: "prune" | "summary" | "files";
  reason: "threshold" | "asked" | "exceeded" | "refused";
  tokens_before: number;
  tokens_after: number;
}

interface CompactionRowProps {
  id: string;
  /** None: the summary is being written. */
  mark: CompactionMark | null;
  text: string;
}

/** A line across the spine: from here on the model knows what is above only in short. */
export function CompactionRow({ id, mark, text }: CompactionRowProps) {
  const [open, toggle] = useExpanded(id);
  if (!mark) {
    return (
      <p className="compaction" aria-busy>
        <Icon name="archive" size={14} />
        <span>{t.chat.compacting}</span>
        {text && <span className="num">{count(Math.ceil(text.length / 4))}</span>}
      </p>
    );
  }
  const say = { summary: t.chat.compacted, prune: t.chat.pruned, files: t.chat.filesLeftOut }[mark.method];
  const line = (
    <>
      <Icon name="archive" size={14} />
      <span className="num">{say(count(mark.tokens_before), count(mark.tokens_after))}</span>
      <span className="compaction-why">{t.chat.compactWhy[mark.reason]}</span>
    </>
  );
  if (!text) return <p className="compaction">{line}</p>;
  return (
    <>
      <button type="button" className="compaction" aria-expanded={open} onClick={toggle}>
        {line}
      </button>
      {open && (
        <div className="compaction-text">
          <p className="compaction-why">{t.chat.compactRead}</p>
          <Markdown text={text} />
        </div>
      )}
    </>
  );
}
