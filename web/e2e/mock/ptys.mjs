// The terminals of the mock's connected workspace.
import { ago } from "./world.mjs";

export const PTYS = [
  { id: "pty_1", command: "/bin/bash -l", title: "mira@hal-9: ~/src/holdfast", cwd: "/home/mira/src/holdfast", chat_id: null, state: "running", os_pid: 5001, started_at: ago(900), ended_at: null, exit: null, error: null, cols: 80, rows: 24, writer: null, viewers: 1, output_total: 912, dropped_from: 0, dropped_to: 0 },
  { id: "pty_2", command: "htop", title: null, cwd: "/home/mira", chat_id: null, state: "running", os_pid: 5050, started_at: ago(300), ended_at: null, exit: null, error: null, cols: 100, rows: 30, writer: "web-other", viewers: 2, output_total: 91200, dropped_from: 0, dropped_to: 0 },
];
