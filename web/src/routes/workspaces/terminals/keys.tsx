import { t } from "../../../lib/text/en";

export interface Held {
  ctrl: boolean;
  alt: boolean;
}

const KEYS: ReadonlyArray<readonly [label: string, name: string, send: string]> = [
  ["Esc", "Esc", "\u001b"],
  ["Tab", "Tab", "\t"],
];
const ARROWS: ReadonlyArray<readonly [label: string, name: string, final: string]> = [
  ["←", "Left", "D"],
  ["↓", "Down", "B"],
  ["↑", "Up", "A"],
  ["→", "Right", "C"],
];
const SIGNS = ["|", "~", "/", "-"];

interface KeyBarProps {
  held: Held;
  /** Whether the program wants application cursor keys. */
  application: () => boolean;
  onHold: (held: Held) => void;
  onSend: (data: string) => void;
}

/** Keys that the keyboard of a phone lacks. Ctrl and Alt hold for the next key. */
export function KeyBar({ held, application, onHold, onSend }: KeyBarProps) {
  // The keyboard of the phone stays: the terminal keeps the focus.
  const keep = { onPointerDown: (event: { preventDefault: () => void }) => event.preventDefault() };
  const key = (label: string, name: string, send: () => string) => (
    <button key={name} type="button" className="key" aria-label={name} {...keep} onClick={() => onSend(send())}>
      {label}
    </button>
  );
  return (
    <div className="key-bar" role="toolbar" aria-label={t.terminals.keys}>
      {KEYS.map(([label, name, send]) => key(label, name, () => send))}
      <button type="button" className="key" aria-pressed={held.ctrl} {...keep} onClick={() => onHold({ ...held, ctrl: !held.ctrl })}>
        Ctrl
      </button>
      <button type="button" className="key" aria-pressed={held.alt} {...keep} onClick={() => onHold({ ...held, alt: !held.alt })}>
        Alt
      </button>
      {ARROWS.map(([label, name, final]) => key(label, name, () => `\u001b${application() ? "O" : "["}${final}`))}
      {SIGNS.map((sign) => key(sign, sign, () => sign))}
    </div>
  );
}

/** What a key sends while Ctrl or Alt is held. */
export function withHeld(data: string, held: Held): string {
  if (data.length !== 1) return data;
  const code = data.toUpperCase().charCodeAt(0);
  const ctrl = held.ctrl && ((code >= 64 && code < 96) || data === " ") ? String.fromCharCode(code & 0x1f) : data;
  return held.alt ? `\u001b${ctrl}` : ctrl;
}
