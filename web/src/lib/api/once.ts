import { useState } from "react";
import { randomKey } from "./client";

/** Keys for creates that a person may repeat after a failure: the same text is never said twice. */
export class OnceKeys {
  private last: { text: string; key: string } | null = null;

  /** The key of an attempt to say `text`; the same one until it has worked. */
  keyFor(text: string): string {
    if (this.last?.text !== text) this.last = { text, key: randomKey() };
    return this.last.key;
  }

  worked(): void {
    this.last = null;
  }
}

export function useOnceKeys(): OnceKeys {
  return useState(() => new OnceKeys())[0];
}
