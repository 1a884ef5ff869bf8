// What the mock server knows.
let counter = 0;
export const id = (prefix) => `${prefix}_01J${(++counter).toString(36).toUpperCase().padStart(23, "0")}`;
export const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

export const world = {
  setupToken: "hfs_mock", setup: true, signedIn: false,
  chats: new Map(), workspaces: [], providers: [], models: [], keys: [], settings: { naming: { by: "auto", model_id: null } },
  chatSockets: new Map(), listSockets: new Set(),
};

export function workspace(fields) {
  return {
    id: id("ws"), name: "devbox", labels: {}, status: "pending", unreachable_since: null, version: null, os: null,
    arch: null, hostname: null, root: null, rtt_ms: null, last_seen_at: null, created_at: ago(90_000), edit_check: null, ...fields,
  };
}

const joined = { version: "0.1.0", os: "Debian GNU/Linux 13", arch: "x86_64", hostname: "hal-9.local", root: "/home/mira/src/holdfast", rtt_ms: 3.2 };

export function chat(fields) {
  const chatId = id("chat");
  const value = {
    head: {
      id: chatId, title: "", label: null, mode: "auto", model_id: world.models[0]?.id ?? null, workspace_id: world.workspaces[0]?.id ?? null,
      status: "waiting", archived: false, snapshot_version: 1, created_at: ago(3600), updated_at: ago(60), ...fields,
    },
    messages: [], queue: [], error: null, retry: null, preview: [], actions: [],
  };
  world.chats.set(chatId, value);
  return value;
}

export function message(target, role, content, fields = {}) {
  const head = target.head;
  head.snapshot_version += 1;
  const value = { id: id("msg"), chat_id: head.id, seq: target.messages.length + 1, revision: head.snapshot_version, role, content, created_at: ago(40), ...fields };
  target.messages.push(value);
  return value;
}

export const file = (attachment_id, name, media_type, size, width, height) => ({ type: "file", attachment_id, name, media_type, size, hash: "0", width, height });
export const text = (value) => ({ type: "text", text: value });
export const call = (tool_call_id, name, args) => ({ type: "tool_call", tool_call_id, name, args });
export const result = (tool_call_id, name, value, duration_ms = 40, is_error = false) => ({ type: "tool_result", tool_call_id, name, result: value, is_error, duration_ms });
const usage = { input: 2100, cache_read: 9800, cache_write: 400, output: 320, reasoning: 40, source: "provider" };

export function seed(fresh) {
  world.setup = !fresh;
  world.signedIn = !fresh && process.env.SIGNED_IN !== "0";
  if (fresh) return;
  world.workspaces.push(
    workspace({ name: "hal-9", status: "connected", ...joined, last_seen_at: ago(1), edit_check: { command: "cargo check --all-targets", timeout_s: 120 } }),
    workspace({ name: "build-arm64", status: "unreachable", ...joined, root: "/srv/work/monorepo", unreachable_since: ago(94), last_seen_at: ago(94) }),
    workspace({ name: "laptop" }),
  );
  const provider = { id: id("prov"), kind: "anthropic", name: "Anthropic", base_url: null, key_hint: "x7Qa", created_at: ago(9e5) };
  const local = { id: id("prov"), kind: "openai_compatible", name: "llama.cpp", base_url: "http://127.0.0.1:8080/v1", key_hint: null, created_at: ago(8e5) };
  world.providers.push(provider, local);
  const model = (fields) => ({ id: id("model"), max_output_tokens: null, price: null, options: {}, enabled: true, hidden: false, default: false, fallback_model_id: null, ...fields });
  world.models.push(
    model({ provider_id: provider.id, model: "claude-opus-4-8", display_name: "Opus 4.8", context_limit: 200000, default: true }),
    model({ provider_id: provider.id, model: "claude-sonnet-5", display_name: "Sonnet 5", context_limit: 1000000 }),
    model({ provider_id: local.id, model: "qwen3-coder-30b", display_name: "qwen3-coder-30b", context_limit: 131072, hidden: true }),
  );
  world.keys.push({ id: id("key"), name: "nightly", hint: "3kQ9", created_at: ago(86400 * 3), last_used_at: ago(7200) });
  seedChats();
}

