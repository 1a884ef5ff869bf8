import { afterEach, describe, expect, it, vi } from "vitest";
import { request } from "./client";
import { asProblem, Problem, problemOf } from "./problem";

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: string, headers: Record<string, string> = {}) {
  const fetch = vi.fn(async () => new Response(status === 204 ? null : body, { status, headers }));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

describe("a call", () => {
  it("rejects with the problem that the server told", async () => {
    answer(422, JSON.stringify({ code: "invalid", title: "Faults", detail: "d", request_id: "req_1", errors: [{ pointer: "/name", detail: "too long" }] }));
    const error = await request("POST", "/x", { body: {} }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(Problem);
    const problem = error as Problem;
    expect([problem.code, problem.requestId, problem.field("name"), problem.field("other")]).toEqual(["invalid", "req_1", "too long", null]);
  });

  it("makes a problem of any other answer, with the id of the header", async () => {
    answer(502, "<html>bad gateway</html>", { "x-request-id": "req_2" });
    const problem = asProblem(await request("GET", "/x").catch((e: unknown) => e));
    expect([problem.code, problem.status, problem.requestId]).toEqual(["http_502", 502, "req_2"]);
  });

  it("says that there is no connection", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => Promise.reject(new TypeError("Failed to fetch"))));
    const problem = asProblem(await request("GET", "/x").catch((e: unknown) => e));
    expect([problem.code, problem.offline]).toEqual(["network", true]);
  });

  it("shows its origin on every write and a key on every create", async () => {
    const fetch = answer(201, "{}");
    await request("POST", "/chats", { body: { a: 1 }, idempotencyKey: "k" });
    await request("DELETE", "/x");
    await request("GET", "/x", { query: { a: "1 2", b: null } });
    const calls = fetch.mock.calls as unknown as Array<[string, RequestInit]>;
    const headers = calls.map(([, init]) => init.headers as Record<string, string>);
    expect(headers[0]).toMatchObject({ "X-Holdfast-CSRF": "1", "Idempotency-Key": "k", "Content-Type": "application/json" });
    expect(headers[1]).toMatchObject({ "X-Holdfast-CSRF": "1" });
    expect(headers[2]).not.toHaveProperty("X-Holdfast-CSRF");
    expect(calls[2]?.[0]).toBe("/api/v1/x?a=1+2");
  });

  it("ignores faults of a problem document that are not as agreed", () => {
    expect(problemOf(400, { code: 7, errors: [1, { pointer: "/a" }], title: null }, null).fields).toEqual([]);
  });
});
