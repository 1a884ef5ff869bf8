import type { Mode } from "../../lib/api/types";
import { t } from "../../lib/text/en";

const MODES: readonly Mode[] = ["ask", "plan", "edit", "auto"];

/** A mode's text as a mode; an unknown one is drawn as the strictest. */
export function modeOf(text: string | undefined): Mode {
  return MODES.find((mode) => mode === text) ?? "ask";
}

/** What the agent may do from now on. */
export function ModePicker({ value, onPick }: { value: Mode; onPick: (mode: Mode) => void }) {
  return (
    <select
      className="workspace-select mode-select"
      aria-label={t.chat.mode}
      title={t.chat.modeHints[value]}
      value={value}
      onChange={(e) => onPick(modeOf(e.target.value))}
    >
      {MODES.map((mode) => (
        <option key={mode} value={mode} title={t.chat.modeHints[mode]}>
          {t.chat.modes[mode]}
        </option>
      ))}
    </select>
  );
}