function seedChats() {
  const done = chat({ title: "Find why the link test is flaky", label: "Fixed timer race" });
  conversation(done);
  const running = chat({ title: "Upgrade the parser and run its tests", status: "running", updated_at: ago(4) });
  message(running, "user", [text("Upgrade the parser to 2.0 and run its tests. Tell me what breaks.")], { created_at: ago(30) });
  message(running, "assistant", [text("I'll look at where the parser is used, then raise the version and run its tests."), call("c1", "execute", { command: "cargo test -p parser --all-features" }), call("c2", "read_file", { path: "parser/src/lib.rs" })], { model: "claude-opus-4-8", usage });
  running.preview = [
    part(1, 0, "tool_result", { tool_call_id: "c1", name: "execute", delta: "   Compiling parser v2.0.0 (/home/mira/src/holdfast/parser)\n    Finished `test` profile in 4.21s\n     Running unittests src/lib.rs\n\nrunning 41 tests\ntest lexer::tests::keeps_offsets ... ok\ntest lexer::tests::rejects_nul ... ok\n" }),
    part(2, 1, "tool_result", { tool_call_id: "c2", name: "read_file", value: result("c2", "read_file", { path: "parser/src/lib.rs", content: "     1\t//! Parser.\n     2\t\n", size: 20 }) }),
  ];
  running.queue = [{ id: id("q"), content: [text("When it is green, also update the changelog.")], model_id: null, created_at: ago(3) }];
  const retry = chat({ title: "Explain the certificate renewal", status: "running", updated_at: ago(8) });
  message(retry, "user", [text("Explain how certificates are renewed, with the file names.")], { created_at: ago(20) });
  retry.retry = { attempt: 2, error: { code: "provider_overloaded", message: "Anthropic is overloaded and asked to wait.", retryable: true, provider: "anthropic", status_code: 529, request_id: "req_011CTwz8" } };
  const stood = chat({ title: "Rename the wire types", status: "running", updated_at: ago(9) });
  message(stood, "user", [text("Rename the wire types so that each says its direction.")], { created_at: ago(40), label: "Renamed wire types" });
  message(stood, "assistant", [text("I'll rename them file by file."), { type: "notice", code: "fallback", text: "claude-opus-4-8 was asked and could not answer (provider_overloaded): claude-sonnet-5 answers for the rest of the turn." }, call("f1", "edit_files", { files: [{ path: "shared/src/protocol/event.rs", edits: [] }] })], { model: "claude-sonnet-5", usage });
  message(stood, "tool", [result("f1", "edit_files", { files: [{ path: "shared/src/protocol/event.rs", added: 4, removed: 4 }] })]);
  message(stood, "assistant", [{ type: "notice", code: "edit_check", text: "Files were edited: the check runs." }, call("check_9", "execute", { command: "cargo check --all-targets", timeout_s: 120 })]);
  message(stood, "tool", [result("check_9", "execute", { state: "exited", exit_code: 101, duration_ms: 4200, output: "error[E0432]: unresolved import `crate::event::Notice`\n" })]);
  stood.fallback = { selected_model: "claude-opus-4-8", answered_by: "claude-sonnet-5", reason: "provider_overloaded" };
  const failed = chat({ title: "Summarise open issues", status: "error", updated_at: ago(600) });
  message(failed, "user", [text("Summarise the open issues by area.")], { created_at: ago(620) });
  message(failed, "assistant", [text("Reading the list of issues now."), { type: "notice", code: "interrupted", text: "The answer ended here." }], { model: "claude-opus-4-8" });
  failed.error = { code: "provider_key_invalid", message: "Anthropic refused the key ending …x7Qa. Replace it under Settings, Providers.", retryable: false, provider: "anthropic", status_code: 401, request_id: "req_011CTx01" };
  const files = chat({ title: "Read the measurements", status: "running", updated_at: ago(700) });
  message(files, "user", [
    file("att_chart", "throughput.png", "image/png", 48_211, 420, 240), file("att_tall", "a phone's screen with a very long name that does not fit.png", "image/png", 90_300, 200, 600),
    file("att_pdf", "report.pdf", "application/pdf", 1_204_311), file("att_log", "server.log", "text/plain", 20_480), text("What changed between the two runs?"),
  ], { created_at: ago(720) });
  message(files, "assistant", [text("The second run is slower from the third bar on.")], { model: "claude-opus-4-8", usage });
  message(files, "assistant", [{ type: "compaction", method: "files", reason: "refused", through_seq: 1, tokens_before: 4200, tokens_after: 120 }], { model: "claude-opus-4-8" });
  files.queue = [{ id: id("q"), content: [file("att_log", "more.log", "text/plain", 3_000)], model_id: null, created_at: ago(3) }];
  const away = chat({ title: "Bisect the slow start", status: "running", workspace_id: world.workspaces[1].id, updated_at: ago(90) });
  message(away, "user", [text("Bisect which commit made the start slow.")], { created_at: ago(200) });
  message(away, "assistant", [call("c9", "execute", { command: "git bisect run ./scripts/startup.sh" })], { model: "claude-opus-4-8", usage });
  const ask = chat({ title: "Move the docs to the new layout", status: "requires_action", updated_at: ago(1200) });
  message(ask, "user", [text("Move the docs.")], { branch: { at: 2, of: 3 } });
  message(ask, "assistant", [text("The old layout is in the way. I need two things."), call("w1", "execute", { command: "git mv docs/old docs/new\ngit push --force origin docs", cwd: "site" }), call("w2", "ask_user", QUESTIONS)], { model: "claude-opus-4-8", usage });
  ask.actions = [
    action("approval", "execute", { command: "git mv docs/old docs/new && git push --force origin docs\u202e" }, { subject: "git mv docs/old docs/new && git push --force origin docs", risks: ["force_push", "invisible_characters"] }),
    action("question", "ask_user", QUESTIONS),
  ];
  ask.queue = ["Then fix the links.", "And tell me what is left."].map((words) => ({ id: id("q"), content: [text(words)], model_id: null, created_at: ago(3) }));
  const plan = chat({ title: "Plan the new search", mode: "plan", status: "requires_action", updated_at: ago(1300), plan: { title: "Before: tidy the index", steps: [{ text: "Read the index", status: "done" }, { text: "Drop what nobody reads", status: "in_progress" }, { text: "Measure", status: "pending" }] } });
  message(plan, "user", [text("Plan a search over all chats.")]);
  const steps = { title: "Search over all chats", steps: ["Add a table of words per message", "Fill it in the background, newest chats first", "A route and a box in the inbox"], notes: "**Open:** how long a word list may be." };
  message(plan, "assistant", [call("w3", "propose_plan", steps)], { model: "claude-opus-4-8", usage });
  plan.actions = [action("plan", "propose_plan", steps)];
  seedFamily();
  for (let i = 0; i < 6; i += 1) conversation(chat({ title: ["Tidy the error catalogue", "Which files change together?", "Write a release note", "Add a bench for exec", "Why is CI slow on arm64?", "Rename frames to records"][i], updated_at: ago(86400 * (i + 1)) }));
  const long = chat({ title: "Ten thousand messages", updated_at: ago(86400 * 9) });
  for (let i = 0; i < 5000; i += 1) {
    message(long, "user", [text(`Question ${i + 1}: what does step ${i + 1} do?`)]);
    message(long, "assistant", [text(`Step ${i + 1} reads the row, applies the change and wakes the reader.${i % 7 ? "" : "\n\n- first\n- second\n\n```rust\nfn step() {}\n```"}`)], { model: "claude-opus-4-8" });
  }
}

