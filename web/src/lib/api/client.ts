import { asProblem, problemOf } from "./problem";

export const BASE = "/api/v1";

export interface RequestOptions {
  body?: unknown;
  query?: Record<string, string | number | boolean | null | undefined>;
  signal?: AbortSignal;
  /** A key that makes a repeated create harmless; made here when the method is POST. */
  idempotencyKey?: string;
}

/** One call. Resolves with the body, rejects with a `Problem` and nothing else. */
export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-Holdfast-CSRF"] = "1";
  if (method === "POST") headers["Idempotency-Key"] = options.idempotencyKey ?? randomKey();
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(BASE + path + search(options.query), {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      credentials: "same-origin",
    });
    const text = await response.text();
    const body = parse(text);
    if (!response.ok) throw problemOf(response.status, body, response.headers.get("x-request-id"));
    return body as T;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw asProblem(error);
  }
}

/** 128 random bits. `crypto.randomUUID` is missing where the page is not served over TLS. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function search(query: RequestOptions["query"]): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined) params.set(key, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

function parse(text: string): unknown {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
