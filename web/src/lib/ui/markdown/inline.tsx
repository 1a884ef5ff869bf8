import type { Token } from "marked";
import { Fragment, type ReactNode } from "react";

export function Inline({ tokens }: { tokens: readonly Token[] }): ReactNode {
  return tokens.map((token, i) => <Fragment key={i}>{inline(token)}</Fragment>);
}

function inline(token: Token): ReactNode {
  const inner = () => <Inline tokens={("tokens" in token && token.tokens) || []} />;
  switch (token.type) {
    case "strong":
      return <strong>{inner()}</strong>;
    case "em":
      return <em>{inner()}</em>;
    case "del":
      return <del>{inner()}</del>;
    case "codespan":
      return <code>{token.text as string}</code>;
    case "br":
      return <br />;
    case "link":
      return link(token.href as string, inner());
    case "image":
      // Another host is never asked for a picture: the reader may follow the link.
      return link(token.href as string, (token.text as string) || (token.href as string));
    case "text":
      return token.tokens ? inner() : unescape(token.text as string);
    case "escape":
      return unescape(token.text as string);
    default:
      return token.raw;
  }
}

function link(href: string, text: ReactNode): ReactNode {
  const safe = safeHref(href);
  if (!safe) return text;
  return (
    <a className="link" href={safe} target="_blank" rel="noreferrer noopener">
      {text}
    </a>
  );
}

/** Web and mail addresses only; anything else stays text. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** Character references, which the lexer leaves for HTML to resolve. */
export function unescape(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,6}));/gi, (whole, dec, hex, name) => {
    if (name) return NAMED[(name as string).toLowerCase()] ?? whole;
    const code = dec ? Number(dec) : Number.parseInt(hex as string, 16);
    return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