/** A chat with agents under it, their reports, an advisor's advice, and a budget that is used. */
function seedFamily() {
  const parent = chat({ title: "Compare three parsers", status: "error", updated_at: ago(1400) });
  const agent = (title, fields) => chat({ title, parent_id: parent.head.id, depth: 1, archived: true, agent_type: "general", updated_at: ago(1500), ...fields }).head;
  parent.agents = [
    agent("Measure nom on the corpus", { status: "running", tokens: 48_200 }),
    agent("Read what winnow allocates", { agent_type: "explore", outcome: "done", tokens: 21_900 }),
    agent("Port the lexer to chumsky and run every one of its tests", { status: "requires_action", tokens: 104_000 }),
    agent("Find who else left pest", { agent_type: "explore", outcome: "failed", tokens: 900 }),
  ];
  const [measure, read] = parent.agents;
  message(parent, "user", [text("Compare three parsers for our grammar. Use agents.")], { created_at: ago(1700) });
  message(parent, "assistant", [
    text("One agent for each. Meanwhile I ask for advice on what to measure."),
    call("f1", "spawn_agent", { prompt: "Measure **nom** on `corpus/`, three runs each.", background: true }),
    call("f2", "spawn_agent", { prompt: "Read how winnow allocates.", type: "explore", background: true }),
  ], { model: "claude-opus-4-8", usage, created_at: ago(1690) });
  message(parent, "tool", [
    result("f1", "spawn_agent", { agent_id: measure.id, title: measure.title, status: "working" }),
    result("f2", "spawn_agent", { agent_id: read.id, title: read.title, status: "working" }),
  ], { created_at: ago(1689) });
  message(parent, "assistant", [call("f3", "advisor", { question: "Which figure decides between parsers for a language server?" })], { model: "claude-opus-4-8", usage, created_at: ago(1680) });
  message(parent, "tool", [result("f3", "advisor", { advice: "The **time to re-parse after one keystroke**, not the time for a whole file.", advisor_model: "Opus 4.8" }, 5200)], { created_at: ago(1675) });
  message(parent, "user", [{ type: "agent_report", agent_id: read.id, title: read.title, outcome: "done", text: "winnow allocates nothing of its own:\n\n- slices of the input\n- errors only where they are kept" }], { created_at: ago(1500) });
  parent.error = { code: "budget_tokens", message: "The chat has used 150,000 of 150,000 tokens.", retryable: true };
}

