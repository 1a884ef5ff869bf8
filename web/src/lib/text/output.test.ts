import { describe, expect, it } from "vitest";
import { cutPage, matchesOf, readable } from "./output";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("what a program wrote, as text", () => {
  it.each([
    ["colours", "\u001b[1;31merror\u001b[0m: no", "error: no"],
    ["a title", "a\u001b]0;evil title\u0007b", "ab"],
    ["a clipboard write", "a\u001b]52;c;ZXZpbA==\u001b\\b", "ab"],
    ["a string without end", "a\u001bPq#0;2;0", "a"],
    ["a sequence cut at the end", "a\u001b[38;5", "a"],
    ["a character set", "\u001b(0x\u001b(B", "x"],
    ["lines of DOS", "a\r\nb\r\n", "a\nb\n"],
    ["a progress bar", "10 %\r50 %\r100 %\ndone\n", "100 %\ndone\n"],
    ["control characters", "a\u0000b\u0007c\u009b", "a␀b␇c\ufffd"],
    ["direction marks", "safe\u202egnp.exe", "safe<U+202E>gnp.exe"],
    ["tabs and lines", "a\tb\n", "a\tb\n"],
  ])("%s", (_, raw, shown) => {
    expect(readable(raw)).toBe(shown);
  });
});

describe("a page of output", () => {
  it("ends after a whole line and begins with one", () => {
    const page = bytes("st of a line\nwhole\nhalf of an");
    expect(cutPage(page, true, false)).toEqual({ from: 13, to: 19 });
    expect(cutPage(page, false, true)).toEqual({ from: 0, to: page.length });
  });

  it("never splits a character of a line that is too long", () => {
    const page = bytes("ü".repeat(10_000));
    expect(cutPage(page.subarray(0, 9_999), false, false).to).toBe(9_998);
    expect(cutPage(page.subarray(1), true, false).from).toBe(1);
    expect(cutPage(bytes("€".repeat(9_000)).subarray(0, 20_000), false, false).to).toBe(19_998);
  });

  it("moves on even where no byte is text", () => {
    const page = new Uint8Array(9_000).fill(0x80);
    const { from, to } = cutPage(page, true, false);
    expect(to).toBeGreaterThan(from);
  });
});

describe("lines of a search", () => {
  it("are read with their number, offset and kind", () => {
    expect(matchesOf("12:340: a:1: b\n13-352- c\n?:900: d\n[7 bytes]\n")).toEqual([
      { line: 12, offset: 340, text: "a:1: b", context: false },
      { line: 13, offset: 352, text: "c", context: true },
      { line: null, offset: 900, text: "d", context: false },
      "[7 bytes]",
    ]);
  });
});
