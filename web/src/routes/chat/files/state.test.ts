import { expect, test } from "vitest";
import type { FilePart, FileView } from "../../../lib/api/types";
import { saying } from "./saying";
import { applyChip, chipsOf, filesOf, misfit, notYet, type Chip } from "./state";

const chip = (key: string): Chip => ({
  key, name: `${key}.txt`, size: 3, state: "sending", share: 0, why: null, again: false, file: null, picture: null,
});
const view = (id: string): FileView => ({
  attachment_id: id, name: "a.txt", media_type: "text/plain", size: 3, hash: "h", sent: false, created_at: "2026-11-20T00:00:00.000Z",
});
const two = () => applyChip([], { type: "added", chips: [chip("a"), chip("b")] });

test("a message waits until each file is there or gone", () => {
  let chips = two();
  expect(notYet(chips)).toMatch(/as soon as/);
  chips = applyChip(chips, { type: "there", key: "a", file: view("att_1") });
  chips = applyChip(chips, { type: "failed", key: "b", why: "no connection", again: true });
  expect(notYet(chips)).toMatch(/remove it/);
  expect(filesOf(chips).map((file) => file.attachment_id)).toEqual(["att_1"]);
  chips = applyChip(chips, { type: "again", key: "b" });
  expect(chips[1]).toMatchObject({ state: "sending", share: 0, why: null });
  chips = applyChip(chips, { type: "removed", key: "b" });
  expect(notYet(chips)).toBeNull();
});

test("what comes late for a chip that is gone changes nothing", () => {
  const chips = applyChip(two(), { type: "removed", key: "a" });
  for (const late of [
    applyChip(chips, { type: "sent", key: "a", share: 1 }),
    applyChip(chips, { type: "there", key: "a", file: view("att_1") }),
    applyChip(chips, { type: "failed", key: "a", why: "x", again: false }),
  ]) {
    expect(late).toEqual(chips);
  }
});

test("what was attached while a message was sent stays for the next one", () => {
  expect(applyChip(two(), { type: "said", keys: ["a"] }).map((it) => it.key)).toEqual(["b"]);
});

test("a file that cannot be sent says why", () => {
  expect(misfit({ size: 1 }, 0)).toBeNull();
  expect(misfit({ size: 10 * 1024 * 1024 }, 49)).toBeNull();
  expect(misfit({ size: 10 * 1024 * 1024 + 1 }, 0)).toMatch(/10.0 MiB/);
  expect(misfit({ size: 0 }, 0)).toMatch(/empty/);
  expect(misfit({ size: 1 }, 50)).toMatch(/50 files/);
});

test("a draft's files survive a reload and are named before the text", () => {
  const sent = applyChip(two(), { type: "there", key: "a", file: view("att_1") });
  const kept = JSON.parse(JSON.stringify(filesOf(sent))) as FilePart[];
  expect(filesOf(chipsOf(kept))).toEqual(kept);
  const file = { type: "file", attachment_id: "att_1" };
  expect(saying("look", kept)).toEqual([file, { type: "text", text: "look" }]);
  expect(saying("", kept)).toEqual([file]);
});
