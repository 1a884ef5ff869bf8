// Every screen in light and dark, wide and 390 px: axe finds no serious or critical fault.
//
//   HOLDFAST_URL   a server with chats in many states; default: the mock server is started
//   HOLDFAST_USER, HOLDFAST_PASSWORD   sign in first, where the server asks
//   HOLDFAST_SHOTS   a directory for screenshots
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } };
const shots = process.env.HOLDFAST_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

const mocks = [];
async function mock(env) {
  const path = fileURLToPath(new URL("./mock-server.mjs", import.meta.url));
  const child = spawn(process.execPath, [path], { env: { ...process.env, PORT: "0", ...env }, stdio: ["ignore", "pipe", "inherit"] });
  mocks.push(child);
  const line = await new Promise((done) => child.stdout.once("data", done));
  return JSON.parse(String(line));
}

const settle = (page) => page.waitForTimeout(350);
const press = (key) => async (page) => {
  await page.locator("body").press(key);
  await settle(page);
};
const click = (selector) => async (page) => {
  await page.locator(selector).first().click();
  await settle(page);
};
const openRow = (title) => async (page) => {
  await page.locator(".ledger-row", { hasText: title }).click();
  await page.locator("article").first().waitFor();
  await settle(page);
};

/** The first terminal, drawn. */
const openTerminals = (act) => async (page) => {
  await page.locator(".fleet-link").first().click();
  await page.getByRole("link", { name: "Terminals" }).click();
  await page.getByRole("tab").nth(1).click();
  await page.getByText("You write here").waitFor();
  await settle(page);
  if (act) await act(page);
};

/** What a chat's turns spent their time with. */
const openTrace = (act) => async (page) => {
  await openRow("Find why the link test is flaky")(page);
  await page.goto(`${page.url()}/trace`);
  await page.locator(".trace-row").first().waitFor();
  if (act) await act(page);
};

