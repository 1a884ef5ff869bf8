import { FILE_MAX_BYTES, FILES_MAX } from "../../../lib/api/upload";
import type { FilePart, FileView } from "../../../lib/api/types";
import { bytes } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";

/** A file beside the text that is being written. */
export interface Chip {
  key: string;
  name: string;
  size: number;
  state: "sending" | "there" | "failed";
  /** How much was sent, from 0 to 1. */
  share: number;
  /** Why it failed, and what to do. */
  why: string | null;
  /** Whether trying again may help. */
  again: boolean;
  /** What the server says of it. */
  file: FilePart | null;
  /** The picture, while it is on this device. */
  picture: string | null;
}

export type ChipEvent =
  | { type: "added"; chips: Chip[] }
  | { type: "sent"; key: string; share: number }
  | { type: "there"; key: string; file: FileView }
  | { type: "failed"; key: string; why: string; again: boolean }
  | { type: "again"; key: string }
  | { type: "removed"; key: string }
  | { type: "said"; keys: readonly string[] };

/** The chips after an event. Pure; what comes late for a chip that is gone changes nothing. */
export function applyChip(chips: readonly Chip[], event: ChipEvent): readonly Chip[] {
  const change = (key: string, fields: Partial<Chip>) => chips.map((chip) => (chip.key === key ? { ...chip, ...fields } : chip));
  switch (event.type) {
    case "added":
      return [...chips, ...event.chips];
    case "sent":
      return change(event.key, { share: event.share });
    case "there":
      return change(event.key, { state: "there", share: 1, why: null, file: partOf(event.file) });
    case "failed":
      return change(event.key, { state: "failed", why: event.why, again: event.again });
    case "again":
      return change(event.key, { state: "sending", share: 0, why: null });
    case "removed":
      return chips.filter((chip) => chip.key !== event.key);
    case "said":
      return chips.filter((chip) => !event.keys.includes(chip.key));
  }
}

/** Why a file cannot be sent at all; null: it can. */
export function misfit(file: { size: number }, before: number): string | null {
  if (before >= FILES_MAX) return t.files.tooMany(FILES_MAX);
  if (file.size > FILE_MAX_BYTES) return t.files.tooLarge(bytes(FILE_MAX_BYTES));
  return file.size === 0 ? t.files.empty : null;
}

/** Why the message cannot be sent yet; null: it can. */
export function notYet(chips: readonly Chip[]): string | null {
  if (chips.some((chip) => chip.state === "failed")) return t.files.failedFirst;
  return chips.some((chip) => chip.state === "sending") ? t.files.sendingFirst : null;
}

/** The files that a message names. */
export function filesOf(chips: readonly Chip[]): FilePart[] {
  return chips.flatMap((chip) => (chip.file ? [chip.file] : []));
}

/** The chips of a draft that was kept on this device. */
export function chipsOf(files: readonly FilePart[]): Chip[] {
  return files.map((file) => ({
    key: file.attachment_id, name: file.name, size: file.size, state: "there", share: 1, why: null, again: false, file, picture: null,
  }));
}

function partOf(file: FileView): FilePart {
  const { attachment_id, name, media_type, size, hash, width, height } = file;
  return { type: "file", attachment_id, name, media_type, size, hash, width, height };
}
