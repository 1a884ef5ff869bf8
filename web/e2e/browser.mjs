// Chromium for the end-to-end scripts.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const PATHS = [process.env.HOLDFAST_TEST_CHROMIUM, process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export function launch() {
  const executablePath = PATHS.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium found: install it, or name it in HOLDFAST_TEST_CHROMIUM");
  return chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}
