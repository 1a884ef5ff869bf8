import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from "react";

export interface PickItem {
  id: string;
  label: string;
  note?: string | null;
  selected?: boolean;
}

interface PickListProps {
  label: string;
  placeholder: string;
  none: string;
  items: readonly PickItem[];
  onPick: (id: string) => void;
}

/** Rows shown at once; typing narrows the rest. */
const SHOWN = 50;

/** A filter over a list: focus stays in the text, the arrows move the choice. */
export function PickList({ label, placeholder, none, items, onPick }: PickListProps) {
  const list = useId();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const active = useRef<HTMLLIElement>(null);
  const found = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return items
      .filter((item) => words.every((word) => `${item.label} ${item.note ?? ""}`.toLowerCase().includes(word)))
      .slice(0, SHOWN);
  }, [items, text]);
  useEffect(() => setAt(0), [text]);
  useEffect(() => {
    // In braces: some browsers answer with a promise, which is no clean-up.
    active.current?.scrollIntoView({ block: "nearest" });
  }, [at]);

  const onKey = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    const item = found[at];
    if (event.key === "ArrowDown") setAt((at + 1) % Math.max(1, found.length));
    else if (event.key === "ArrowUp") setAt((at - 1 + found.length) % Math.max(1, found.length));
    else if (event.key === "Enter" && item) onPick(item.id);
    else return;
    event.preventDefault();
  };
  return (
    <div className="pick">
      <input
        className="pick-input"
        role="combobox"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={found[at] ? `${list}-${at}` : undefined}
        aria-label={label}
        placeholder={placeholder}
        autoFocus
        autoComplete="off"
        spellCheck={false}
        value={text}
        onChange={(e) => setText(e.target.value)}
        onKeyDown={onKey}
      />
      <ul className="pick-list" id={list} role="listbox" aria-label={label}>
        {found.map((item, i) => (
          <li
            key={item.id}
            id={`${list}-${i}`}
            ref={i === at ? active : undefined}
            role="option"
            aria-selected={item.selected ?? i === at}
            className="pick-item"
            data-active={i === at || undefined}
            onMouseMove={() => setAt(i)}
            onClick={() => onPick(item.id)}
          >
            <span className="clip">{item.label}</span>
            <span className="pick-note ink-3">{item.note}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="pick-none ink-2">{none}</p>}
    </div>
  );
}
