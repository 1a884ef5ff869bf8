// A server that plays the API from memory, for looking at the pages without the real one. Tests only.
// PORT (default 0: any), FRESH=1: nothing is set up. Prints {"event":"ready","http":…,"setup_url":…}.
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { handle } from "./mock/routes.mjs";
import { attach } from "./mock/streams.mjs";
import { seed, world } from "./mock/world.mjs";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

seed(process.env.FRESH === "1");

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://mock");
  if (url.pathname.startsWith("/api/v1/")) {
    let text = "";
    for await (const chunk of request) text += chunk;
    const isJson = request.headers["content-type"]?.startsWith("application/json");
    const answer = handle(request.method, url, isJson && text ? JSON.parse(text) : undefined, request);
    response.writeHead(answer.status, {
      "content-type": answer.type ?? (answer.status < 400 ? "application/json" : "application/problem+json"),
      "x-request-id": answer.body?.request_id ?? "req_mock",
      ...answer.headers,
    });
    if (answer.raw) return response.end(answer.raw);
    response.end(answer.body === undefined ? "" : typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
    return;
  }
  const path = join(dist, normalize(url.pathname));
  const file = extname(path) && existsSync(path) ? path : join(dist, "index.html");
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": CSP });
  response.end(readFileSync(file));
});

const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket, request) => attach(socket, new URL(request.url, "http://mock")));

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  const base = `http://127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ event: "ready", http: base, setup_url: `${base}/setup?token=${world.setupToken}` }));
});