const QUESTIONS = { questions: [{ question: "Which address should the docs have from now on?", header: "Address", options: [{ label: "/docs", description: "As before; old links work" }, { label: "/guide", description: "Shorter, needs redirects" }] }] };

function action(kind, tool, args, fields = {}) {
  const value = id("op");
  return { id: value, kind, tool_call_id: value, tool, args, args_hash: "0".repeat(64), created_at: ago(30), ...fields };
}

export function part(seq, index, kind, fields) {
  return { type: "part", history_version: 3, attempt: 1, seq, index, kind, ...fields };
}

function conversation(target) {
  message(target, "user", [text("The test `link_recovers_after_cut` fails about once in twenty runs. Find out why and fix it.")], { created_at: ago(400), label: "Fixed timer race" });
  message(target, "assistant", [
    { type: "reasoning", text: "The user reports a flaky test. Let me look at the test and what it waits for." },
    text("I'll read the test and the code it drives, then run it in a loop."),
    call("a1", "search", { pattern: "link_recovers_after_cut" }), call("a2", "read_file", { path: "tests/wire/reconnect.rs" }),
    call("a3", "read_file", { path: "agentd/src/link/driver.rs" }), call("a4", "glob", { pattern: "shared/src/wire/**/*.rs" }),
  ], { model: "claude-opus-4-8", usage, created_at: ago(395) });
  message(target, "tool", [
    result("a1", "search", { matches: 2, files: 1, output: "tests/wire/reconnect.rs\n41:async fn link_recovers_after_cut() {\n88:    link_recovers_after_cut_twice\n" }),
    result("a2", "read_file", { path: "tests/wire/reconnect.rs", content: "     1\tuse shared::testing::Link;\n     2\t\n", size: 2048, total_lines: 120 }),
    result("a3", "read_file", { path: "agentd/src/link/driver.rs", content: "     1\t//! Drives one link.\n", size: 9000 }),
    result("a4", "glob", { paths: ["shared/src/wire/mod.rs", "shared/src/wire/codec.rs"] }),
  ], { created_at: ago(394) });
  message(target, "assistant", [call("b1", "execute", { command: "for i in $(seq 40); do cargo nextest run -E 'test(link_recovers)' || exit 1; done" })], { model: "claude-opus-4-8", usage, created_at: ago(390) });
  message(target, "tool", [result("b1", "execute", { state: "exited", exit_code: 100, duration_ms: 18400, output: "    Starting 1 test\n        FAIL [   0.512s] wire::reconnect link_recovers_after_cut\n\nthread panicked at tests/wire/reconnect.rs:63:\nassertion `left == right` failed\n  left: Waiting\n right: Open\n" }, 18400)], { created_at: ago(372) });
  message(target, "assistant", [call("d1", "edit_files", { files: [{ path: "agentd/src/link/driver.rs", edits: [{ old_text: "a", new_text: "b" }] }] }), call("d2", "execute", { command: "cargo nextest run -p agentd" }), call("d3", "mcp__tracker__comment", { issue: 41 })], { model: "claude-opus-4-8", usage, created_at: ago(360) });
  message(target, "tool", [
    result("d1", "edit_files", { files: [{ path: "agentd/src/link/driver.rs", added: 4, removed: 2, diff: "@@ -58,7 +58,9 @@\n     let mut backoff = Backoff::new(clock);\n-    let timer = clock.sleep(backoff.next());\n-    timer.await;\n+    // The timer is armed before the state is told, so that whoever waits sees both.\n+    let timer = clock.sleep(backoff.next());\n+    state.send_replace(State::Waiting);\n+    timer.await;\n     dial(&link).await\n" }] }, 120),
    result("d2", "execute", { state: "exited", exit_code: 0, output: "     Summary [  2.118s] 64 tests run: 64 passed, 0 skipped\n" }, 6200),
    result("d3", "mcp__tracker__comment", { error: { code: "forbidden", message: "The tracker refused: the token may not comment." } }, 300, true),
  ], { created_at: ago(350) });
  message(target, "assistant", [text(ANSWER)], { model: "claude-opus-4-8", usage, created_at: ago(345) });
}

const ANSWER = `It was a **timer race**, not the link. The driver told its state *before* it armed the back-off timer, so a test on a manual clock could advance time while nothing was waiting.

### What changed

1. \`agentd/src/link/driver.rs\` arms the timer first and tells its state afterwards.
2. Nothing else: the public types are the same.

\`\`\`rust
let timer = clock.sleep(backoff.next());
state.send_replace(State::Waiting);
timer.await;
\`\`\`

| Check | Before | After |
|---|---:|---:|
| \`link_recovers_after_cut\`, 40 runs | 38 passed | 40 passed |
| whole package | 63 of 64 | 64 of 64 |

> The comment on the tracker could not be written: its token may not comment. See [the tracker](https://tracker.example/41).`;
