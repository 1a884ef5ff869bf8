/** Terminal colours in the two themes. Text is readable on the background; the rest is left to programs. */
import type { ITheme } from "@xterm/xterm";

const LIGHT: ITheme = {
  background: "#fbfaf7", foreground: "#211f19", cursor: "#9a541b", cursorAccent: "#fbfaf7", selectionBackground: "#d9d7d2",
  black: "#211f19", red: "#ba1e20", green: "#1f6b41", yellow: "#7a5b00", blue: "#1f5a93", magenta: "#aa167d", cyan: "#0f6a70", white: "#716f67",
  brightBlack: "#54534b", brightRed: "#a01418", brightGreen: "#175534", brightYellow: "#654b00", brightBlue: "#174a7c", brightMagenta: "#8d0f67", brightCyan: "#0a565b", brightWhite: "#54534b",
};
const DARK: ITheme = {
  background: "#0e1114", foreground: "#e9e8e3", cursor: "#eba25f", cursorAccent: "#0e1114", selectionBackground: "#2d3137",
  black: "#2d3137", red: "#f57569", green: "#7bcc98", yellow: "#e0b860", blue: "#83b4ea", magenta: "#f47ac3", cyan: "#6fcbd1", white: "#d4d3cd",
  brightBlack: "#94928b", brightRed: "#ff9489", brightGreen: "#9ce0b3", brightYellow: "#f0cf84", brightBlue: "#a8ccf5", brightMagenta: "#ff9dd6", brightCyan: "#97e1e6", brightWhite: "#ffffff",
};

const system = () => matchMedia("(prefers-color-scheme: dark)");

export function terminalTheme(): ITheme {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : system().matches;
  return dark ? DARK : LIGHT;
}

/** Calls back when the theme may have changed. */
export function onThemeChange(listener: () => void): () => void {
  const media = system();
  const watcher = new MutationObserver(listener);
  watcher.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  media.addEventListener("change", listener);
  return () => {
    watcher.disconnect();
    media.removeEventListener("change", listener);
  };
}