/** Screens behind the sign-in: where to go, and what to do there. */
const SCREENS = [
  ["inbox", "/"],
  ["inbox-no-match", "/", async (page) => page.getByRole("searchbox").fill("nothing is called so")],
  ["palette", "/", press("Control+k")],
  ["shortcuts", "/", press("?")],
  ["new-chat", "/new"],
  ["chat-done", "/", openRow("Find why the link test is flaky")],
  ["chat-open-rows", "/", async (page) => {
    await openRow("Find why the link test is flaky")(page);
    await page.locator(".article-head").first().click();
    await press("Shift+O")(page);
  }],
  ["chat-running", "/", openRow("Upgrade the parser")],
  ["chat-retry", "/", openRow("Explain the certificate")],
  ["chat-fallback", "/", openRow("Rename the wire types")],
  ["chat-error", "/", openRow("Summarise open issues")],
  ["chat-unreachable", "/", openRow("Bisect the slow start")],
  ["chat-needs-you", "/", openRow("Move the docs")],
  ["chat-allow-always", "/", async (page) => {
    await openRow("Move the docs")(page);
    await click("text=Always…")(page);
  }],
  ["chat-deny", "/", async (page) => {
    await openRow("Move the docs")(page);
    await click("text=Deny…")(page);
  }],
  ["chat-edit", "/", async (page) => {
    await openRow("Move the docs")(page);
    await page.locator(".said").first().hover();
    await page.getByRole("button", { name: "Edit", exact: true }).first().click();
    await settle(page);
  }],
  ["chat-files", "/", openRow("Read the measurements")],
  ["chat-files-edit", "/", async (page) => {
    await openRow("Read the measurements")(page);
    await page.locator(".said").first().hover();
    await page.getByRole("button", { name: "Edit", exact: true }).first().click();
    await settle(page);
  }],
  ["new-chat-files", "/new", async (page) => {
    const dot = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
    const named = (name, mimeType, buffer) => ({ name, mimeType, buffer });
    await page.locator("input[type=file]").setInputFiles([
      named("dot.png", "image/png", dot),
      named("a log with a rather long name of its own 2026-11-20.txt", "text/plain", Buffer.from("x".repeat(4_000))),
      named("broken.txt", "text/plain", Buffer.from("x")),
    ]);
    await page.getByText("the database does not answer").waitFor();
    await settle(page);
  }],
  ["chat-plan", "/", openRow("Plan the new search")],
  ["chat-plan-dock", "/", async (page) => {
    await openRow("Plan the new search")(page);
    await click(".plan-dock summary")(page);
  }],
  ["chat-agents", "/", openRow("Compare three parsers")],
  ["chat-agents-open", "/", async (page) => {
    await openRow("Compare three parsers")(page);
    for (const row of [".report-row summary", ".article-head >> nth=0"]) await click(row)(page);
    await press("Shift+O")(page);
  }],
  ["chat-long", "/", openRow("Ten thousand messages")],
  ["chat-models", "/", async (page) => {
    await openRow("Find why")(page);
    await click(".model-button")(page);
  }],
  ["chat-menu", "/", async (page) => {
    await openRow("Find why")(page);
    await page.getByRole("button", { name: "More" }).click();
    await settle(page);
  }],
  ["trace", "/", openTrace()],
  ["trace-open", "/", openTrace(async (page) => {
    await click(".trace-row >> nth=5")(page);
    await page.getByRole("button", { name: "Show what was sent" }).click();
    await page.locator(".trace-sent").waitFor();
  })],
  ["usage", "/settings/usage", async (page) => page.locator(".usage-table").waitFor()],
  ["chat-missing", "/chats/chat_01J00000000000000000000000"],
  ["workspaces", "/workspaces"],
  ["workspace-add", "/workspaces", click("text=Add workspace")],
  ["workspace", "/workspaces", click(".fleet-link >> nth=0")],
  ["workspace-unreachable", "/workspaces", click(".fleet-link >> nth=1")],
  ["workspace-join", "/workspaces", click(".fleet-link >> nth=2")],
  ["output-follow", "/workspaces", async (page) => {
    await click(".fleet-link >> nth=0")(page);
    await click(".process-row .row-link >> nth=0")(page);
  }],
  ["output-pages", "/workspaces", async (page) => {
    await click(".fleet-link >> nth=0")(page);
    await click(".process-row .row-link >> nth=2")(page);
    await page.getByRole("button", { name: "Later" }).click();
    await page.locator(".pager-text").waitFor();
    await page.locator(".pager-text").evaluate((it) => it.scrollIntoView({ block: "end" }));
    await settle(page);
  }],
  ["output-search", "/workspaces", async (page) => {
    await click(".fleet-link >> nth=0")(page);
    await click(".process-row .row-link >> nth=2")(page);
    await page.getByRole("button", { name: "Find lines" }).click();
    await page.getByRole("textbox").fill("FAILED");
    await page.keyboard.press("Enter");
    await page.locator(".find-row").first().waitFor();
  }],
  ["terminals", "/workspaces", openTerminals()],
  ["terminals-watching", "/workspaces", openTerminals(async (page) => {
    await page.getByRole("tab").nth(0).click();
    await page.getByRole("button", { name: "Take over" }).waitFor();
    await settle(page);
  })],
  ["terminals-search", "/workspaces", openTerminals(async (page) => {
    await page.locator(".xterm-helper-textarea").press("Control+Shift+F");
    await page.getByRole("textbox", { name: "Search in what was written" }).fill("E0308");
    await page.keyboard.press("Enter");
    await page.locator(".find-match").first().waitFor();
    await settle(page);
  })],
  ["terminals-link", "/workspaces", openTerminals(async (page) => {
    await page.evaluate(() => document.querySelector(".terminal-host").terminal.options.linkHandler.activate(null, "https://doc.rust-lang.org/error_codes/E0308.html"));
    await page.getByRole("dialog").waitFor();
    await settle(page);
  })],
  ["terminals-close", "/workspaces", openTerminals(async (page) => {
    await page.getByRole("tab", { selected: true }).press("Delete");
    await page.getByRole("dialog").waitFor();
    await settle(page);
  })],
  ["terminals-empty", "/workspaces", async (page) => {
    await click(".fleet-link >> nth=1")(page);
    await page.getByRole("link", { name: "Terminals" }).click();
    await page.getByText("No terminal is open here").waitFor();
    await settle(page);
  }],
  ["providers", "/settings/providers"],
  ["provider-add", "/settings/providers", click("text=Add a provider")],
  ["provider-test", "/settings/providers", click(".setting-actions .button >> nth=0")],
  ["provider-delete", "/settings/providers", click(".setting-actions .button >> nth=2")],
  ["models", "/settings/models"],
  ["model-edit", "/settings/models", click(".setting-actions .button >> nth=0")],
  ["model-add", "/settings/models", click("text=Add model")],
  ["api-keys", "/settings/api-keys"],
  ["appearance", "/settings/appearance"],
  ["not-found", "/nowhere"],
];
const GATES = [["setup", "/setup#token=hfs_mock"], ["setup-no-token", "/setup"]];

