// Terminals in the browser while the world breaks: a page is loaded again, the daemon and the server
// are killed. The screen looks the same cell by cell, and goes on.
//
//   HOLDFAST_URL, HOLDFAST_USER, HOLDFAST_PASSWORD   a server that is set up
//   HOLDFAST_AGENTD    an agentd binary
//   HOLDFAST_RESTART   a file: when it is written "kill", the server is killed; it comes back by itself
//   HOLDFAST_SHOTS     a directory for screenshots
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "./browser.mjs";

const env = process.env;
const base = env.HOLDFAST_URL;
const dir = mkdtempSync(join(tmpdir(), "terminals-"));
const root = join(dir, "root");
mkdirSync(root);
// A shell like any other, whoever runs this.
const shell = "env -i HOME=$HOME PATH=$PATH TERM=$TERM LANG=C.UTF-8 PS1='here$ ' bash --norc --noprofile";

const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
const page = await context.newPage();
const faults = [];
watch(page);
let daemon = null;
let workspace = null;

function watch(it) {
  it.setDefaultTimeout(Number(env.HOLDFAST_TIMEOUT_MS ?? 60_000));
  it.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
  it.on("console", (line) => {
    if (line.type() === "error" && /Content Security Policy/i.test(line.text())) faults.push(line.text());
  });
}

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

/** Everything that a terminal shows: each cell with its attributes, the cursor, the modes. */
function screenOf(it) {
  return it.evaluate(() => {
    const { terminal } = document.querySelector(".terminal-host");
    const buffer = terminal.buffer.active;
    const rows = [];
    for (let y = 0; y < terminal.rows; y += 1) {
      const line = buffer.getLine(buffer.baseY + y);
      const cells = [];
      for (let x = 0; x < terminal.cols; x += 1) {
        const cell = line?.getCell(x);
        if (!cell) continue;
        const flags = [cell.isBold(), cell.isItalic(), cell.isDim(), cell.isUnderline(), cell.isInverse(), cell.isStrikethrough()].map(Number).join("");
        const text = cell.getChars() || " ";
        // A colour of the first sixteen may be named in two ways; it is the same colour.
        const colour = (mode, value) => `${mode === 0x1000000 ? 0x2000000 : mode}:${value}`;
        cells.push(`${text}|${colour(cell.getFgColorMode(), cell.getFgColor())}|${colour(cell.getBgColorMode(), cell.getBgColor())}|${flags}`);
      }
      rows.push(cells);
    }
    const { applicationCursorKeysMode, bracketedPasteMode, mouseTrackingMode, originMode, wraparoundMode } = terminal.modes;
    return {
      size: `${terminal.cols}x${terminal.rows}`,
      cursor: `${buffer.cursorX},${buffer.cursorY}`,
      buffer: buffer.type,
      modes: JSON.stringify({ applicationCursorKeysMode, bracketedPasteMode, mouseTrackingMode, originMode, wraparoundMode }),
      rows,
    };
  });
}

/** Every line that the page holds, those above the screen too, as text. */
function linesOf(it) {
  return it.evaluate(() => {
    const buffer = document.querySelector(".terminal-host").terminal.buffer.active;
    return Array.from({ length: buffer.length }, (_, y) => buffer.getLine(y)?.translateToString(true) ?? "");
  });
}

