// Everything in the browser: the newcomer's journey and the storms against the real programs, every
// screen against the mock, and the size of the first paint.
//
//   HOLDFAST_BIN_DIR          where controlplane and agentd are
//   HOLDFAST_TEST_CHROMIUM    the browser, if it is not where it usually is
//   HOLDFAST_SHOTS            a directory for screenshots
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const bins = process.env.HOLDFAST_BIN_DIR;
if (!bins) {
  console.error("HOLDFAST_BIN_DIR is not set: say where controlplane and agentd are");
  process.exit(2);
}
const here = fileURLToPath(new URL(".", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "holdfast-e2e-"));
const restart = join(dir, "restart");
writeFileSync(restart, "");
const shots = (name) => (process.env.HOLDFAST_SHOTS ? { HOLDFAST_SHOTS: join(process.env.HOLDFAST_SHOTS, name) } : {});
let server = null;
let over = false;

/** Starts the server; after the first time on the same ports. Resolves with its ready line. */
function serve(http, quic) {
  const args = ["serve", "--log-format", "json", "--http", http, "--quic", quic, "--data-dir", join(dir, "server")];
  server = spawn(join(bins, "controlplane"), args, { stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  createInterface({ input: server.stderr }).on("line", (line) => {
    log.push(line);
    if (log.length > 40) log.shift();
  });
  return new Promise((done, fail) => {
    server.once("exit", (code, signal) => {
      if (over || signal === "SIGKILL") return;
      console.error(log.join("\n"));
      fail(new Error(`controlplane ended with ${code ?? signal}`));
    });
    createInterface({ input: server.stdout }).on("line", (line) => {
      const event = line.startsWith("{") ? JSON.parse(line) : {};
      if (event.event === "ready") done(event);
    });
  });
}

function script(name, env = {}) {
  const child = spawn(process.execPath, [join(here, name)], { stdio: "inherit", env: { ...process.env, ...env } });
  return new Promise((done, fail) => {
    child.once("exit", (code) => (code === 0 ? done() : fail(new Error(`${name} failed`))));
  });
}

/** Kills the server when it is asked for, and brings it back on the same addresses. */
function watchRestarts(ready) {
  return setInterval(async () => {
    if (readFileSync(restart, "utf8") !== "kill") return;
    writeFileSync(restart, "");
    server.kill("SIGKILL");
    await new Promise((done) => setTimeout(done, 2_000));
    await serve(new URL(ready.http).host, ready.quic);
  }, 100);
}

let timer;
try {
  const ready = await serve("127.0.0.1:0", "127.0.0.1:0");
  timer = watchRestarts(ready);
  const real = { HOLDFAST_URL: ready.http, HOLDFAST_AGENTD: join(bins, "agentd"), HOLDFAST_RESTART: restart };
  await script("newcomer.mjs", {
    ...real,
    ...shots("newcomer"),
    HOLDFAST_SETUP_URL: ready.setup_url,
    HOLDFAST_EXPECT: "Rehearsed answer",
  });
  await script("storms.mjs", { ...real, ...shots("storms") });
  await script("terminals.mjs", { ...real, ...shots("terminals") });
  await script("screens.mjs", { HOLDFAST_URL: "", ...shots("screens") });
  await script("../scripts/size.mjs");
  console.log(JSON.stringify({ browser: "ok" }));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  over = true;
  clearInterval(timer);
  server?.kill("SIGTERM");
  await new Promise((done) => (server && server.exitCode === null ? server.once("exit", done) : done()));
  rmSync(dir, { recursive: true, force: true });
}
