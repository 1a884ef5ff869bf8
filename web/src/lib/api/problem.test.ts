import { afterEach, describe, expect, it, vi } from "vitest";
import { api } from "./calls";
import { OnceKeys } from "./once";
import { asProblem, Problem, problemOf } from "./problem";

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, text: string, headers: Record<string, string> = {}) {
  const fetch = vi.fn(async (_request: Request) => new Response(status === 204 ? null : text, { status, headers }));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

const failure = (call: Promise<unknown>) => call.then(() => null, (error: unknown) => error);

describe("a call", () => {
  it("rejects with the problem that the server told", async () => {
    const faults = [{ pointer: "/name", detail: "too long" }];
    answer(422, JSON.stringify({ code: "invalid", title: "Faults", detail: "d", request_id: "req_1", errors: faults }));
    const error = await failure(api.createWorkspace({ name: "x" }));
    expect(error).toBeInstanceOf(Problem);
    const problem = error as Problem;
    expect([problem.code, problem.requestId]).toEqual(["invalid", "req_1"]);
    expect([problem.field("name"), problem.field("other")]).toEqual(["too long", null]);
  });

  it("makes a problem of any other answer, with the id of the header", async () => {
    answer(502, "<html>bad gateway</html>", { "x-request-id": "req_2" });
    const problem = asProblem(await failure(api.me()));
    expect([problem.code, problem.status, problem.requestId]).toEqual(["http_502", 502, "req_2"]);
  });

  it("says that there is no connection", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => Promise.reject(new TypeError("Failed to fetch"))));
    const problem = asProblem(await failure(api.me()));
    expect([problem.code, problem.offline]).toEqual(["network", true]);
  });

  it("shows its origin on every write and a key on every create", async () => {
    const fetch = answer(201, "{}");
    await api.createChat({ content: [{ type: "text", text: "a" }] }, "k");
    await api.createWorkspace({ name: "a" });
    await api.me();
    const requests = fetch.mock.calls.map(([request]) => request);
    const header = (name: string) => requests.map((request) => request.headers.get(name));
    expect(header("X-Holdfast-CSRF")).toEqual(["1", "1", null]);
    const [chosen, made, none] = header("Idempotency-Key");
    expect([chosen, none]).toEqual(["k", null]);
    expect(made).toMatch(/^[0-9a-f]{32}$/);
  });

  it("ignores faults of a problem document that are not as agreed", () => {
    expect(problemOf(400, { code: 7, errors: [1, { pointer: "/a" }], title: null }, null).fields).toEqual([]);
  });
});

describe("a create that is repeated", () => {
  it("keeps its key until it has worked", () => {
    const keys = new OnceKeys();
    const first = keys.keyFor("a");
    expect(keys.keyFor("a")).toBe(first);
    expect(keys.keyFor("b")).not.toBe(first);
    const second = keys.keyFor("b");
    keys.worked();
    expect(keys.keyFor("b")).not.toBe(second);
  });
});
