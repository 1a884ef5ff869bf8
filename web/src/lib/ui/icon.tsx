/** Own glyphs: 16 px, 1.5 px strokes, drawn in the colour of the text. */
const GLYPHS = {
  inbox: "M2.5 9.5h3l1 2h3l1-2h3M2.5 9.5 4 3.5h8l1.5 6v3h-11z",
  workspace: "M2.5 3.5h11v7h-11zM5.5 13h5M8 10.5V13",
  settings: "M2.5 5h6M11.5 5h2M2.5 11h2M7.5 11h6M10 3.5v3M6 9.5v3",
  plus: "M8 3v10M3 8h10",
  chat: "M2.5 3.5h11v7.5H7L4 13.5V11H2.5z",
  terminal: "m3.5 5 3 3-3 3M8.5 11h4",
  output: "M3 4h10M3 7h10M3 10h6M11.5 9.5v3.5m-1.5-1.5 1.5 1.5 1.5-1.5",
  input: "M3 12h10M3 9h10M4.5 2.5v4m-1.5-1.500L4.500 6.500 6 5",
  list: "M3 4.5h1M6 4.5h7M3 8h1M6 8h7M3 11.5h1M6 11.5h7",
  signal: "M8.5 2 4 9h3.5L7 14l5-7H8.5z",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  write: "M4 2.5h5l3 3v3M4 2.5v11h4M13.5 9.5 10 13l-1.5.5.5-1.5z",
  edit: "m10.5 3 2.5 2.5L6 12.5l-3 .5.5-3z",
  folder: "M2.5 4h4l1.5 2h5.5v6.5h-11z",
  glob: "M8 3v10M3.7 5.5l8.6 5M12.3 5.5l-8.6 5",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.5 10.5l3 3",
  reader: "M3 6.5v3h2.500L9 12.500v-9L5.500 6.500zM11 6a3 3 0 0 1 0 4M12.500 4a6 6 0 0 1 0 8",
  think: "M3 8h.01M8 8h.01M13 8h.01",
  unknown: "M6 6a2 2 0 1 1 2.8 1.8c-.5.3-.8.7-.8 1.2v.5M8 12h.01",
  chevron: "m6 4 4 4-4 4",
  down: "M8 3v9m-3.5-3.5L8 12l3.5-3.5",
  attach: "m12.500 7.500-5 5a2.800 2.800 0 0 1-4-4l5.500-5.500a1.900 1.900 0 0 1 2.700 2.700L6.200 11.200a.9.9 0 0 1-1.300-1.300l4.600-4.600",
  back: "M10 3 5 8l5 5",
  stop: "M4.5 4.5h7v7h-7z",
  send: "M8 13V3.5M4 7.5l4-4 4 4",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  check: "m3 8.5 3.5 3.5L13 4.5",
  close: "m4 4 8 8M12 4l-8 8",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  archive: "M2.5 3h11v3h-11zM3.5 6v7h9V6M6.5 8.5h3",
  help: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM6.3 6.3a1.7 1.7 0 1 1 2.4 1.6c-.5.2-.7.5-.7 1.1M8 11h.01",
  lock: "M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  key: "M6 10.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8.5 8.5l5 .01V11M11.5 8.5V10",
  retry: "M13 8a5 5 0 1 1-1.5-3.5M13 2.5v3h-3",
  exit: "M6.5 2.5h-4v11h4M6 8h7.5M10.500 5l3 3-3 3",
  warn: "M8 2.5 14 13H2zM8 6.5v3M8 11.3h.01",
  anchor: "M8 2v6M8 8c0 3-2 3.5-3 6M8 8c0 3 2 3.5 3 6M8 9v5M8 4.5c2 0 3-1 3.5-2.5M8 6.5C6 6.5 5 5.500 4.500 4",
} as const;

export type IconName = keyof typeof GLYPHS;

export const ICON_NAMES = Object.keys(GLYPHS) as IconName[];

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      className="icon"
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={GLYPHS[name]} />
    </svg>
  );
}
