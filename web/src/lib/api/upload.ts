import { asProblem, Problem, problemOf } from "./problem";
import { BASE } from "./client";
import type { FileView } from "./types";
import { t } from "../text/en";

/** Most bytes of one file, as the server has it. */
export const FILE_MAX_BYTES = 10 * 1024 * 1024;
/** Most files of one chat. */
export const FILES_MAX = 50;

const place = (chatId: string | null) => `${BASE}${chatId ? `/chats/${chatId}` : ""}/attachments`;

/** Where the bytes of a file are read. */
export const fileUrl = (chatId: string, id: string) => `${place(chatId)}/${id}`;

export interface Upload {
  done: Promise<FileView>;
  cancel: () => void;
}

/** Sends a file to a chat, or (null) for a chat that does not exist yet. `fetch` does not tell how far it is. */
export function upload(chatId: string | null, file: File, onProgress: (share: number) => void): Upload {
  const request = new XMLHttpRequest();
  const done = new Promise<FileView>((resolve, reject) => {
    request.open("POST", `${place(chatId)}?name=${encodeURIComponent(file.name || "file")}`);
    request.setRequestHeader("X-Holdfast-CSRF", "1");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () => {
      if (request.status < 300) resolve(request.response as FileView);
      else reject(problemOf(request.status, request.response, request.getResponseHeader("x-request-id")));
    };
    // Also what a folder answers, which cannot be read as a file.
    request.onerror = () => reject(asProblem(new TypeError("the connection broke")));
    request.onabort = () => reject(new Problem({ code: "cancelled", status: 0, title: t.files.cancelled }));
    request.send(file);
  });
  return { done, cancel: () => request.abort() };
}

/** Removes a file that no message names. */
export async function removeUpload(chatId: string | null, id: string): Promise<void> {
  // It is removed after a day all the same.
  await fetch(`${place(chatId)}/${id}`, { method: "DELETE", headers: { "X-Holdfast-CSRF": "1" } }).catch(() => undefined);
}
