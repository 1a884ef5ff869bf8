import { readFileSync } from "node:fs";
import { Terminal } from "@xterm/xterm";
import { describe, expect, it } from "vitest";

/**
 * The daemon's emulator must show what this terminal shows, also after its window has changed. Both are
 * checked against one file: here against xterm.js, in `agentd` against the emulator.
 */
interface Case {
  name: string;
  cols: number;
  rows: number;
  /** Output, or the next size as columns and rows. */
  steps: Array<string | [number, number]>;
  lines: string[];
  cursor: [number, number];
}

/** From `web`, where the tests are run. */
const FILE = "../agentd/src/pty/emulator/resizes.json";
const cases = JSON.parse(readFileSync(FILE, "utf8")) as Case[];

async function shown({ cols, rows, steps }: Case): Promise<Pick<Case, "lines" | "cursor">> {
  const terminal = new Terminal({ cols, rows, scrollback: 10_000, allowProposedApi: true });
  for (const step of steps) {
    if (typeof step === "string") await new Promise<void>((done) => terminal.write(step, done));
    else terminal.resize(...step);
  }
  const { active } = terminal.buffer;
  const lines = Array.from({ length: terminal.rows }, (_, row) => (active.getLine(active.baseY + row)?.translateToString(true) ?? "").trimEnd());
  return { lines, cursor: [active.cursorY, active.cursorX] };
}

describe("a window that changes", () => {
  it.each(cases)("$name", async (one) => {
    const { lines, cursor } = one;
    expect(await shown(one)).toEqual({ lines, cursor });
  });
});
