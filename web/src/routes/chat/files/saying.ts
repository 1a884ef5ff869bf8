import type { FilePart, PartBody } from "../../../lib/api/types";

/** What is sent for a text and the files beside it: pictures are looked at before the question. */
export function saying(text: string, files: readonly FilePart[]): PartBody[] {
  const named = files.map(({ attachment_id }): PartBody => ({ type: "file", attachment_id }));
  return text ? [...named, { type: "text", text }] : named;
}
