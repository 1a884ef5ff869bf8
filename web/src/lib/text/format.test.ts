import { describe, expect, it } from "vitest";
import { age, bytes, count, duration, firstLine, middle, plural } from "./format";

describe("numbers and times", () => {
  it.each([
    [0, "0 ms"], [0.42, "0.4 ms"], [12.4, "12 ms"], [950, "950 ms"], [1_240, "1.2 s"], [42_000, "42 s"],
    [185_000, "3 min 5 s"], [180_000, "3 min"], [7_440_000, "2 h 4 min"],
  ])("%d ms is %s", (ms, text) => expect(duration(ms)).toBe(text));

  it.each([[999, "999"], [12_400, "12.4k"], [200_000, "200k"], [1_000_000, "1M"]])("%d is %s", (n, text) =>
    expect(count(n)).toBe(text));

  it.each([[812, "812 B"], [12_700, "12.4 KiB"], [1_258_291, "1.2 MiB"]])("%d bytes are %s", (n, text) =>
    expect(bytes(n)).toBe(text));

  it("tells ages in the shortest words", () => {
    const now = Date.parse("2026-01-08T12:00:00Z");
    expect(["2026-01-08T11:59:30Z", "2026-01-08T11:20:00Z", "2026-01-08T02:00:00Z", "2026-01-05T12:00:00Z", "no"].map((iso) => age(iso, now)))
      .toEqual(["now", "40 min", "10 h", "3 d", ""]);
  });

  it("keeps the file name of a long path", () => {
    expect(middle("a/b.rs")).toBe("a/b.rs");
    expect(middle(`${"deep/".repeat(20)}file.rs`, 30)).toMatch(/^deep\/.*…\/file\.rs$/);
    expect(middle("x".repeat(90), 20)).toHaveLength(20);
  });

  it("shows the first line and counts words", () => {
    expect(firstLine("\n a b\nc")).toBe("a b");
    expect(firstLine("abcdef", 4)).toBe("abc…");
    expect([plural(1, "file"), plural(3, "match", "matches")]).toEqual(["1 file", "3 matches"]);
  });
});
