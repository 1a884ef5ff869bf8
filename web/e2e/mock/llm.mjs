// A Chat Completions server with one trick: it runs a command, then says what it saw. Tests only.
import { createServer } from "node:http";

export const MODEL = "rehearsal-1";
const COMMAND = "for i in 1 2 3; do echo line $i; sleep 0.4; done; pwd; ls";
const INTRO = "I'll look at the workspace with one command.";
const OUTRO = "The command has run. **Rehearsed answer**: the workspace holds what `ls` printed.\n\n- it began with `line 1`\n- it ended by itself\n";

/** Starts on a free port; resolves with the base URL and a way to end it. */
export function startLlm() {
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    if (request.url.endsWith("/models")) return json(response, { object: "list", data: [{ id: MODEL, object: "model" }] });
    if (!request.url.endsWith("/chat/completions")) return json(response, { error: { message: "no such route" } }, 404);
    const { messages = [], tools = [], stream } = JSON.parse(text);
    const afterTool = messages.at(-1)?.role === "tool";
    const say = afterTool || tools.length === 0 ? OUTRO : INTRO;
    const call = !afterTool && tools.some((tool) => tool.function?.name === "execute");
    if (!stream) return json(response, completion(say));
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = (delta, finish = null, more = {}) =>
      response.write(`data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", model: MODEL, choices: [{ index: 0, delta, finish_reason: finish }], ...more })}\n\n`);
    send({ role: "assistant", content: "" });
    for (const word of say.match(/\S+\s*|\n/g)) {
      send({ content: word });
      await new Promise((done) => setTimeout(done, 15));
    }
    if (call) {
      send({ tool_calls: [{ index: 0, id: `call_${messages.length}`, type: "function", function: { name: "execute", arguments: "" } }] });
      send({ tool_calls: [{ index: 0, function: { arguments: JSON.stringify({ command: COMMAND }) } }] });
    }
    send({}, call ? "tool_calls" : "stop");
    response.write(`data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", model: MODEL, choices: [], usage: { prompt_tokens: 420, completion_tokens: 40, total_tokens: 460 } })}\n\n`);
    response.end("data: [DONE]\n\n");
  });
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () =>
      done({ url: `http://127.0.0.1:${server.address().port}/v1`, close: () => (server.closeAllConnections(), server.close()) }),
    );
  });
}

function json(response, value, status = 200) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function completion(content) {
  return { id: "c1", object: "chat.completion", model: MODEL, choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } };
}
