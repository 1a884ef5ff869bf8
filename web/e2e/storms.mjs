// A turn in the browser while the world breaks: the workspace falls silent, the server is killed, a
// person stops it. Nothing is lost, and the page says what happens.
//
//   HOLDFAST_URL, HOLDFAST_USER, HOLDFAST_PASSWORD   a server that is set up
//   HOLDFAST_AGENTD    an agentd binary
//   HOLDFAST_RESTART   a file: when it is written "kill", the server is killed; it comes back by itself
//   HOLDFAST_SHOTS     a directory for screenshots
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "./browser.mjs";

const env = process.env;
const base = env.HOLDFAST_URL;
const LINES = 16;
const SCENARIO = {
  title: "A slow command",
  pace_ms: 5,
  turns: [{
    steps: [
      [
        { say: "I start a slow command." },
        { call: { tool: "execute", args: { command: `for i in $(seq ${LINES}); do echo tick $i; sleep 0.5; done`, timeout_s: 60 } } },
        { call: { tool: "list_dir", args: { path: "." } } },
      ],
      [{ say: "It printed {{results.0.output.lines|no}} lines." }],
    ],
  }],
};
const dir = mkdtempSync(join(tmpdir(), "storms-"));
const script = join(dir, "scenario.json");
writeFileSync(script, JSON.stringify(SCENARIO));

const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
page.setDefaultTimeout(60_000);
const faults = [];
page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
let daemon = null;
let workspace = null;

async function step(name, act) {
  const at = Date.now();
  await act();
  if (env.HOLDFAST_SHOTS) {
    mkdirSync(env.HOLDFAST_SHOTS, { recursive: true });
    await page.screenshot({ path: join(env.HOLDFAST_SHOTS, `${name.replaceAll(" ", "-")}.png`) });
  }
  console.log(JSON.stringify({ step: name, ms: Date.now() - at }));
}

function api(method, path, body) {
  return page.evaluate(
    async ([verb, where, value]) => {
      const headers = { "X-Holdfast-CSRF": "1", "content-type": "application/json" };
      const request = { method: verb, headers };
      if (value) request.body = value;
      const answer = await fetch(`/api/v1${where}`, request);
      if (!answer.ok) throw new Error(`${verb} ${where}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
    [method, path, body && JSON.stringify(body)],
  );
}

/** Begins a turn with the slow command and waits until its output comes. */
async function begin(question) {
  await page.goto(`${base}/new?workspace=${workspace.id}`);
  await page.locator(".model-button").click();
  await page.locator(".pick-item", { hasText: "Slow script" }).click();
  await page.locator(".composer textarea").fill(question);
  await page.keyboard.press("Enter");
  await page.locator(".tool-live", { hasText: "tick 2" }).waitFor();
}

/** The turn has ended with every line, each once. */
async function whole() {
  await page.locator(".prose", { hasText: `It printed ${LINES} lines.` }).waitFor();
  await page.locator(".article-foot").waitFor();
  await page.locator(".tool-row", { hasText: "echo tick" }).first().click();
  const output = await page.locator(".tool-detail .tool-output").first().innerText();
  const ticks = output.match(/tick \d+/g) ?? [];
  const due = Array.from({ length: LINES }, (_, i) => `tick ${i + 1}`);
  if (ticks.join() !== due.join()) throw new Error(`the output is not whole: ${ticks.join()}`);
}

try {
  await step("sign in", async () => {
    await page.goto(`${base}/login`);
    await page.getByLabel("User name").fill(env.HOLDFAST_USER ?? "mira");
    await page.getByLabel("Password").fill(env.HOLDFAST_PASSWORD ?? "correct horse battery");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
  });
  await step("a workspace turns connected by itself", async () => {
    const provider = await api("POST", "/providers", { kind: "scripted", name: "Slow", base_url: script });
    await api("POST", "/models", { provider_id: provider.id, model: "slow", display_name: "Slow script" });
    workspace = await api("POST", "/workspaces", { name: "stormy" });
    await page.goto(`${base}/workspaces/${workspace.id}`);
    const command = await page.locator(".command code").innerText();
    const [, ...args] = command.trim().split(/\s+/);
    daemon = spawn(env.HOLDFAST_AGENTD, [...args, "--root", mkdtempSync(join(dir, "root-"))], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...env, XDG_STATE_HOME: join(dir, "state"), HOLDFAST_STATE_DIR: join(dir, "state") },
    });
    await page.getByText("Connected", { exact: true }).waitFor();
  });
  await step("a workspace falls silent and returns", async () => {
    await begin("the first storm");
    daemon.kill("SIGSTOP");
    await page.locator(".banner-lost", { hasText: "stormy is unreachable since" }).waitFor();
    daemon.kill("SIGCONT");
    await page.locator(".banner-lost").waitFor({ state: "detached" });
    await whole();
  });
  if (env.HOLDFAST_RESTART) {
    await step("the server is killed and returns", async () => {
      await begin("the second storm");
      writeFileSync(env.HOLDFAST_RESTART, "kill");
      await page.locator(".reconnect").waitFor();
      await page.locator(".reconnect").waitFor({ state: "detached" });
      await whole();
    });
  }
  await step("a person queues and stops", async () => {
    await begin("the third storm");
    await page.locator(".composer textarea").fill("and then this");
    await page.keyboard.press("Enter");
    await page.locator(".queue-row", { hasText: "and then this" }).waitFor();
    await page.getByRole("button", { name: "Take out of the queue" }).click();
    await page.locator(".queue-row").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.locator(".tool-row", { hasText: "signal 15" }).waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "detached" });
  });
  if (faults.length > 0) throw new Error(faults.join("\n"));
  console.log(JSON.stringify({ storms: "ok" }));
} catch (error) {
  console.error(String(error.stack ?? error));
  console.error(`page: ${page.url()}\n${(await page.locator("body").innerText().catch(() => "")).slice(0, 2_000)}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  daemon?.kill("SIGCONT");
  daemon?.kill("SIGTERM");
}
