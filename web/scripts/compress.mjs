// Writes a `.br` file beside every text asset of the build, so that the server never compresses.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const text = new Set([".js", ".css", ".html", ".svg", ".json", ".txt"]);
let before = 0;
let after = 0;

for (const name of readdirSync(dist, { recursive: true })) {
  const path = join(dist, String(name));
  if (!statSync(path).isFile() || !text.has(extname(path)) || path.includes(".vite")) continue;
  const raw = readFileSync(path);
  const small = brotliCompressSync(raw, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
    },
  });
  writeFileSync(`${path}.br`, small);
  before += raw.length;
  after += small.length;
}
console.log(`brotli: ${(before / 1024).toFixed(0)} KiB to ${(after / 1024).toFixed(0)} KiB`);
