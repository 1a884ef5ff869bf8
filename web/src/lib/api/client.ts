import createClient from "openapi-fetch";
import { asProblem, problemOf } from "./problem";
import type { paths } from "./schema";

export const BASE = "/api/v1";

export const client = createClient<paths>({
  baseUrl: "",
  credentials: "same-origin",
  headers: { Accept: "application/json" },
  // Looked up at each call, so that tests can stand in.
  fetch: (request) => globalThis.fetch(request),
});

client.use({
  onRequest({ request }) {
    if (request.method === "GET") return;
    request.headers.set("X-Holdfast-CSRF", "1");
    // A create that was answered by nobody can be repeated without harm.
    if (request.method === "POST" && !request.headers.has("Idempotency-Key")) {
      request.headers.set("Idempotency-Key", randomKey());
    }
  },
});

interface Result<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer; rejects with a `Problem` and nothing else. */
export async function body<T>(call: Promise<Result<T>>): Promise<T> {
  let result: Result<T>;
  try {
    result = await call;
  } catch (error) {
    throw asProblem(error);
  }
  const { data, error, response } = result;
  if (!response.ok) throw problemOf(response.status, error, response.headers.get("x-request-id"));
  return data as T;
}

/** 128 random bits. `crypto.randomUUID` is missing where the page is not served over TLS. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