/** Hash and length of everything that a terminal has written, read page by page. */
function writtenBy(pty) {
  return page.evaluate(
    async ([at]) => {
      const parts = [];
      for (let offset = 0; ; ) {
        const answer = await fetch(`/api/v1${at}/output?offset=${offset}`);
        if (!answer.ok) throw new Error(`output at ${offset}: ${answer.status}`);
        const bytes = new Uint8Array(await answer.arrayBuffer());
        if (bytes.length === 0) break;
        parts.push(bytes);
        offset += bytes.length;
      }
      const blob = new Blob(parts);
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
      return { bytes: blob.size, hash: Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") };
    },
    [`/workspaces/${workspace.id}/ptys/${pty}`],
  );
}

const textOf = (screen) => screen.rows.map((cells) => cells.map((cell) => cell.slice(0, cell.indexOf("|"))).join("").trimEnd()).join("\n");

/** Waits until the screen shows a text. */
async function shows(it, text) {
  try {
    await it.waitForFunction((wanted) => {
      const host = document.querySelector(".terminal-host");
      if (!host?.terminal) return false;
      const buffer = host.terminal.buffer.active;
      for (let y = 0; y < host.terminal.rows; y += 1) {
        if (buffer.getLine(buffer.baseY + y)?.translateToString(true).includes(wanted)) return true;
      }
      return false;
    }, text);
  } catch (error) {
    throw new Error(`the terminal does not show ${JSON.stringify(text)} but\n${textOf(await screenOf(it))}`, { cause: error });
  }
}

function assertSame(before, after, when) {
  for (const key of ["size", "cursor", "buffer", "modes"]) {
    if (before[key] !== after[key]) throw new Error(`${when}: ${key} is ${after[key]} instead of ${before[key]}`);
  }
  before.rows.forEach((cells, y) => {
    cells.forEach((cell, x) => {
      const now = after.rows[y]?.[x];
      if (cell !== now) throw new Error(`${when}: cell ${x},${y} is ${now} instead of ${cell}\n${textOf(before)}\n---\n${textOf(after)}`);
    });
  });
}

const writing = (it) => it.getByText("You write here").waitFor();
const type = (it, text) => it.keyboard.type(text);

/** Types a command line and waits for the prompt after it. */
async function run(it, command, until) {
  await type(it, command);
  await it.keyboard.press("Enter");
  if (until) await shows(it, until);
}

async function openTerminal(command) {
  const pty = await api("POST", `/workspaces/${workspace.id}/ptys`, { command, cols: 100, rows: 30 });
  await page.goto(`${base}/workspaces/${workspace.id}/terminals?pty=${pty.id}`);
  await writing(page);
  return pty;
}

/** The screen once the program has drawn all that it will: a few looks in a row are the same. */
async function still() {
  let before = JSON.stringify(await screenOf(page));
  for (let same = 0; same < 4; ) {
    // A program that has drawn all gives no event.
    await page.waitForTimeout(200);
    const now = JSON.stringify(await screenOf(page));
    same = now === before ? same + 1 : 0;
    before = now;
  }
  return JSON.parse(before);
}

/** The same screen after the page was loaded again. */
async function reloaded(when) {
  const before = await still();
  await page.reload();
  await writing(page);
  await sameAs(before, when);
}

/** Waits for what is drawn last, then compares. */
async function sameAs(before, when) {
  let problem;
  for (let tries = 0; tries < 50; tries += 1) {
    try {
      return assertSame(before, await screenOf(page), when);
    } catch (error) {
      problem = error;
    }
    // A drawn screen gives no event: it is looked at again a few frames later.
    await page.waitForTimeout(100);
  }
  throw problem;
}

function startDaemon(args) {
  const child = spawn(env.HOLDFAST_AGENTD, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...env, XDG_STATE_HOME: dir, HOLDFAST_STATE_DIR: join(dir, "state"), RUST_LOG: "warn" },
  });
  daemon = child;
  return child;
}

/** Waits until the workspace answers. */
async function connected() {
  for (let tries = 0; ; tries += 1) {
    try {
      return await api("GET", `/workspaces/${workspace.id}/ptys`);
    } catch (error) {
      if (tries === 300) throw error;
    }
    // A page that shows no terminal is not told.
    await page.waitForTimeout(100);
  }
}

async function killDaemon() {
  const child = daemon;
  const gone = new Promise((done) => child.once("exit", done));
  child.kill("SIGKILL");
  await gone;
}

