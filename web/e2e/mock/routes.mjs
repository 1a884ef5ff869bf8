// The API's routes over the mock's world.
import { ago, chat, id, message, workspace, world } from "./world.mjs";
import { PICTURES } from "./pictures.mjs";
import { PTYS } from "./ptys.mjs";
import { SENT, SPANS, USAGE } from "./traces.mjs";
import { play, tellChat, tellList } from "./streams.mjs";

const ok = (body, status = 200, headers = {}) => ({ status, body, headers });
const page = (items) => ok({ items, next_cursor: null });
const problem = (status, code, title, detail = "", more = {}) => ok({ type: `/docs/errors/${code}`, title, status, detail, code, request_id: id("req"), ...more }, status);
const view = (value) => ({ ...value.head, owner_id: "user_1", queue: value.queue, last_error: value.error, actions: value.actions });
const user = { user: { id: "user_1", username: "mira", role: "admin" }, auth: "session" };

export function handle(method, url, body, request) {
  const path = url.pathname.slice("/api/v1".length);
  const key = `${method} ${path}`;
  if (method !== "GET" && request.headers["x-holdfast-csrf"] !== "1") return problem(403, "csrf_missing", "The request lacks its header");
  if (key === "GET /bootstrap") return ok({ setup_required: !world.setup, version: "0.1.0-mock", demo: false });
  if (key === "POST /setup") return setup(body);
  if (key === "POST /login") {
    if (body.password !== "correct horse battery") return problem(401, "credentials_invalid", "The user name or password is wrong");
    world.signedIn = true;
    return ok(user);
  }
  if (!world.signedIn) return problem(401, "unauthenticated", "Sign in first");
  if (key === "GET /me") return ok(user);
  if (key === "POST /logout") return (world.signedIn = false), ok(undefined, 204);
  if (key === "GET /usage") return ok(USAGE);
  const [, area, item, sub, subId, action] = path.split("/");
  switch (area) {
    case "chats":
      return item ? oneChat(method, item, sub, subId, action, body, url) : method === "POST" ? createChat(body) : page(heads());
    case "attachments":
      return attach(method, url);
    case "workspaces":
      return workspaces(method, item, sub, subId, action, body, url);
    case "providers":
      return collection(method, item, sub, body, world.providers, "prov");
    case "models":
      return collection(method, item, sub, body, world.models, "model");
    case "settings":
      if (method === "PATCH" && body.naming) world.settings = { naming: { model_id: null, ...body.naming } };
      return ok(world.settings);
    case "api-keys":
      return method === "POST" ? apiKey(body) : collection(method, item, sub, body, world.keys, "key");
    default:
      return problem(404, "not_found", "There is nothing here");
  }
}

function setup(body) {
  if (world.setup) return problem(409, "setup_done", "This server is set up already");
  if (body.setup_token !== world.setupToken) return problem(403, "setup_token_invalid", "The set-up link is not valid", "Print a new one with controlplane setup-link.");
  if (body.password.length < 8) return problem(422, "invalid", "The request has faults", "", { errors: [{ pointer: "/password", detail: "Use at least 8 characters." }] });
  world.setup = world.signedIn = true;
  return ok(user, 201);
}

const heads = () => [...world.chats.values()].map((c) => c.head).filter((h) => !h.archived).toSorted((a, b) => b.updated_at.localeCompare(a.updated_at));

function createChat(body) {
  const made = chat({ title: (body.content.find((part) => part.type === "text")?.text ?? "A file").slice(0, 60), workspace_id: body.workspace_id ?? null, model_id: body.model_id ?? null, status: "running", updated_at: ago(0) });
  const first = message(made, "user", body.content, { created_at: ago(0) });
  play(made);
  return ok({ chat: view(made), message: first }, 201);
}

