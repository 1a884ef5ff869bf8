// The newcomer's journey in a real browser: set-up link, model, workspace, first chat, return.
//
//   HOLDFAST_SETUP_URL       the one-time link (required)
//   HOLDFAST_PROVIDER_URL    base URL of a Chat Completions server; default: one is played here
//   HOLDFAST_PROVIDER_KEY    its key, if it asks for one
//   HOLDFAST_MODEL           the model's name, if the server tells none
//   HOLDFAST_AGENTD          an agentd binary: the join command of the page is run with it
//   HOLDFAST_ROOT            the workspace's directory; default: a new temporary one
//   HOLDFAST_ASK, HOLDFAST_EXPECT   the question, and a text that the answer must hold
//   HOLDFAST_SHOTS           a directory for screenshots
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "./browser.mjs";
import { startLlm } from "./mock/llm.mjs";

const env = process.env;
const setupUrl = env.HOLDFAST_SETUP_URL;
if (!setupUrl) {
  console.error("HOLDFAST_SETUP_URL is not set: give the one-time link that the server printed");
  process.exit(2);
}
const PASSWORD = "correct horse battery";
const ask = env.HOLDFAST_ASK ?? "What is in this repository? Run a command to find out.";
const faults = [];
let daemon = null;
const llm = env.HOLDFAST_PROVIDER_URL ? null : await startLlm();

const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
page.setDefaultTimeout(Number(env.HOLDFAST_TIMEOUT_MS ?? 30_000));
page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
page.on("console", (line) => {
  if (line.type() === "error" && /Content Security Policy/i.test(line.text())) faults.push(line.text());
});

const began = Date.now();
let shot = 0;
async function step(name, act) {
  const at = Date.now();
  await act();
  if (env.HOLDFAST_SHOTS) {
    mkdirSync(env.HOLDFAST_SHOTS, { recursive: true });
    await page.screenshot({ path: join(env.HOLDFAST_SHOTS, `${String(++shot).padStart(2, "0")}-${name.replaceAll(" ", "-")}.png`) });
  }
  console.log(JSON.stringify({ step: name, ms: Date.now() - at }));
}

const button = (name) => page.getByRole("button", { name, exact: true });

try {
  await step("create the administrator", async () => {
    await page.goto(setupUrl);
    await page.getByLabel("User name").fill("mira");
    await page.getByLabel("Password").fill(PASSWORD);
    await button("Create administrator").click();
    await page.getByRole("heading", { name: "Add a model" }).waitFor();
  });
  await step("add a provider", async () => {
    await page.getByRole("radio", { name: /Compatible server/ }).check({ force: true });
    await page.getByLabel("Base URL").fill(env.HOLDFAST_PROVIDER_URL ?? llm.url);
    if (env.HOLDFAST_PROVIDER_KEY) await page.getByLabel(/API key/).fill(env.HOLDFAST_PROVIDER_KEY);
    await button("Test").click();
    await page.getByText(/^Answered in/).waitFor();
    await button("Continue").click();
  });
  await step("add its model", async () => {
    if (env.HOLDFAST_MODEL) await page.getByLabel("Model", { exact: true }).fill(env.HOLDFAST_MODEL);
    await button("Add model").click();
    await page.getByRole("heading", { name: "Connect a workspace" }).waitFor();
  });
  await step("connect a workspace", async () => {
    const connected = page.getByText(/ is connected$/);
    const name = page.getByLabel("Name", { exact: true });
    await connected.or(name).first().waitFor();
    if (!(await connected.isVisible())) {
      await name.fill("devbox");
      await button("Get the command").click();
      const command = await page.locator(".command code").innerText();
      if (env.HOLDFAST_AGENTD) daemon = runJoin(command);
      await connected.waitFor();
    }
    await button("Continue").click();
  });
  await step("ask", async () => {
    await page.getByRole("heading", { name: "Ask something about your code" }).waitFor();
    await page.getByLabel("Ask something about your code").fill(ask);
    await button("Send").click();
    await page.waitForURL(/\/chats\//);
    await page.getByRole("article").first().waitFor();
  });
  await step("watch a command", async () => {
    await page.locator(".tool-row", { hasText: /Running|Ran/ }).first().waitFor();
  });
  await step("read the answer", async () => {
    if (env.HOLDFAST_EXPECT) await page.locator(".prose", { hasText: env.HOLDFAST_EXPECT }).last().waitFor();
    await page.locator(".article-foot").waitFor();
    await button("Stop").waitFor({ state: "detached" });
  });
  const said = await page.locator(".prose").last().innerText();
  await step("find it after a reload", async () => {
    await page.reload();
    await page.locator(".article-foot").waitFor();
    const again = await page.locator(".prose").last().innerText();
    if (again !== said) throw new Error(`after the reload the answer reads\n${again}\ninstead of\n${said}`);
  });
  await step("open what the command said", async () => {
    const row = page.locator(".tool-row", { hasText: "Ran" }).first();
    await row.click();
    await page.locator(".tool-detail .tool-output").first().waitFor();
  });
  await step("sign out and in again", async () => {
    await button("Sign out").click();
    await page.waitForURL(/\/login/);
    await page.getByLabel("User name").fill("mira");
    await page.getByLabel("Password").fill(PASSWORD);
    await button("Sign in").click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
    await page.locator(".ledger-row").first().waitFor();
  });
  if (faults.length > 0) throw new Error(faults.join("\n"));
  console.log(JSON.stringify({ newcomer: "ok", ms: Date.now() - began }));
} catch (error) {
  console.error(String(error.stack ?? error));
  console.error(`page: ${page.url()}\n${(await page.locator("body").innerText().catch(() => "")).slice(0, 2_000)}`);
  for (const fault of faults) console.error(fault);
  process.exitCode = 1;
} finally {
  await browser.close();
  daemon?.kill("SIGTERM");
  llm?.close();
}

/** Runs the command of the page, word by word, with the binary that was given. */
function runJoin(command) {
  const [, ...args] = command.trim().split(/\s+/);
  const state = mkdtempSync(join(tmpdir(), "newcomer-state-"));
  const root = env.HOLDFAST_ROOT ?? mkdtempSync(join(tmpdir(), "newcomer-root-"));
  const child = spawn(env.HOLDFAST_AGENTD, [...args, "--root", root], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...env, XDG_STATE_HOME: state, HOLDFAST_STATE_DIR: state },
  });
  child.on("exit", (code) => code && faults.push(`agentd ended with ${code}`));
  return child;
}
