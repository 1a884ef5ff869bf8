/**
 * xterm.js as this page uses it. It draws; it never acts by itself: what a program asks the terminal
 * is answered only when `answers()` says so and the bytes are new, links and the clipboard are offered
 * to the page, and the size is the server's.
 */
import "@xterm/xterm/css/xterm.css";
import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal, type IFunctionIdentifier } from "@xterm/xterm";
import { t } from "../text/en";
import type { PtySink } from "../live/pty-live";
import { clipboardText, harmless, plainTitle } from "./paste";
import { onThemeChange, terminalTheme } from "./theme";

const SCROLLBACK = 10_000;
const FONT = '"IBM Plex Mono", ui-monospace, monospace';

export interface ScreenEvents {
  /** Typed by a hand or answered by the terminal. */
  onData: (data: string) => void;
  onBinary: (data: string) => void;
  /** Something was pasted; bracketed: the program tells it from typing. */
  onPaste: (text: string, bracketed: boolean) => void;
  /** The window has room for this size. */
  onRoom: (cols: number, rows: number) => void;
  onTitle: (title: string) => void;
  /** A program wants this on the clipboard. */
  onClipboard: (text: string) => void;
  onLink: (target: string) => void;
  /** The keys that lead out of the terminal. */
  onLeave: () => void;
  onSearch: () => void;
  onSelection: (has: boolean) => void;
  /** Whether this page answers what programs ask. */
  answers: () => boolean;
}

/** Sequences that make a terminal answer: DA1 to 3, DSR, DECRQM, window reports, XTVERSION, DECREQTPARM. */
const QUERIES: readonly IFunctionIdentifier[] = [
  { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" },
  { final: "n" }, { prefix: "?", final: "n" },
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" },
  { final: "t" }, { prefix: ">", final: "q" }, { final: "x" }, { prefix: "?", final: "u" },
];
/** DECRQSS, XTGETTCAP. */
const STRING_QUERIES: readonly IFunctionIdentifier[] = [{ intermediates: "$", final: "q" }, { intermediates: "+", final: "q" }];
/** Colours: asked for with `?`. */
const COLOURS = [4, 5, 10, 11, 12, 13, 14, 17, 19];

export class TerminalScreen implements PtySink {
  readonly terminal: Terminal;
  private readonly fit = new FitAddon();
  /** Of each write that is not parsed yet: may it be answered? */
  private readonly lives: boolean[] = [];
  private readonly undo: Array<() => void> = [];

  constructor(private readonly events: ScreenEvents) {
    this.terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: false,
      fontFamily: FONT,
      fontSize: 13,
      lineHeight: 1.2,
      minimumContrastRatio: 4.5,
      scrollback: SCROLLBACK,
      theme: terminalTheme(),
      // A program's own link: its text may say anything, so the page shows where it leads.
      linkHandler: { activate: (_, target) => events.onLink(target), allowNonHttpProtocols: false },
    });
    const { terminal } = this;
    terminal.loadAddon(this.fit);
    terminal.loadAddon(new Unicode11Addon());
    terminal.loadAddon(new WebLinksAddon((_, target) => events.onLink(target)));
    terminal.unicode.activeVersion = "11";
    terminal.onData((data) => events.onData(data));
    terminal.onBinary((data) => events.onBinary(data));
    terminal.onTitleChange((title) => events.onTitle(plainTitle(title)));
    terminal.onSelectionChange(() => events.onSelection(terminal.hasSelection()));
    terminal.attachCustomKeyEventHandler((event) => this.key(event));
    this.guard();
  }

  /** Draws into `host` and follows its size. */
  open(host: HTMLElement): void {
    const { terminal } = this;
    terminal.open(host);
    terminal.textarea?.setAttribute("aria-label", t.terminals.label);
    const onPaste = (event: ClipboardEvent) => {
      event.preventDefault();
      event.stopPropagation();
      this.events.onPaste(harmless(event.clipboardData?.getData("text/plain") ?? ""), terminal.modes.bracketedPasteMode);
    };
    host.addEventListener("paste", onPaste, true);
    const room = () => {
      const size = this.room();
      if (size) this.events.onRoom(size.cols, size.rows);
    };
    const sizes = new ResizeObserver(room);
    sizes.observe(host.parentElement ?? host);
    const unwatch = onThemeChange(() => (terminal.options.theme = terminalTheme()));
    this.undo.push(
      () => host.removeEventListener("paste", onPaste, true),
      () => sizes.disconnect(),
      unwatch,
    );
    void this.measure(room);
  }

  /** Cells are measured again once the letters are there. */
  private async measure(room: () => void): Promise<void> {
    await document.fonts.load(`13px ${FONT}`);
    this.terminal.options.fontFamily = `${FONT} `;
    this.terminal.options.fontFamily = FONT;
    room();
  }

  /** The size that the window has room for; none: it is not shown. */
  room(): { cols: number; rows: number } | null {
    const size = this.fit.proposeDimensions();
    if (!size || !Number.isFinite(size.cols) || !Number.isFinite(size.rows)) return null;
    return { cols: Math.max(20, size.cols), rows: Math.max(4, size.rows) };
  }

  reset(cols: number, rows: number): void {
    this.terminal.reset();
    this.terminal.resize(cols, rows);
  }

  resize(cols: number, rows: number): void {
    // In its place in the stream: what was written before is drawn at the old size.
    this.terminal.write("", () => this.terminal.resize(cols, rows));
  }

  write(bytes: Uint8Array, live: boolean, done: () => void): void {
    this.lives.push(live);
    this.terminal.write(bytes, () => {
      this.lives.shift();
      done();
    });
  }

  paste(text: string): void {
    this.terminal.paste(text);
  }

  /** What is selected, or else what is shown. */
  text(): string {
    const { terminal } = this;
    if (terminal.hasSelection()) return terminal.getSelection();
    const buffer = terminal.buffer.active;
    const lines = Array.from({ length: terminal.rows }, (_, row) => buffer.getLine(buffer.viewportY + row)?.translateToString(true) ?? "");
    return lines.join("\n").trimEnd();
  }

  focus(): void {
    this.terminal.focus();
  }

  dispose(): void {
    for (const undo of this.undo) undo();
    this.terminal.dispose();
  }

  /** Whether what is parsed now may be answered. */
  private isAnswered(): boolean {
    return this.lives[0] === true && this.events.answers();
  }

  /** An answer becomes input: a viewer that only looks, and a replay, give none. */
  private guard(): void {
    const { parser } = this.terminal;
    const swallow = () => !this.isAnswered();
    for (const id of QUERIES) parser.registerCsiHandler(id, swallow);
    for (const id of STRING_QUERIES) parser.registerDcsHandler(id, swallow);
    for (const id of COLOURS) parser.registerOscHandler(id, (data) => data.includes("?") && !this.isAnswered());
    parser.registerOscHandler(52, (data) => {
      const text = this.lives[0] === true ? clipboardText(data) : null;
      if (text) this.events.onClipboard(text);
      return true;
    });
  }

  /** Only chords with Ctrl and Shift are the page's; everything else is the program's. */
  private key(event: KeyboardEvent): boolean {
    if (!event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) return true;
    const act = { Escape: this.events.onLeave, F6: this.events.onLeave, KeyF: this.events.onSearch, KeyC: () => this.copy() }[event.code];
    if (!act) return true;
    event.preventDefault();
    if (event.type === "keydown") act();
    return false;
  }

  private copy(): void {
    if (this.terminal.hasSelection()) void navigator.clipboard?.writeText(this.terminal.getSelection());
  }
}