function oneChat(method, chatId, sub, subId, action, body, url) {
  const target = world.chats.get(chatId);
  if (!target) return problem(404, "chat_not_found", "There is no such chat", "It may have been deleted, or belongs to someone else.");
  if (!sub && method === "GET") return ok(view(target));
  if (!sub && method === "PATCH") return Object.assign(target.head, body), touch(target, { type: "chat", chat: target.head }), ok(view(target));
  if (sub === "archive" || sub === "unarchive") return (target.head.archived = sub === "archive"), touch(target, { type: "chat", chat: target.head }), ok(view(target));
  if (sub === "attachments" && method === "GET") return PICTURES[subId] ? { status: 200, raw: PICTURES[subId], type: "image/svg+xml" } : problem(404, "not_found", "There is nothing here");
  if (sub === "attachments") return attach(method, url);
  if (sub === "agents") return page(target.agents ?? []);
  if (sub === "traces") return subId ? ok(SENT) : page(SPANS);
  if (sub === "interrupt") return (target.stop = true), ok({}, 202);
  if (sub === "queue" && method === "DELETE") return (target.queue = target.queue.filter((q) => q.id !== subId)), touch(target, { type: "queue", items: target.queue }), ok(undefined, 204);
  if (sub === "approvals" || sub === "answers") {
    target.actions = target.actions.filter((it) => it.id !== subId);
    touch(target, { type: "action_required", actions: target.actions });
    return ok(view(target));
  }
  if (sub === "queue" && action === "promote") return touch(target), ok({}, 202);
  if (sub === "messages" && method === "GET") {
    const before = Number(url.searchParams.get("before") ?? Infinity);
    return page(target.messages.filter((m) => m.seq < before).slice(-Number(url.searchParams.get("limit") ?? 100)));
  }
  if (sub === "messages") {
    if (target.head.status === "running") {
      target.queue.push({ id: id("q"), content: body.content, model_id: null, created_at: ago(0) });
      touch(target, { type: "queue", items: target.queue });
      return ok({}, 202);
    }
    const sent = message(target, "user", body.content, { created_at: ago(0) });
    target.error = null;
    target.head.status = "running";
    touch(target, { type: "message", message: sent }, { type: "status", status: "running" }, { type: "error", error: null });
    play(target);
    return ok(sent, 201);
  }
  return problem(405, "method_not_allowed", "That cannot be done here");
}

/** Keeps nothing of a file but its name; `broken…` is refused. */
function attach(method, url) {
  if (method === "DELETE") return ok(undefined, 204);
  const name = url.searchParams.get("name");
  if (name.startsWith("broken")) return problem(503, "unavailable", "The database cannot be reached", "the database does not answer; try again");
  return ok({ attachment_id: id("att"), name, media_type: "text/plain", size: 1200, hash: "0", sent: false, created_at: ago(0) }, 201);
}

function touch(target, ...events) {
  target.head.snapshot_version += 1;
  target.head.updated_at = ago(0);
  tellChat(target, events);
  tellList({ type: "chat", chat: target.head });
}

const PROCESSES = [
  { id: "proc_1", command: "cargo test -p parser --all-features", cwd: "/home/mira/src/holdfast", state: "running", os_pid: 4121, started_at: ago(31), output_total: 48211, dropped_from: 0, dropped_to: 0, output_held_by: 0 },
  { id: "proc_2", command: "npm run dev -- --host 127.0.0.1", cwd: "/home/mira/src/holdfast/web", state: "running", os_pid: 3990, started_at: ago(4200), output_total: 1204422, dropped_from: 0, dropped_to: 0, output_held_by: 0 },
  { id: "proc_3", command: "cargo clippy --all-targets", cwd: "/home/mira/src/holdfast", state: "exited", started_at: ago(300), ended_at: ago(262), exit: { code: 101 }, output_total: 9120, dropped_from: 0, dropped_to: 0, facts: { usage: { user_ms: 41200, system_ms: 3800, max_rss_bytes: 612e6 }, oom_killed: { kills: 1, limit_bytes: 2147483648, peak_bytes: 2147483648 }, processes_refused: null, output_holders: [], stopped: null }, output_held_by: 0 },
  { id: "proc_4", command: "git fetch --all", cwd: "/home/mira/src/holdfast", state: "exited", started_at: ago(900), ended_at: ago(898), exit: { code: 0 }, output_total: 210, dropped_from: 0, dropped_to: 0, output_held_by: 2 },
];

const OUTPUT = Array.from({ length: 9_000 }, (_, i) => `test parser::tests::case_${i} ... ${i % 97 === 40 ? "\u001b[31mFAILED\u001b[0m" : "ok"}\n`).join("");

function processes(found, action, url) {
  if (!found) return problem(404, "process_not_found", "There is no such process");
  if (action === "output" && url.pathname.endsWith("/search")) {
    return ok({ process: found, text: "41:1534: test parser::tests::case_40 ... FAILED\n138:5217: test parser::tests::case_137 ... FAILED\n", next_offset: 9, lines_cut: 0 });
  }
  if (action === "output" && url.pathname.endsWith("/follow")) {
    const chunk = { offset: 0, stream: "stdout", data: Buffer.from(OUTPUT.slice(0, 4_000)).toString("base64") };
    return ok(`event: chunk\ndata: ${JSON.stringify(chunk)}\n\nevent: end\ndata: {}\n\n`, 200, { "content-type": "text/event-stream" });
  }
  if (action === "output") {
    const offset = Number(url.searchParams.get("offset") ?? 0);
    const text = OUTPUT.slice(offset, offset + Number(url.searchParams.get("limit") ?? 1e6));
    const [total, dropped] = [OUTPUT.length, [65_536, 131_072]];
    const end = offset < dropped[0] ? Math.min(offset + text.length, dropped[0]) : offset + text.length;
    return ok(text.slice(0, end - offset), 200, { "holdfast-offset": offset, "holdfast-next-offset": end, "holdfast-total": total, "holdfast-dropped-from": dropped[0], "holdfast-dropped-to": dropped[1], "content-type": "application/octet-stream" });
  }
  return ok(found);
}

