import { describe, expect, it } from "vitest";
import { NO_BLOCKS, parseBlocks } from "./blocks";
import { safeHref, unescape } from "./inline";
import { drawn } from "../testing";
import { Markdown } from "./markdown";

const html = (text: string) => drawn(<Markdown text={text} />);

const SAMPLE = `# Title

Some *text* with \`code\` and a [link](https://example.org).

- one
- two

  with a second paragraph

\`\`\`rust
fn main() {}

// blank line above
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

1. first
2. second

> quoted

the end`;

describe("markdown", () => {
  it("is the same whether it comes at once or in pieces of any size", () => {
    const whole = parseBlocks(SAMPLE).tokens.map((token) => [token.type, token.raw]);
    for (const size of [1, 3, 7, 40]) {
      let blocks = NO_BLOCKS;
      for (let end = size; end < SAMPLE.length + size; end += size) blocks = parseBlocks(SAMPLE.slice(0, end), blocks);
      expect(blocks.tokens.map((token) => [token.type, token.raw])).toEqual(whole);
    }
  });

  it("keeps the closed blocks of a growing text as they are", () => {
    const before = parseBlocks("first\n\nsecond\n\nthi");
    const after = parseBlocks("first\n\nsecond\n\nthird", before);
    expect(after.tokens[0]).toBe(before.tokens[0]);
    expect(after.tokens[2]).toBe(before.tokens[2]);
  });

  it("shows HTML as it was written", () => {
    const shown = html('<script>alert(1)</script>\n\ntext <img src=x onerror="y"> end');
    expect(shown).not.toMatch(/<script|<img/);
    expect(shown).toContain("&lt;script&gt;");
  });

  it("never loads a picture and never links to a script", () => {
    expect(html("![alt](https://example.org/a.png)")).not.toContain("<img");
    expect(html("[x](javascript:alert(1))")).not.toContain("href");
    expect([safeHref("javascript:1"), safeHref("data:text/html,1"), safeHref("/local")]).toEqual([null, null, null]);
    expect(safeHref("https://example.org/a?b=1")).toBe("https://example.org/a?b=1");
  });

  it("resolves character references once", () => {
    expect(unescape("a &amp;lt; b &#65; &#x42; &nope; &#xD800;")).toBe("a &lt; b A B &nope; &#xD800;");
  });

  it("draws tables, tasks and fences", () => {
    expect(html(SAMPLE)).toContain("<td>1</td>");
    expect(html("- [x] done")).toContain('type="checkbox"');
    expect(html("```js\nlet a\n```")).toContain("<figcaption>");
  });

  it("keeps a model's headings below the page's own", () => {
    expect(html("# a")).toContain("<h3");
    expect(html("###### a")).toContain("<h6");
  });
});
