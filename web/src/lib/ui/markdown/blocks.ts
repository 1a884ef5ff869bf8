/** Markdown as blocks. While a text grows, only its open end is parsed again. */
import { lexer, type Token } from "marked";

export interface Blocks {
  text: string;
  tokens: readonly Token[];
}

export const NO_BLOCKS: Blocks = { text: "", tokens: [] };

/** Parses, reusing every closed block of an earlier parse of the same growing text. */
export function parseBlocks(text: string, before: Blocks = NO_BLOCKS): Blocks {
  if (text === before.text) return before;
  if (!text.startsWith(before.text) || before.tokens.length < 2) return { text, tokens: lex(text) };
  // The last block, and the blank after it, may still change their kind.
  let keep = before.tokens.length;
  while (keep > 0 && before.tokens[keep - 1]?.type === "space") keep -= 1;
  keep = Math.max(0, keep - 1);
  const closed = before.tokens.slice(0, keep);
  const offset = closed.reduce((sum, token) => sum + token.raw.length, 0);
  // The lexer normalises some white space; if lengths do not add up, all of it is parsed.
  if (text.slice(0, offset) !== closed.map((token) => token.raw).join("")) return { text, tokens: lex(text) };
  return { text, tokens: [...closed, ...lex(text.slice(offset))] };
}

function lex(text: string): Token[] {
  return lexer(text, { gfm: true, breaks: false });
}
