/** One tool call as the transcript shows it: the call, what is known of its answer, live output. */
export type ToolPhase = "input" | "running" | "done" | "failed" | "unanswered" | "asked";

export interface ToolView {
  id: string;
  name: string;
  args: unknown;
  /** The arguments' JSON as far as it has come, while the model still writes it. */
  argsText: string;
  phase: ToolPhase;
  result: unknown;
  durationMs: number | null;
  /** The end of the live output. */
  output: string;
}

export function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown, key: string): string | null {
  const found = record(value)[key];
  return typeof found === "string" ? found : null;
}

export function number(value: unknown, key: string): number | null {
  const found = record(value)[key];
  return typeof found === "number" ? found : null;
}

export function list(value: unknown, key: string): unknown[] {
  const found = record(value)[key];
  return Array.isArray(found) ? found : [];
}

/** The error of an answer, for people. */
export function errorOf(result: unknown): { code: string | null; message: string } | null {
  const error = record(result).error;
  if (typeof error === "string") return { code: null, message: error };
  const message = text(error, "message");
  return message ? { code: text(error, "code"), message } : null;
}

/** A command that answered, but not with success. */
export function endedBadly(result: unknown): boolean {
  const code = number(result, "exit_code");
  return (code !== null && code !== 0) || number(result, "signal") !== null;
}

/** The arguments, or what can be told of them while they arrive. */
export function argument(view: ToolView, key: string): string | null {
  const whole = text(view.args, key);
  if (whole !== null || view.phase !== "input") return whole;
  // `"key":"value…` of the growing JSON: enough to name the object early.
  const match = new RegExp(`"${key}"\\s*:\\s*"((?:[^"\\\\]|\\\\.)*)`).exec(view.argsText);
  if (!match?.[1]) return null;
  try {
    return JSON.parse(`"${match[1].replace(/\\$/, "")}"`) as string;
  } catch {
    return null;
  }
}

/** The last lines of a text. */
export function lastLines(value: string, lines: number): string {
  const trimmed = value.replace(/\n+$/, "");
  let at = trimmed.length;
  for (let i = 0; i < lines; i += 1) {
    at = trimmed.lastIndexOf("\n", at - 1);
    if (at <= 0) return trimmed;
  }
  return trimmed.slice(at + 1);
}
