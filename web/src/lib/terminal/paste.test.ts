import { describe, expect, it } from "vitest";
import { clipboardText, harmless, lineCount, linkTarget, oneLine, plainTitle } from "./paste";

describe("what is pasted", () => {
  it("cannot end the brackets around it, nor press keys", () => {
    expect(harmless("ls\u001b[201~\u0003\u0004rm\r\n-rf\u009b")).toBe("ls[201~rm\n-rf");
    expect(harmless("tab\tand\nline")).toBe("tab\tand\nline");
  });

  it("can be made one line", () => {
    expect([lineCount("a\nb\n"), lineCount("a"), lineCount("a\n")]).toEqual([2, 1, 1]);
    expect(oneLine(" a \\\n   b\n")).toBe("a \\ b");
  });
});

describe("what a program says of the page around it", () => {
  it("links to the web and nowhere else", () => {
    expect(linkTarget("https://example.org/a b")).toBe("https://example.org/a%20b");
    for (const bad of ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "ssh://x", "nonsense", ""]) {
      expect(linkTarget(bad), bad).toBeNull();
    }
  });

  it("titles itself in plain text of a bounded length", () => {
    expect(plainTitle("vim\u0007 \u202egnp.exe\n")).toBe("vim gnp.exe");
    expect(plainTitle("x".repeat(1_000))).toHaveLength(256);
  });

  it("offers text for the clipboard and never asks for what is there", () => {
    expect(clipboardText("c;Z3LDvMOfZQ==")).toBe("grüße");
    for (const bad of ["c;?", "c;", "c;%%%", `c;${"A".repeat(200_000)}`]) expect(clipboardText(bad), bad.slice(0, 9)).toBeNull();
  });
});