const PAINTER = String.raw`#!/bin/bash
# Paints like a monitor does: the alternate screen, colours, lines, no cursor, the mouse.
printf '\e[?1049h\e[?25l\e[?1000h\e[?1006h\e[2J\e[?1h'
for row in $(seq 1 20); do
  printf '\e[%d;2H\e[38;5;%dm\e[48;2;%d;30;60mrow %02d \e[0m \e[1;4;3%dm%s\e[0m \e(0lqqk\e(B grüße 日本' $row $((row * 11)) $((row * 9)) $row $((row % 8)) "load $row"
done
printf '\e[22;5HpainterREADY'
read -rsn1
printf '\e[?1049l\e[?25h\e[?1000l\e[?1006l\e[?1l'
`;

try {
  if (spawnSync("vim", ["--version"]).status !== 0) throw new Error("vim is missing: install it, this test needs a real full-screen editor");
  writeFileSync(join(root, "painter.sh"), PAINTER);
  await step("sign in and join", async () => {
    await page.goto(`${base}/login`);
    await page.getByLabel("User name").fill(env.HOLDFAST_USER ?? "mira");
    await page.getByLabel("Password").fill(env.HOLDFAST_PASSWORD ?? "correct horse battery");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
    workspace = await api("POST", "/workspaces", { name: "terminals" });
    const { command } = await api("POST", `/workspaces/${workspace.id}/join-tokens`);
    startDaemon([...command.trim().split(/\s+/).slice(1), "--root", root]);
    await page.goto(`${base}/workspaces/${workspace.id}/terminals`);
    await page.getByText("No terminal is open here").waitFor();
  });
  await step("open a login shell by its button", async () => {
    await page.getByRole("button", { name: "Open a terminal" }).click();
    await writing(page);
    await type(page, "echo by-the-button-$((40 + 2)); exit 5\r");
    await shows(page, "by-the-button-42");
    await page.getByText("The program has ended. exit 5").waitFor();
  });
  await step("run vim", async () => {
    await openTerminal(shell);
    await shows(page, "here$");
    await run(page, "vim -u NONE -c 'set nocompatible ttimeout ttimeoutlen=5 number ruler hlsearch | syntax on' notes.sh", '"notes.sh" [New');
    await type(page, "i#!/bin/sh\rif true; then\r  echo 'grüße 日本'\rfi\r");
    await page.keyboard.press("Escape");
    await type(page, "/echo\r");
    await shows(page, "search hit BOTTOM");
  });
  await step("the page is loaded again", () => reloaded("after a reload"));
  let before;
  await step("the daemon is killed", async () => {
    before = await still();
    await killDaemon();
    await page.getByText("The terminal goes on as soon as it is back").waitFor();
  });
  await step("the daemon is back", async () => {
    startDaemon(["run"]);
    await writing(page);
    await sameAs(before, "after the daemon's restart");
    await reloaded("after the daemon's restart and a reload");
    await type(page, "Gostill here");
    await page.keyboard.press("Escape");
    await shows(page, "still here");
  });
  await step("the server is killed", async () => {
    before = await still();
    writeFileSync(env.HOLDFAST_RESTART, "kill");
    await page.getByText(/Connection lost/).waitFor();
    await writing(page);
    await sameAs(before, "after the server's restart");
    await type(page, ":wq\r");
    await shows(page, "here$ vim");
    if (!readFileSync(join(root, "notes.sh"), "utf8").includes("still here")) throw new Error("what was typed is not in the file");
  });
  await step("a painter survives as well", async () => {
    await run(page, "bash painter.sh", "painterREADY");
    await reloaded("the painter after a reload");
    before = await still();
    await killDaemon();
    startDaemon(["run"]);
    await reloaded("the painter after both");
    await sameAs(before, "the painter, over all");
    await type(page, "q");
    await shows(page, "here$");
  });
  await step("two hundred thousand lines are searched", async () => {
    await run(page, "clear; seq 1 200000; echo done-$((1 + 1))", "done-2");
    await reloaded("after many lines");
    await page.keyboard.press("Control+Shift+F");
    await page.getByRole("textbox", { name: "Search in what was written" }).fill("^1234[0-9]{2}$");
    await page.keyboard.press("Enter");
    await page.getByText("100 lines match").waitFor();
    await page.locator(".find-match", { hasText: "123456" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".terminal-search").waitFor({ state: "detached" });
  });
  await step("two hundred thousand lines survive a kill of the daemon", async () => {
    const pty = new URL(page.url()).searchParams.get("pty");
    // As a page that has just come shows it. The search above made the window smaller for a while, and the
    // lines that went into the scrollback for that came back in the browser only.
    await page.reload();
    await writing(page);
    const screen = await still();
    const [lines, written] = [await linesOf(page), await writtenBy(pty)];
    if (lines.length < 1_000) throw new Error(`only ${lines.length} lines are held above the screen`);
    if (written.bytes < 1_488_895) throw new Error(`${written.bytes} bytes are not 200,000 lines`);
    // Nobody looks while it is away: the line that says so makes the window smaller too.
    const at = page.url();
    await page.goto(`${base}/workspaces/${workspace.id}`);
    await killDaemon();
    startDaemon(["run"]);
    await connected();
    await page.goto(at);
    await writing(page);
    await sameAs(screen, "many lines after the kill");
    await reloaded("many lines after the kill and a reload");
    const [again, rewritten] = [await linesOf(page), await writtenBy(pty)];
    const other = lines.findIndex((line, y) => line !== again[y]);
    if (again.length !== lines.length || other !== -1) throw new Error(`line ${other} of ${lines.length} is ${again[other]} of ${again.length} instead of ${lines[other]}`);
    if (rewritten.hash !== written.hash) throw new Error(`${rewritten.bytes} bytes are others than the ${written.bytes} of before`);
    console.log(JSON.stringify({ lines_compared: lines.length, bytes_compared: written.bytes }));
    await run(page, "echo on-$((1 + 1))", "on-2");
  });
  const other = await context.newPage();
  watch(other);
  await step("another page takes over, and gives back", async () => {
    await run(page, "clear; echo clear-$((1 + 1))", "clear-2");
    await other.goto(page.url());
    await other.getByText("Another page writes here").waitFor();
    await other.getByRole("button", { name: "Take over" }).click();
    await writing(other);
    await page.getByText("Read only. Another page writes here").waitFor();
    await page.locator(".xterm-helper-textarea").focus();
    await type(page, "x");
    await page.getByText("take over first").waitFor();
    await run(other, "echo by-$((2 * 21))", "by-42");
    await shows(page, "by-42");
    await page.getByRole("button", { name: "Take over" }).click();
    await writing(page);
  });
  await step("one page answers what a program asks, the other never", async () => {
    const ask = String.raw`printf '\e[c\e[6n\e]11;?\a'; IFS= read -rs -t 2 -N 200 a; clear; printf %s "$a" | tr -dc 'cR' | wc -c | sed 's/^ */answers:/'`;
    await run(page, ask, "answers:2");
    await reloaded("after questions");
    // A page that is loaded again draws the questions anew, and types nothing for it.
    await run(page, "echo quiet-$((1 + 2))", "quiet-3");
    await other.close();
  });
  await step("what a program wants of the clipboard and of links is only offered", async () => {
    await run(page, String.raw`clear; printf '\e]52;c;ZXZpbA==\a\e]8;;javascript:alert(1)\aclick\e]8;;\a\n'`, "click");
    await page.getByText("The program offers 4 characters for your clipboard").waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.evaluate(() => document.querySelector(".terminal-host").terminal.options.linkHandler.activate(null, "javascript:alert(1)"));
    if (await page.getByRole("dialog").isVisible()) throw new Error("a link that is none was offered");
  });
  await step("a paste of many lines is asked about", async () => {
    // The prompt of before still shows; only what the command itself says tells that it has been done.
    await run(page, String.raw`bind 'set enable-bracketed-paste off'; clear; echo off-$((1 + 1))`, "off-2");
    await page.evaluate(() => {
      const data = new DataTransfer();
      data.setData("text/plain", "echo one-$((0+1))\n\u001b[31mecho two-$((1+1))\n");
      document.querySelector(".xterm-helper-textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    });
    await page.getByRole("dialog", { name: "Paste 2 lines?" }).waitFor();
    await page.getByRole("button", { name: "Paste", exact: true }).click();
    await shows(page, "one-1");
  });
  await step("the keyboard leads out of the terminal", async () => {
    await page.locator(".xterm-helper-textarea").focus();
    await page.keyboard.press("Control+Shift+Escape");
    if (!(await page.getByRole("tab", { selected: true }).evaluate((it) => it === document.activeElement))) throw new Error("the focus is still in the terminal");
    await page.keyboard.press("Delete");
    await page.getByRole("button", { name: "Close terminal" }).click();
    await page.getByRole("tab").waitFor({ state: "detached" });
  });
  await step("processes are listed, signalled and read page by page", async () => {
    const sleeper = await api("POST", `/workspaces/${workspace.id}/processes`, { command: "sleep 300" });
    const flood = await api("POST", `/workspaces/${workspace.id}/processes`, { command: "seq 1 40000; echo 'found: needle'; seq 40001 80000" });
    await page.goto(`${base}/workspaces/${workspace.id}`);
    const row = page.locator(".process-row", { hasText: "sleep 300" });
    await row.getByText("Running").waitFor();
    await row.getByRole("button", { name: /^Send a signal/ }).click();
    await page.getByRole("menuitem", { name: "SIGINT" }).click();
    await row.getByText("signal 2").waitFor();
    await page.locator(".process-row", { hasText: "needle" }).getByRole("link").click();
    await page.getByText("exit 0").waitFor();
    const text = page.locator(".pager-text");
    await text.waitFor();
    let seen = "";
    for (;;) {
      const shown = await text.evaluate((it) => it.textContent);
      if (!seen.endsWith(shown)) seen += shown;
      const later = page.getByRole("button", { name: "Later" });
      if (await later.isDisabled()) break;
      const facts = await page.locator(".pager-facts p").innerText();
      await later.click();
      await page.waitForFunction((was) => document.querySelector(".pager-facts p")?.innerText !== was, facts);
    }
    const due = [...Array.from({ length: 40_000 }, (_, i) => String(i + 1)), "found: needle", ...Array.from({ length: 40_000 }, (_, i) => String(i + 40_001))].join("\n") + "\n";
    if (seen !== due) throw new Error(`the pages together are ${seen.length} characters, not the ${due.length} that were written`);
    await page.getByRole("button", { name: "Find lines" }).click();
    await page.getByRole("textbox", { name: "Regular expression" }).fill("need.e");
    await page.keyboard.press("Enter");
    await page.locator(".find-row", { hasText: "found: needle" }).click();
    await page.locator(".pager-text", { hasText: "found: needle" }).waitFor();
    if (!sleeper.id || !flood.id) throw new Error("no ids");
  });
  if (faults.length > 0) throw new Error(faults.join("\n"));
  console.log(JSON.stringify({ terminals: "ok" }));
} catch (error) {
  console.error(String(error.stack ?? error));
  console.error(`page: ${page.url()}\n${(await page.locator("body").innerText().catch(() => "")).slice(0, 2_000)}`);
  for (const fault of faults) console.error(fault);
  if (env.HOLDFAST_SHOTS) await page.screenshot({ path: join(env.HOLDFAST_SHOTS, "failure.png") }).catch(() => {});
  process.exitCode = 1;
} finally {
  await stopAll().catch(() => {});
  await browser.close();
  daemon?.kill("SIGTERM");
  rmSync(dir, { recursive: true, force: true });
}

/** Keepers outlive the daemon, so what still runs is ended in order. */
async function stopAll() {
  if (!workspace) return;
  const { items } = await api("GET", `/workspaces/${workspace.id}/ptys`);
  for (const pty of items.filter((it) => it.state === "running")) await api("DELETE", `/workspaces/${workspace.id}/ptys/${pty.id}?grace_ms=0`);
}
