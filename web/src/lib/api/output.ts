/** Raw output of a process, page by page. The headers say where a page stands. */
import { BASE } from "./client";
import { asProblem, problemOf } from "./problem";

export interface OutputPage {
  bytes: Uint8Array;
  /** Of the first byte. */
  offset: number;
  /** One past the last byte. */
  next: number;
  /** Bytes written so far. */
  total: number;
  /** What is no longer kept: `[droppedFrom, droppedTo)`. */
  droppedFrom: number;
  droppedTo: number;
}

export function outputPath(workspace: string, process: string): string {
  return `${BASE}/workspaces/${encodeURIComponent(workspace)}/processes/${encodeURIComponent(process)}/output`;
}

/** At most `limit` bytes from `offset` on. */
export async function readOutput(path: string, offset: number, limit: number): Promise<OutputPage> {
  let response: Response;
  try {
    response = await fetch(`${path}?offset=${offset}&limit=${limit}`, { credentials: "same-origin" });
    const number = (name: string) => Number(response.headers.get(`holdfast-${name}`) ?? 0);
    if (response.ok) {
      return {
        bytes: new Uint8Array(await response.arrayBuffer()),
        offset: number("offset"),
        next: number("next-offset"),
        total: number("total"),
        droppedFrom: number("dropped-from"),
        droppedTo: number("dropped-to"),
      };
    }
  } catch (error) {
    throw asProblem(error);
  }
  throw problemOf(response.status, await response.json().catch(() => null), response.headers.get("x-request-id"));
}
