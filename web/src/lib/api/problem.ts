import { t } from "../text/en";

/** The one error of every call: a problem document, or what stands for one when none came. */
export class Problem extends Error {
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly requestId: string | null;
  readonly hint: string | null;
  readonly retryAfterMs: number | null;
  readonly fields: ReadonlyArray<{ pointer: string; detail: string }>;

  constructor(init: ProblemInit) {
    super(init.detail || init.title);
    this.name = "Problem";
    this.code = init.code;
    this.status = init.status;
    this.title = init.title;
    this.detail = init.detail ?? "";
    this.requestId = init.requestId ?? null;
    this.hint = init.hint ?? null;
    this.retryAfterMs = init.retryAfterMs ?? null;
    this.fields = init.fields ?? [];
  }

  /** The remark on one field of a form, by the last step of its JSON pointer. */
  field(name: string): string | null {
    return this.fields.find((f) => f.pointer.split("/").pop() === name)?.detail ?? null;
  }

  /** The server could not be reached at all. */
  get offline(): boolean {
    return this.code === "network";
  }
}

interface ProblemInit {
  code: string;
  status: number;
  title: string;
  detail?: string;
  requestId?: string | null;
  hint?: string | null;
  retryAfterMs?: number | null;
  fields?: Array<{ pointer: string; detail: string }>;
}

/** Reads a problem out of any answer: a problem document, another body, or none. */
export function problemOf(status: number, body: unknown, requestId: string | null): Problem {
  const doc = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const text = (key: string) => (typeof doc[key] === "string" ? (doc[key] as string) : null);
  return new Problem({
    code: text("code") ?? `http_${status}`,
    status,
    title: text("title") ?? t.problem.answered(status),
    detail: text("detail") ?? "",
    requestId: text("request_id") ?? requestId,
    hint: text("hint"),
    retryAfterMs: typeof doc.retry_after_ms === "number" ? doc.retry_after_ms : null,
    fields: Array.isArray(doc.errors) ? doc.errors.filter(isField) : [],
  });
}

/** Any thrown value as a problem. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const cause = error instanceof Error ? error.message : String(error);
  // `fetch` rejects with a TypeError when there is no connection.
  if (error instanceof TypeError) {
    return new Problem({ code: "network", status: 0, title: t.problem.network, detail: t.problem.networkText });
  }
  return new Problem({ code: "page_fault", status: 0, title: t.problem.page, detail: cause });
}

function isField(value: unknown): value is { pointer: string; detail: string } {
  const field = value as { pointer?: unknown; detail?: unknown } | null;
  return typeof field?.pointer === "string" && typeof field.detail === "string";
}
