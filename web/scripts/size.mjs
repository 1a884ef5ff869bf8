// Fails when the JavaScript or CSS that the first paint needs is over its budget.
// First paint: what index.html names, plus the chunk of the page it opens and all they import.
import { readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const LIMIT_JS = 170_000;
const LIMIT_CSS = 20_000;
const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const manifest = JSON.parse(readFileSync(`${dist}.vite/manifest.json`, "utf8"));
const size = (file) => statSync(`${dist}${file}.br`).size;

function closure(key, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  for (const next of manifest[key]?.imports ?? []) closure(next, seen);
  return seen;
}

function weigh(keys) {
  let js = 0;
  const css = new Set();
  for (const key of keys) {
    const chunk = manifest[key];
    if (chunk.file.endsWith(".js")) js += size(chunk.file);
    for (const file of chunk.css ?? []) css.add(file);
  }
  return { js, css: [...css].reduce((sum, file) => sum + size(file), 0) };
}

let failed = false;
const pages = Object.keys(manifest).filter((key) => /routes\/(chat|inbox|setup)\/page\.tsx$/.test(key));
for (const page of [null, ...pages]) {
  const keys = closure("index.html");
  if (page) closure(page, keys);
  const { js, css } = weigh(keys);
  const bad = js > LIMIT_JS || css > LIMIT_CSS;
  failed ||= bad;
  const name = page ? page.replace(/^src\/routes\/|\/page\.tsx$/g, "") : "shell";
  console.log(`${bad ? "OVER" : "ok  "} ${name.padEnd(8)} js ${js} of ${LIMIT_JS}, css ${css} of ${LIMIT_CSS} bytes (brotli)`);
}
const all = Object.values(manifest).filter((c) => c.file.endsWith(".js"));
console.log(`     all js  ${[...new Set(all.map((c) => c.file))].reduce((sum, f) => sum + size(f), 0)} bytes (brotli)`);
process.exit(failed ? 1 : 0);
