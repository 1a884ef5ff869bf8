/** How each tool is shown: glyph, words, the object it acts on, a short remark, the detail. */
import type { ReactNode } from "react";
import { bytes, firstLine, middle, plural } from "../../text/format";
import { t } from "../../text/en";
import type { IconName } from "../icon";
import { AdviceDetail, AgentsDetail } from "./agents";
import { DiffDetail, ExecuteDetail, JsonDetail, RowsDetail, TextDetail } from "./details";
import { argument, list, number, record, text, type ToolView } from "./view";

export interface ToolLook {
  icon: IconName;
  /** While it runs, and afterwards. */
  label: readonly [running: string, done: string];
  object: (view: ToolView) => string;
  meta: (view: ToolView) => string | null;
  Detail: (props: { view: ToolView }) => ReactNode;
  /** Looks only: a row of these folds into one line. */
  quiet?: boolean;
}

const words = t.tools;

export const TOOLS: Readonly<Record<string, ToolLook>> = {
  ask_user: {
    icon: "help",
    label: words.askUser,
    object: (view) => firstLine(text(list(view.args, "questions")[0], "question") ?? ""),
    meta: () => null,
    Detail: JsonDetail,
  },
  propose_plan: {
    icon: "list",
    label: words.proposePlan,
    object: (view) => argument(view, "title") ?? "",
    meta: (view) => counted(list(view.args, "steps").length, view, "step", "steps"),
    Detail: JsonDetail,
  },
  update_plan: {
    icon: "check",
    label: words.updatePlan,
    object: () => "",
    meta: (view) => {
      const left = number(view.result, "left");
      return left === null ? null : plural(left, "step left", "steps left");
    },
    Detail: JsonDetail,
  },
  spawn_agent: {
    icon: "chat",
    label: words.spawnAgent,
    object: (view) => argument(view, "title") ?? firstLine(argument(view, "prompt") ?? ""),
    meta: (view) => text(view.result, "status"),
    Detail: AgentsDetail,
  },
  wait_agent: {
    icon: "chat",
    label: words.waitAgent,
    object: (view) => counted(list(view.result, "agents").length, view, "agent") ?? "",
    meta: () => null,
    Detail: AgentsDetail,
  },
  message_agent: {
    icon: "send",
    label: words.messageAgent,
    object: (view) => firstLine(argument(view, "message") ?? ""),
    meta: (view) => text(view.result, "delivered"),
    Detail: AgentsDetail,
  },
  interrupt_agent: {
    icon: "stop",
    label: words.interruptAgent,
    object: (view) => argument(view, "agent_id") ?? "",
    meta: (view) => text(view.result, "status"),
    Detail: AgentsDetail,
  },
  list_agents: {
    icon: "list",
    label: words.listAgents,
    object: () => "",
    meta: (view) => counted(list(view.result, "agents").length, view, "agent"),
    Detail: AgentsDetail,
    quiet: true,
  },
  advisor: {
    icon: "help",
    label: words.advisor,
    object: (view) => firstLine(argument(view, "question") ?? ""),
    meta: (view) => text(view.result, "advisor_model"),
    Detail: AdviceDetail,
  },
  execute: {
    icon: "terminal",
    label: words.execute,
    object: (view) => firstLine(argument(view, "command") ?? ""),
    meta: (view) => exit(view.result),
    Detail: ExecuteDetail,
  },
  process_output: {
    icon: "output",
    label: words.processOutput,
    object: (view) => argument(view, "process_id") ?? "",
    meta: (view) => exit(view.result),
    Detail: TextDetail,
    quiet: true,
  },
  process_input: {
    icon: "input",
    label: words.processInput,
    object: (view) => firstLine(argument(view, "input") ?? ""),
    meta: (view) => {
      const written = number(view.result, "written");
      return written === null ? null : bytes(written);
    },
    Detail: ({ view }) => <TextDetail view={view} text={text(view.args, "input")} />,
  },
  process_list: {
    icon: "list",
    label: words.processList,
    object: () => "",
    meta: (view) => counted(list(view.result, "processes").length, view, "process", "processes"),
    Detail: ({ view }) => (
      <RowsDetail rows={list(view.result, "processes").map((row) => [text(row, "command"), exit(row) ?? text(row, "state")])} />
    ),
    quiet: true,
  },
  process_signal: {
    icon: "signal",
    label: words.processSignal,
    object: (view) => `${argument(view, "signal") ?? ""} ${argument(view, "process_id") ?? ""}`.trim(),
    meta: (view) => exit(view.result),
    Detail: JsonDetail,
  },
  read_file: {
    icon: "file",
    label: words.readFile,
    object: path,
    meta: (view) => {
      const content = text(view.result, "content");
      return content === null ? null : plural(content.split("\n").length - 1, "line");
    },
    Detail: ({ view }) => <TextDetail view={view} field="content" />,
    quiet: true,
  },
  write_file: {
    icon: "write",
    label: words.writeFile,
    object: path,
    meta: (view) => {
      const size = number(view.result, "size");
      return size === null ? null : bytes(size);
    },
    Detail: ({ view }) => <TextDetail view={view} text={text(view.args, "content")} />,
  },
  edit_files: {
    icon: "edit",
    label: words.editFiles,
    object: (view) => {
      const files = list(view.args, "files").map((file) => text(file, "path") ?? "");
      return files.length > 1 ? plural(files.length, "file") : middle(files[0] ?? argument(view, "path") ?? "");
    },
    meta: (view) => {
      const files = list(view.result, "files");
      if (files.length === 0) return null;
      const sum = (key: string) => files.reduce<number>((all, file) => all + (number(file, key) ?? 0), 0);
      return `+${sum("added")} −${sum("removed")}`;
    },
    Detail: DiffDetail,
  },
  list_dir: {
    icon: "folder",
    label: words.listDir,
    object: (view) => path(view) || ".",
    meta: (view) => counted(list(view.result, "entries").length, view, "entry", "entries"),
    Detail: ({ view }) => (
      <RowsDetail
        rows={list(view.result, "entries").map((row) => [
          text(row, "name") + (text(row, "kind") === "directory" ? "/" : ""),
          number(row, "size") === null ? null : bytes(number(row, "size") ?? 0),
        ])}
      />
    ),
    quiet: true,
  },
  glob: {
    icon: "glob",
    label: words.glob,
    object: (view) => argument(view, "pattern") ?? "",
    meta: (view) => counted(list(view.result, "paths").length, view, "file"),
    Detail: ({ view }) => <RowsDetail rows={list(view.result, "paths").map((item) => [String(item), null])} />,
    quiet: true,
  },
  search: {
    icon: "search",
    label: words.search,
    object: (view) => argument(view, "pattern") ?? "",
    meta: (view) => {
      const matches = number(view.result, "matches");
      return matches === null ? null : plural(matches, "match", "matches");
    },
    Detail: TextDetail,
    quiet: true,
  },
};

/** A tool that this page does not know. */
export const UNKNOWN: ToolLook = {
  icon: "unknown",
  label: words.unknown,
  object: (view) => view.name.replace(/^mcp__/, "").replaceAll("__", " · "),
  meta: () => null,
  Detail: JsonDetail,
};

export function lookOf(name: string): ToolLook {
  return Object.hasOwn(TOOLS, name) ? (TOOLS[name] as ToolLook) : UNKNOWN;
}

function path(view: ToolView): string {
  return middle(argument(view, "path") ?? "");
}

function counted(n: number, view: ToolView, one: string, many?: string): string | null {
  return view.phase === "done" ? plural(n, one, many) : null;
}

/** `exit 1`, `signal 9`, `in the background`; nothing for success. */
function exit(result: unknown): string | null {
  const code = number(result, "exit_code");
  if (code !== null) return code === 0 ? null : words.exit(code);
  const signal = record(result).signal;
  if (typeof signal === "number") return words.killed(signal);
  switch (text(result, "state")) {
    case "running":
      return words.background;
    case "lost":
      return words.lost;
    case "not_started":
      return words.notStarted;
    default:
      return null;
  }
}
