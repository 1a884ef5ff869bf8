/** How a process stands, in words and as a mark. */
import type { ProcessView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import type { MarkState } from "../../lib/ui/mark";

type Standing = Pick<ProcessView, "state" | "exit" | "error">;

export function stateText(process: Standing): string {
  const words = t.workspaces;
  switch (process.state) {
    case "running":
      return words.running;
    case "not_started":
      return process.error?.message ?? words.notStarted;
    case "lost":
      return words.lost;
    default:
      if (!process.exit) return words.exited(0);
      return "signal" in process.exit ? words.killed(process.exit.signal) : words.exited(process.exit.code);
  }
}

export function markOfProcess(process: Standing): MarkState {
  if (process.state === "running") return "work";
  if (process.state === "lost") return "lost";
  const ok = process.state === "exited" && process.exit && "code" in process.exit && process.exit.code === 0;
  return ok ? "rest" : "fail";
}

/** How long it has run, or ran. */
export function tookMs(process: Pick<ProcessView, "started_at" | "ended_at">, now: number): number {
  const end = process.ended_at ? Date.parse(process.ended_at) : now;
  return Math.max(0, end - Date.parse(process.started_at));
}