function found_in_pty(q) {
  const text = `error[E0308]: mismatched types near ${q}`;
  return { matches: [{ offset: 120, line: 7, text, ranges: [[0, 5]], before: ["   Compiling parser v2.0.0"], after: [] }, { offset: 900, line: 31, text, ranges: [[0, 5]], before: [], after: [] }], total: 2, dropped_bytes: 0, searched_to: 912 };
}

function workspaces(method, item, sub, subId, action, body, url) {
  if (!item && method === "GET") return page(world.workspaces);
  if (!item) {
    const made = workspace({ name: body.name });
    world.workspaces.push(made);
    return ok(made, 201);
  }
  const found = world.workspaces.find((w) => w.id === item);
  if (!found) return problem(404, "workspace_not_found", "There is no such workspace");
  if (!sub && method === "PATCH") return ok(Object.assign(found, body));
  if (sub === "join-tokens") {
    if (found.status === "pending" && process.env.AUTOJOIN !== "0") setTimeout(() => join(found), 1500);
    return ok({ id: id("jt"), token: "hfj_AZ0b", expires_at: ago(-900), command: "agentd join http://127.0.0.1:7070 --token hfj_AQGEuVKzN9xq8XUo0cO4b3Yv1mC2nRz7LkQeTt5sWwPdHhJjAa" }, 201);
  }
  if (sub === "processes" && !subId) return page(found.status === "connected" ? PROCESSES : []);
  if (sub === "processes") return processes(PROCESSES.find((it) => it.id === subId), action, url);
  if (sub === "ptys" && !subId) return page(found.status === "connected" && process.env.PTYS !== "0" ? PTYS : []);
  if (sub === "ptys" && action === "search") return ok(found_in_pty(url.searchParams.get("q")));
  if (method === "DELETE") return (world.workspaces = world.workspaces.filter((w) => w !== found)), ok(undefined, 204);
  return ok(found);
}

function join(found) {
  Object.assign(found, { status: "connected", os: "Debian GNU/Linux 13", arch: "x86_64", hostname: "hal-9", root: "/root/src", version: "0.1.0", rtt_ms: 0.4, last_seen_at: ago(0) });
  tellList({ type: "workspace", workspace: found });
}

function collection(method, item, sub, body, all, prefix) {
  if (!item && method === "GET") return page(all);
  if (!item) {
    const { api_key, ...rest } = body;
    const made = { id: id(prefix), created_at: ago(0), ...(api_key ? { key_hint: api_key.slice(-4) } : {}), ...rest };
    if (made.default) all.forEach((m) => (m.default = false));
    all.push(made);
    return ok(made, 201);
  }
  const at = all.findIndex((m) => m.id === item);
  if (at < 0) return problem(404, "not_found", "There is no such thing");
  if (sub === "test") {
    if (all[at].base_url?.includes("refuse")) return ok({ ok: false, latency_ms: 31, models: [], error: { code: "provider_key_invalid", message: "The server refused the key.", retryable: false, status_code: 401, request_id: "req_9" } });
    return ok({ ok: true, latency_ms: 142, models: ["claude-opus-4-8", "claude-sonnet-5", "claude-haiku-5", "claude-opus-4-1", "claude-3-7"], error: null });
  }
  if (method === "DELETE") return all.splice(at, 1), ok(undefined, 204);
  if (method === "PATCH") {
    if (body.default) all.forEach((m) => (m.default = false));
    const { api_key: _key, ...rest } = body;
    Object.assign(all[at], rest);
  }
  return ok(all[at]);
}

function apiKey(body) {
  const made = { id: id("key"), name: body.name, hint: "9ab2", created_at: ago(0), last_used_at: null };
  world.keys.push(made);
  return ok({ ...made, key: "hf_4uJm2Qw8Zr1nXc7Vb5Kt9Ly3Hs6Dg0Pf9ab2" }, 201);
}