const browser = await launch();
let checked = 0;
const found = [];

async function check(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags }), TAGS);
  checked += 1;
  for (const fault of violations) {
    found.push(`${name}: ${fault.impact} ${fault.id}: ${fault.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(" | ")}`);
  }
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`) });
}

async function sweep(base, screens, enter) {
  for (const scheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const context = await browser.newContext({ viewport, colorScheme: scheme, reducedMotion: "reduce", bypassCSP: true });
      const page = await context.newPage();
      page.setDefaultTimeout(10_000);
      page.on("pageerror", (error) => found.push(`page error: ${error.message}`));
      if (enter) await enter(page, base);
      for (const [name, path, act] of screens) {
        const label = `${name}-${scheme}-${size}`;
        try {
          await page.goto("about:blank");
          await page.goto(base + path);
          await page.locator("#content").waitFor();
          await settle(page);
          if (act) await act(page);
          await check(page, label);
          const wide = await page.evaluate(() =>
            Math.max(...[document.documentElement, ...document.querySelectorAll(".shell-main")].map((it) => it.scrollWidth - it.clientWidth)),
          );
          if (wide > 0) found.push(`${label}: ${wide} px wider than the screen`);
        } catch (error) {
          found.push(`${label}: ${String(error.message ?? error).split("\n")[0]}`);
        }
      }
      await context.close();
    }
  }
}

async function signIn(page, base) {
  if (!process.env.HOLDFAST_USER) return;
  await page.goto(`${base}/login`);
  await page.getByLabel("User name").fill(process.env.HOLDFAST_USER);
  await page.getByLabel("Password").fill(process.env.HOLDFAST_PASSWORD ?? "");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Inbox" }).waitFor();
}

const only = process.argv[2];
const chosen = (screens) => screens.filter(([name]) => !only || name.startsWith(only));
try {
  if (process.env.HOLDFAST_URL) await sweep(process.env.HOLDFAST_URL, chosen(SCREENS).filter(([, , act]) => !act), signIn);
  else {
    await sweep((await mock({ AUTOJOIN: "0" })).http, chosen(SCREENS));
    await sweep((await mock({ FRESH: "1" })).http, chosen(GATES));
    await sweep((await mock({ SIGNED_IN: "0" })).http, chosen([["login", "/login"]]));
  }
} finally {
  await browser.close();
  for (const child of mocks) child.kill();
}
const grave = found.filter((line) => !/: (minor|moderate) /.test(line));
for (const line of found) console.log(line);
console.log(JSON.stringify({ screens: checked, findings: found.length, grave: grave.length }));
process.exit(grave.length > 0 ? 1 : 0);
