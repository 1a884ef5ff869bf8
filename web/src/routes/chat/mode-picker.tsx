import type { Mode, WorkspaceView } from "../../lib/api/types";
import { t } from "../../lib/text/en";

const MODES: readonly Mode[] = ["ask", "plan", "edit", "auto"];

/** A mode's text as a mode; an unknown one is drawn as the strictest. */
export function modeOf(text: string | undefined): Mode {
  return MODES.find((mode) => mode === text) ?? "ask";
}

/** What holds commands to reading, in words; null where the mode does not say so, or nobody knows. */
export function sandboxOf(mode: Mode, workspace: WorkspaceView | null | undefined): string | null {
  if (mode !== "plan" || workspace?.status !== "connected") return null;
  return workspace.sandbox ? t.chat.planSandbox(workspace.sandbox) : t.chat.planNoSandbox;
}

/** What the agent may do from now on. */
export function ModePicker({
  value,
  workspace,
  onPick,
}: {
  value: Mode;
  workspace?: WorkspaceView | null;
  onPick: (mode: Mode) => void;
}) {
  const sandbox = sandboxOf(value, workspace);
  const isMissing = sandbox !== null && !workspace?.sandbox;
  return (
    <>
      <select
        className="workspace-select mode-select"
        aria-label={t.chat.mode}
        title={[t.chat.modeHints[value], sandbox].filter(Boolean).join(". ")}
        value={value}
        onChange={(e) => onPick(modeOf(e.target.value))}
      >
        {MODES.map((mode) => (
          <option key={mode} value={mode} title={t.chat.modeHints[mode]}>
            {t.chat.modes[mode]}
          </option>
        ))}
      </select>
      {isMissing && (
        <span className="mode-note" role="status">
          {sandbox}
        </span>
      )}
    </>
  );
}
