import { bytes } from "../../../lib/text/format";
import { t } from "../../../lib/text/en";
import { Button, IconButton } from "../../../lib/ui/button";
import { Icon } from "../../../lib/ui/icon";
import type { Chip } from "./state";

interface ChipsProps {
  chips: readonly Chip[];
  onRemove: (chip: Chip) => void;
  onAgain: (key: string) => void;
}

/** What goes along with the message that is being written. */
export function Chips({ chips, onRemove, onAgain }: ChipsProps) {
  return (
    <ul className="chips" aria-label={t.files.along}>
      {chips.map((chip) => (
        <li key={chip.key} className="chip" data-state={chip.state}>
          {chip.picture ? <img className="chip-picture" src={chip.picture} alt="" /> : <Icon name="file" />}
          <span className="chip-name clip" title={chip.name}>
            {chip.name}
          </span>
          <span className="chip-size num">{bytes(chip.size)}</span>
          {chip.state === "sending" && (
            <progress className="chip-progress" aria-label={t.files.sending(chip.name)} value={chip.share} max={1} />
          )}
          {chip.state === "failed" && (
            <span className="chip-why" role="alert">
              {chip.why}
            </span>
          )}
          {chip.state === "failed" && chip.again && (
            <Button look="quiet" onClick={() => onAgain(chip.key)}>
              {t.common.retry}
            </Button>
          )}
          <IconButton icon="close" label={t.files.remove(chip.name)} onClick={() => onRemove(chip)} />
        </li>
      ))}
    </ul>
  );
}
