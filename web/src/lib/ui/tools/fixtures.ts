/** One finished call per tool, for the test that every tool can be drawn. */
import type { ToolView } from "./view";

function done(name: string, args: unknown, result: unknown): ToolView {
  return { id: `call_${name}`, name, args, argsText: "", phase: "done", result, durationMs: 42, output: "" };
}

export const FIXTURES: Readonly<Record<string, ToolView>> = {
  execute: done("execute", { command: "cargo test" }, { state: "exited", exit_code: 0, output: "ok\n", duration_ms: 40 }),
  process_output: done("process_output", { process_id: "proc_1" }, { state: "running", output: "line\n", next_offset: 5 }),
  process_input: done("process_input", { process_id: "proc_1", input: "yes\n" }, { process_id: "proc_1", written: 4, next_offset: 5 }),
  process_list: done("process_list", {}, { processes: [{ process_id: "proc_1", command: "sleep 9", state: "running" }], total: 1 }),
  process_signal: done("process_signal", { process_id: "proc_1", signal: "TERM" }, { process_id: "proc_1", signalled: true }),
  read_file: done("read_file", { path: "src/main.rs" }, { path: "src/main.rs", content: "     1\tfn main() {}\n", size: 13 }),
  write_file: done("write_file", { path: "a.txt", content: "hi" }, { path: "a.txt", created: true, size: 2, hash: "b3:1" }),
  edit_files: done(
    "edit_files",
    { files: [{ path: "a.txt", edits: [{ old_text: "a", new_text: "b" }] }] },
    { files: [{ path: "a.txt", added: 1, removed: 1, diff: "@@ -1 +1 @@\n-a\n+b\n" }] },
  ),
  spawn_agent: done(
    "spawn_agent",
    { type: "explore", prompt: "Find the parser.", title: "find the parser" },
    { agent_id: "chat_1", title: "find the parser", status: "done", report: "It is in `src/parse.rs`.", tokens: 900 },
  ),
  wait_agent: done("wait_agent", {}, { agents: [{ agent_id: "chat_1", title: "find", status: "done", report: "There." }] }),
  message_agent: done("message_agent", { agent_id: "chat_1", message: "Look again." }, { agent_id: "chat_1", delivered: "now" }),
  interrupt_agent: done("interrupt_agent", { agent_id: "chat_1" }, { agent_id: "chat_1", status: "interrupting" }),
  list_agents: done("list_agents", {}, { agents: [{ agent_id: "chat_1", title: "find", status: "working" }] }),
  advisor: done(
    "advisor",
    { question: "Left or right?" },
    { type: "advice", advice: "**Left**, because it is shorter.", advisor_model: "m-1", remaining_uses: 9 },
  ),
  ask_user: done(
    "ask_user",
    { questions: [{ question: "Which?", options: [{ label: "a" }, { label: "b" }] }] },
    { answers: [{ question: "Which?", selected: ["a"], text: null }] },
  ),
  propose_plan: done("propose_plan", { title: "Two things", steps: ["one", "two"] }, { approved: true }),
  update_plan: done("update_plan", { steps: [{ step: 1, status: "done" }] }, { steps: 2, left: 1 }),
  list_dir: done("list_dir", { path: "src" }, { path: "src", entries: [{ name: "main.rs", kind: "file", size: 13 }] }),
  glob: done("glob", { pattern: "**/*.rs" }, { paths: ["src/main.rs"] }),
  search: done("search", { pattern: "main" }, { matches: 1, files: 1, output: "src/main.rs\n1:fn main() {}\n" }),
};
