/** Pages of an output, cut where lines end. Pure but for the reads. */
import { readOutput, type OutputPage } from "../../../lib/api/output";
import { cutPage, readable } from "../../../lib/text/output";

export const PAGE_BYTES = 64 * 1024;
/** Room before a page, so that a whole line can be its first. */
const SLACK = 8 * 1024;

export interface Shown {
  text: string;
  /** `[from, to)` is what the text stands for. */
  from: number;
  to: number;
  total: number;
  droppedFrom: number;
  droppedTo: number;
}

type Read = (offset: number, limit: number) => Promise<OutputPage>;

/** The page that begins at `offset`, or at the first whole line behind it when it is in a line. */
export async function pageAt(read: Read, offset: number, inLine: boolean): Promise<Shown> {
  return shown(await read(offset, PAGE_BYTES), inLine);
}

/** The page that ends at `end`. */
export async function pageBefore(read: Read, end: number, droppedFrom = 0, droppedTo = 0): Promise<Shown> {
  // What was dropped is a border: a page lies on one side of it.
  const lowest = end > droppedTo ? droppedTo : 0;
  const to = end > droppedFrom && end <= droppedTo ? droppedFrom : end;
  const from = Math.max(lowest, to - PAGE_BYTES);
  const page = await read(from, Math.max(1, to - from));
  const cut = cutPage(page.bytes, page.offset > lowest, true);
  return whole(page, cut.from, page.bytes.length);
}

/** The last page. */
export async function lastPage(read: Read): Promise<Shown> {
  const { total, droppedFrom, droppedTo } = await read(0, 1);
  return pageBefore(read, total, droppedFrom, droppedTo);
}

export function reader(path: string): Read {
  return (offset, limit) => readOutput(path, offset, limit);
}

/** Where a page that shows byte `offset` begins. */
export function startBefore(offset: number): number {
  return Math.max(0, offset - SLACK);
}

function shown(page: OutputPage, inLine: boolean): Shown {
  const isLast = page.next >= page.total || page.next === page.droppedFrom;
  const cut = cutPage(page.bytes, inLine, isLast);
  return whole(page, cut.from, cut.to);
}

function whole(page: OutputPage, from: number, to: number): Shown {
  const { offset, total, droppedFrom, droppedTo, bytes } = page;
  const text = readable(new TextDecoder().decode(bytes.subarray(from, to)));
  return { text, from: offset + from, to: offset + to, total, droppedFrom, droppedTo };
}
