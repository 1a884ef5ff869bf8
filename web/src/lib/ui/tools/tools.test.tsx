import { describe, expect, it } from "vitest";
import { ICON_NAMES } from "../icon";
import { setExpanded } from "./expanded";
import { FIXTURES } from "./fixtures";
import { drawn } from "../testing";
import { summary, ToolGroup } from "./group";
import { lookOf, TOOLS, UNKNOWN } from "./registry";
import { ToolRow } from "./row";
import { argument, lastLines, type ToolPhase, type ToolView } from "./view";

/** The catalogue of the server, as far as it is built. */
const CATALOGUE = [
  "execute", "process_output", "process_input", "process_list", "process_signal", "read_file",
  "write_file", "edit_files", "list_dir", "glob", "search", "ask_user", "propose_plan",
  "update_plan", "spawn_agent", "wait_agent", "message_agent", "interrupt_agent", "list_agents", "advisor",
];
const PHASES: ToolPhase[] = ["input", "running", "done", "failed", "unanswered", "asked"];

const draw = (view: ToolView) => drawn(<ToolRow view={view} />);
const fixture = (name: string) => FIXTURES[name] as ToolView;

describe("every tool", () => {
  it.each(CATALOGUE)("%s has a glyph, words and a fixture", (name) => {
    const look = TOOLS[name];
    expect(look && ICON_NAMES.includes(look.icon)).toBe(true);
    expect(look?.label.every((word) => word.length > 0)).toBe(true);
    expect(FIXTURES[name]?.name).toBe(name);
  });

  it.each(CATALOGUE)("%s can be drawn in every phase, open and closed", (name) => {
    for (const open of [false, true]) {
      setExpanded([fixture(name).id], open);
      for (const phase of PHASES) {
        expect(draw({ ...fixture(name), phase })).toContain(`aria-expanded="${open}"`);
        expect(draw({ ...fixture(name), phase, args: null, result: null, durationMs: null })).toContain("tool-row");
      }
    }
    setExpanded([fixture(name).id], false);
  });

  it("has no renderer without a tool", () => {
    expect(Object.keys(TOOLS).toSorted()).toEqual(CATALOGUE.toSorted());
  });
});

describe("a tool row", () => {
  it("shows a tool that it does not know, by its name", () => {
    const view = { ...fixture("execute"), name: "mcp__tracker__comment" };
    expect(lookOf("mcp__tracker__comment")).toBe(UNKNOWN);
    expect(draw(view)).toContain("tracker · comment");
    expect(lookOf("constructor")).toBe(UNKNOWN);
  });

  it("names the exit of a command that failed", () => {
    const view = { ...fixture("execute"), result: { state: "exited", exit_code: 101 } };
    expect(draw(view)).toContain("exit 101");
    expect(draw(view)).toContain("tool-bad");
    expect(draw(fixture("execute"))).not.toContain("exit");
  });

  it("shows the last lines of what runs", () => {
    const output = Array.from({ length: 40 }, (_, i) => `line ${i}`).join("\n");
    const shown = draw({ ...fixture("execute"), phase: "running", result: null, output });
    expect(shown).toContain("line 39");
    expect(shown).not.toContain("line 20\n");
    expect(lastLines("a\nb\nc\n", 2)).toBe("b\nc");
  });

  it("reads the object out of arguments that are still being written", () => {
    const view: ToolView = { ...fixture("execute"), phase: "input", args: null, argsText: '{"command":"cargo te' };
    expect(argument(view, "command")).toBe("cargo te");
    expect(argument({ ...view, argsText: '{"command":"a\\"b\\' }, "command")).toBe('a"b');
  });
});

describe("many quiet rows", () => {
  const reads = (n: number) => Array.from({ length: n }, (_, i) => ({ ...fixture("read_file"), id: `r${i}` }));

  it("fold into one line from the fourth on", () => {
    const views = [...reads(7), { ...fixture("search"), id: "s1" }, { ...fixture("glob"), id: "s2" }];
    expect(summary(views)).toBe("Read 7 files, searched twice");
    expect(drawn(<ToolGroup views={views} />)).not.toContain("src/main.rs");
    expect(drawn(<ToolGroup views={reads(3)} />)).toContain("src/main.rs");
  });

  it("never fold what changed something, failed or still runs", () => {
    const views = [...reads(5), fixture("execute")];
    expect(drawn(<ToolGroup views={views} />)).toContain("cargo test");
    const running = reads(5).map((view, i) => (i === 4 ? { ...view, phase: "running" as const } : view));
    expect(drawn(<ToolGroup views={running} />)).toContain("src/main.rs");
  });
});
