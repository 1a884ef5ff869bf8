/** Text from the clipboard as it may be typed: without the characters that could act by themselves. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const ACTING = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

export function harmless(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(ACTING, "");
}

/** Lines of a paste, not counting an empty one at the end. */
export function lineCount(text: string): number {
  return text.replace(/\n$/, "").split("\n").length;
}

export function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, " ");
}

/** Where a link of a program may lead; null: nowhere. */
export function linkTarget(text: string): string | null {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** A window title of a program: plain text, not long. */
export function plainTitle(title: string): string {
  return Array.from(title.replace(ACTING, "").replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\n\t]/g, "")).slice(0, 256).join("");
}

/** The text that a program wants on the clipboard (OSC 52); null: it asks for what is there, or too much. */
export function clipboardText(payload: string): string | null {
  const data = payload.slice(payload.indexOf(";") + 1);
  if (data === "?" || data === "" || data.length > 100_000) return null;
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
  } catch {
    return null;
  }
}
