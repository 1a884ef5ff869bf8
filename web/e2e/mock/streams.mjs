// The mock's two streams, and a turn that is played out when a chat begins.
import { PTYS } from "./ptys.mjs";
import { ago, call, message, result, text, world } from "./world.mjs";

const SHELL = [
  "\u001b[32mmira@hal-9\u001b[0m:\u001b[34m~/src/holdfast\u001b[0m$ cargo check\r\n",
  "\u001b[1;32m    Checking\u001b[0m parser v2.0.0 (/home/mira/src/holdfast/parser)\r\n",
  "\u001b[1;33mwarning\u001b[0m: unused variable: `offset`\r\n",
  "  \u001b[1;34m-->\u001b[0m parser/src/lexer.rs:41:9\r\n",
  "\u001b[1;31merror[E0308]\u001b[0m: mismatched types\r\n",
  "\u001b[90m# see \u001b]8;;https://doc.rust-lang.org/error_codes/E0308.html\u001b\\E0308\u001b]8;;\u001b\\\u001b[0m\r\n",
  "\u001b[32mmira@hal-9\u001b[0m:\u001b[34m~/src/holdfast\u001b[0m$ ",
].join("");

/** A terminal that echoes what is typed; `pty_2` is written by somebody else. */
function attachPty(socket, known, query) {
  const tell = (told) => socket.send(JSON.stringify(told));
  const screen = Buffer.from(SHELL);
  let writes = known.writer === null;
  const size = writes ? { cols: Number(query.get("cols")), rows: Number(query.get("rows")) } : {};
  const pty = { ...known, ...size };
  tell({ type: "attached", pty, is_writer: writes, taken_seq: 0, offset: 912, live_from: 912, screen: { offset: 912, cols: pty.cols, rows: pty.rows, len: screen.length } });
  socket.send(screen);
  socket.on("message", (data) => {
    const said = JSON.parse(String(data));
    if (said.type === "ping") tell({ type: "pong" });
    if (said.type === "take") tell({ type: "writer", viewer: "you", is_you: (writes = true) });
    if (said.type === "resize" && writes) tell({ type: "resized", offset: 912, cols: said.cols, rows: said.rows });
    if (said.type === "input") {
      tell({ type: "taken", seq: said.seq });
      socket.send(Buffer.from(said.text.replaceAll("\r", "\r\n")));
    }
  });
}

export function attach(socket, url) {
  const pty = /\/ptys\/([^/]+)\/attach$/.exec(url.pathname)?.[1];
  if (pty) return attachPty(socket, PTYS.find((it) => it.id === pty), url.searchParams);
  if (url.pathname === "/api/v1/events") {
    world.listSockets.add(socket);
    socket.send(JSON.stringify([{ type: "ready" }]));
    socket.on("close", () => world.listSockets.delete(socket));
    return;
  }
  const target = world.chats.get(url.pathname.split("/")[4]);
  if (!target) return socket.close();
  const sockets = world.chatSockets.get(target) ?? new Set();
  world.chatSockets.set(target, sockets.add(socket));
  socket.on("close", () => sockets.delete(socket));
  const since = Number.parseInt(url.searchParams.get("cursor") ?? "0", 10) || 0;
  const events = [
    ...target.messages.slice(-(Number(process.env.TAIL) || Number(url.searchParams.get("tail")) || 100_000)).filter((m) => m.revision > since).map((m) => ({ type: "message", message: m })),
    { type: "chat", chat: target.head },
    { type: "queue", items: target.queue },
    { type: "status", status: target.head.status },
    { type: "error", error: target.error },
    { type: "action_required", actions: target.actions },
    ...(target.fallback ? [{ type: "fallback", ...target.fallback }] : []),
    ...(target.retry ? [{ type: "retry", ...target.retry, delay_ms: 14000, retry_at: ago(-14) }] : []),
    { type: "preview_reset" },
    ...target.preview,
    { type: "ready" },
  ];
  for (let i = 0; i < events.length; i += 256) send(socket, target, events.slice(i, i + 256));
}

function send(socket, target, events) {
  const cursor = `${target.head.snapshot_version}.3.1.0`;
  socket.send(JSON.stringify(events.map((event) => ({ cursor, ...event }))));
}

export function tellChat(target, events) {
  for (const socket of world.chatSockets.get(target) ?? []) send(socket, target, events);
}

export function tellList(event) {
  for (const socket of world.listSockets) socket.send(JSON.stringify([event]));
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const INTRO = "I'll look at the repository first, then answer.";
const OUTRO = "The workspace is a Cargo workspace of three crates. `controlplane` holds the chats, `agentd` runs the commands, and `shared` is what they agree on.\n\n- start at `controlplane/src/main.rs`\n- then read `ARCHITECTURE.md`\n";

/** Streams an answer with one command, like a model would. */
export async function play(target) {
  let seq = 0;
  const say = (history, index, kind, fields) =>
    tellChat(target, [{ type: "part", history_version: history, attempt: 1, seq: ++seq, index, kind, ...fields }]);
  const words = async (history, textValue) => {
    for (const word of textValue.match(/\S+\s*|\n/g)) {
      say(history, 0, "text", { delta: word });
      await pause(Number(process.env.WORD_MS) || 18);
      if (target.stop) return;
    }
  };
  const commit = (...args) => tellChat(target, [{ type: "message", message: message(target, ...args) }, { type: "preview_reset" }]);
  await pause(150);
  await words(10, INTRO);
  commit("assistant", [text(INTRO), call("p1", "execute", { command: "ls -la && git log --oneline | head -3" })], { model: "scripted", created_at: ago(0) });
  const output = ["total 48\n", "-rw-r--r-- 1 root root 4378 Cargo.toml\n", "drwxr-xr-x 3 root root 4096 agentd\n", "drwxr-xr-x 3 root root 4096 controlplane\n", "1036c61 shared: add named fault points\n"];
  for (const line of output) {
    say(11, 0, "tool_result", { tool_call_id: "p1", name: "execute", delta: line });
    await pause(200);
    if (target.stop) break;
  }
  commit("tool", [result("p1", "execute", { state: "exited", exit_code: 0, output: output.join("") }, 1012)], { created_at: ago(0) });
  if (!target.stop) {
    await words(12, OUTRO.repeat(Number(process.env.REPEAT) || 1));
    commit("assistant", [text(OUTRO)], { model: "scripted", created_at: ago(0), usage: { input: 812, cache_read: 0, cache_write: 0, output: 96, reasoning: 0, source: "provider" } });
  }
  target.stop = false;
  target.head.status = "waiting";
  target.head.snapshot_version += 1;
  target.head.updated_at = ago(0);
  tellChat(target, [{ type: "status", status: "waiting" }]);
  tellList({ type: "chat", chat: target.head });
}
