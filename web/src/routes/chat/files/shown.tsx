import { fileUrl } from "../../../lib/api/upload";
import type { FilePart, Part } from "../../../lib/api/types";
import { bytes } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";
import { Icon } from "../../../lib/ui/icon";

const isFile = (part: Part): part is FilePart => part.type === "file";

/** The files that a message names. */
export function filesIn(content: readonly Part[]): FilePart[] {
  return content.filter(isFile);
}

/** Pictures as pictures, everything else by name and size. */
export function Files({ chatId, files }: { chatId: string; files: readonly FilePart[] }) {
  if (files.length === 0) return null;
  const pictures = files.filter((file) => file.width && file.height);
  const others = files.filter((file) => !pictures.includes(file));
  return (
    <div className="files">
      {pictures.length > 0 && (
        <ul className="pictures" aria-label={t.files.pictures(pictures.length)}>
          {pictures.map((file) => (
            <li key={file.attachment_id}>
              <a href={fileUrl(chatId, file.attachment_id)} target="_blank" rel="noreferrer" title={`${file.name}, ${bytes(file.size)}`}>
                <img
                  src={fileUrl(chatId, file.attachment_id)}
                  alt={file.name}
                  width={file.width ?? undefined}
                  height={file.height ?? undefined}
                  loading="lazy"
                  decoding="async"
                />
              </a>
            </li>
          ))}
        </ul>
      )}
      {others.length > 0 && (
        <ul className="file-links" aria-label={t.files.others(others.length)}>
          {others.map((file) => (
            <li key={file.attachment_id}>
              <a className="file-link" href={fileUrl(chatId, file.attachment_id)} download={file.name}>
                <Icon name="file" />
                <span className="clip">{file.name}</span>
                <span className="num ink-3">{bytes(file.size)}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
