/**
 * Bytes of a program as text for reading: characters that came in pieces are joined, escape sequences
 * left out, control characters and direction marks made visible. Nothing in it can act on the page.
 */
const ESC = "\u001b";
/** CSI, OSC and other strings up to their end, two-character escapes. An open one goes to the end. */
const SEQUENCES = new RegExp(
  `${ESC}(?:\\[[0-?]*[ -/]*(?:[@-~]|$)|[\\]PX^_](?:[^\\u0007${ESC}]|${ESC}(?!\\\\))*(?:\\u0007|${ESC}\\\\|$)|[ -/]*(?:[0-~]|$))`,
  "g",
);
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
/** Marks that reorder what is read. */
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function readable(text: string): string {
  return text
    .replace(SEQUENCES, "")
    .replace(/\r+\n/g, "\n")
    .replace(/[^\n]*\r(?=[^\n])/g, "")
    .replace(/\r/g, "\n")
    .replace(CONTROLS, (c) => (c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\ufffd"))
    .replace(DIRECTIONS, (c) => `<U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
}

export interface Cut {
  /** The first byte that belongs to this page. */
  from: number;
  /** One past the last byte that does. */
  to: number;
}

/** How far a page may be shortened so that it ends with a whole line. */
const LINE_SLACK = 8 * 1024;

/**
 * The part of a page that is shown: not the end of a line or character that began before it, and no
 * line cut in the middle unless it is longer than the slack.
 */
export function cutPage(bytes: Uint8Array, startsInLine: boolean, isLast: boolean): Cut {
  let from = 0;
  if (startsInLine) {
    const line = bytes.subarray(0, LINE_SLACK).indexOf(10);
    from = line >= 0 ? line + 1 : characterStart(bytes, 0);
  }
  if (isLast) return { from, to: bytes.length };
  const line = bytes.lastIndexOf(10);
  const to = line >= from && bytes.length - line <= LINE_SLACK ? line + 1 : characterEnd(bytes);
  return { from, to: Math.max(from, to) };
}

/** The first place from `at` on where a character begins. */
function characterStart(bytes: Uint8Array, at: number): number {
  let start = at;
  while (start < bytes.length && start < at + 4 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return start;
}

/** The end of the last whole character. */
function characterEnd(bytes: Uint8Array): number {
  const end = bytes.length;
  for (let back = 1; back <= Math.min(4, end); back += 1) {
    const byte = bytes[end - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte < 0x80 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? end - back : end;
  }
  return end;
}

export interface Match {
  /** None behind a gap, where nobody can know. */
  line: number | null;
  offset: number;
  text: string;
  context: boolean;
}

/** The lines of a search: `number:offset: line`, with `-` for context; what is neither says something of its own. */
export function matchesOf(text: string): Array<Match | string> {
  return text
    .replace(/\n$/, "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const found = /^(\d+|\?)([:-])(\d+)\2 ?(.*)$/.exec(line);
      if (!found) return line;
      const [, number = "", mark, offset, rest = ""] = found;
      return { line: number === "?" ? null : Number(number), offset: Number(offset), text: readable(rest), context: mark === "-" };
    });
}
