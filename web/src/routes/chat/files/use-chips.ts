import { useCallback, useEffect, useReducer, useRef } from "react";
import { randomKey } from "../../../lib/api/client";
import { asProblem } from "../../../lib/api/problem";
import { removeUpload, upload, type Upload } from "../../../lib/api/upload";
import type { FilePart } from "../../../lib/api/types";
import { load, save } from "../../../lib/ui/local";
import { applyChip, chipsOf, filesOf, misfit, type Chip } from "./state";

const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/** The files beside a draft: each is sent at once, and named by the message. They survive a reload. */
export function useChips(draftKey: string, chatId: string | null) {
  const kept = `draft-files.${draftKey}`;
  const [chips, dispatch] = useReducer(applyChip, kept, (key) => chipsOf(load<FilePart[]>(key, [])));
  const running = useRef(new Map<string, { file: File; upload: Upload | null }>());
  const now = useRef(chips);
  now.current = chips;

  const there = JSON.stringify(filesOf(chips));
  useEffect(() => save(kept, there === "[]" ? null : JSON.parse(there)), [kept, there]);
  useEffect(() => {
    const files = running.current;
    return () => files.forEach(({ upload: it }) => it?.cancel());
  }, []);

  const send = useCallback(
    (key: string, file: File) => {
      const sending = upload(chatId, file, (share) => dispatch({ type: "sent", key, share }));
      running.current.set(key, { file, upload: sending });
      sending.done.then(
        (sent) => dispatch({ type: "there", key, file: sent }),
        (error) => {
          const problem = asProblem(error);
          if (problem.code === "cancelled") return;
          const again = problem.offline || problem.status >= 500 || problem.status === 408;
          dispatch({ type: "failed", key, why: problem.detail || problem.title, again });
        },
      );
    },
    [chatId],
  );
  const add = useCallback(
    (files: readonly File[]) => {
      const made = files.map((file, i) => {
        const why = misfit(file, now.current.length + i);
        const picture = PICTURES.includes(file.type) && !why ? URL.createObjectURL(file) : null;
        const chip: Chip = {
          key: randomKey(), name: file.name || "file", size: file.size, state: why ? "failed" : "sending", share: 0, why, again: false, file: null, picture,
        };
        return { chip, file };
      });
      dispatch({ type: "added", chips: made.map(({ chip }) => chip) });
      for (const { chip, file } of made) if (!chip.why) send(chip.key, file);
    },
    [send],
  );
  const again = (key: string) => {
    const known = running.current.get(key);
    if (!known) return;
    dispatch({ type: "again", key });
    send(key, known.file);
  };
  const forget = (chip: Chip) => {
    running.current.delete(chip.key);
    if (chip.picture) URL.revokeObjectURL(chip.picture);
  };
  const remove = (chip: Chip) => {
    running.current.get(chip.key)?.upload?.cancel();
    forget(chip);
    dispatch({ type: "removed", key: chip.key });
    if (chip.file) void removeUpload(chatId, chip.file.attachment_id);
  };
  /** A message that names them was sent. */
  const said = (which: readonly Chip[]) => {
    which.forEach(forget);
    dispatch({ type: "said", keys: which.map((chip) => chip.key) });
  };
  return { chips, add, again, remove, said };
}
