import type { Token, Tokens } from "marked";
import { memo, useRef, type ReactNode } from "react";
import { CopyButton } from "../button";
import { NO_BLOCKS, parseBlocks, type Blocks } from "./blocks";
import { Inline, unescape } from "./inline";

/** A text in Markdown as elements: never as HTML. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const before = useRef<Blocks>(NO_BLOCKS);
  const blocks = parseBlocks(text, before.current);
  before.current = blocks;
  return (
    <div className="prose">
      {blocks.tokens.map((token, i) => (
        <Block key={i} token={token} raw={token.raw} />
      ))}
    </div>
  );
});

/** A closed block never renders again: its token is the same object. */
const Block = memo(
  function Block({ token }: { token: Token; raw: string }): ReactNode {
    return block(token);
  },
  (a, b) => a.token === b.token || (a.token.type === b.token.type && a.raw === b.raw),
);

function block(token: Token): ReactNode {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return heading(token as Tokens.Heading);
    case "paragraph":
      return (
        <p>
          <Inline tokens={token.tokens ?? []} />
        </p>
      );
    case "code":
      return <CodeBlock code={token as Tokens.Code} />;
    case "blockquote":
      return <blockquote>{(token.tokens ?? []).map(keyed)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "text":
      return token.tokens ? <Inline tokens={token.tokens} /> : unescape(token.text as string);
    default:
      // HTML and whatever a newer parser knows: shown as it was written.
      return <p>{token.raw}</p>;
  }
}

function keyed(token: Token, i: number): ReactNode {
  return <Block key={i} token={token} raw={token.raw} />;
}

/** The page's own headings are above: a model's first level is the page's third. */
function heading(token: Tokens.Heading): ReactNode {
  const Tag = `h${Math.min(6, token.depth + 2)}` as "h3" | "h4" | "h5" | "h6";
  return (
    <Tag data-depth={token.depth}>
      <Inline tokens={token.tokens} />
    </Tag>
  );
}

function list(token: Tokens.List): ReactNode {
  const items = token.items.map((item, i) => (
    <li key={i} data-task={item.task || undefined}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} readOnly disabled aria-label={item.text} />}
      {item.tokens.filter((inner) => inner.type !== "checkbox").map(keyed)}
    </li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table): ReactNode {
  const cell = (item: Tokens.TableCell, i: number, Tag: "th" | "td") => (
    <Tag key={i} data-align={token.align[i] ?? undefined}>
      <Inline tokens={item.tokens} />
    </Tag>
  );
  return (
    <div className="table-wrap" tabIndex={0} role="group">
      <table>
        <thead>
          <tr>{token.header.map((item, i) => cell(item, i, "th"))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row, i) => (
            <tr key={i}>{row.map((item, j) => cell(item, j, "td"))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function CodeBlock({ code }: { code: Tokens.Code }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{code.lang?.split(/\s/, 1)[0]}</span>
        <CopyButton text={code.text} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{code.text}</code>
      </pre>
    </figure>
  );
}
