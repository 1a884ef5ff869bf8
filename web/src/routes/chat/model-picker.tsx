import { useMemo, useState } from "react";
import type { ModelView } from "../../lib/api/types";
import { count } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Dialog } from "../../lib/ui/dialog";
import { Icon } from "../../lib/ui/icon";
import { PickList } from "../../lib/ui/pick-list";

interface ModelPickerProps {
  models: readonly ModelView[];
  /** The chosen model; none: the default one. */
  value: string | null;
  onPick: (id: string) => void;
}

export function ModelPicker({ models, value, onPick }: ModelPickerProps) {
  const [open, setOpen] = useState(false);
  const offered = useMemo(() => models.filter((model) => model.enabled && !model.hidden), [models]);
  const chosen = models.find((model) => model.id === value) ?? models.find((model) => model.default);
  const items = useMemo(
    () =>
      offered.map((model) => ({
        id: model.id,
        label: model.display_name,
        note: t.chat.contextOf(count(model.context_limit)),
        selected: model.id === chosen?.id,
      })),
    [offered, chosen],
  );
  return (
    <>
      <button
        type="button"
        className="model-button"
        aria-haspopup="dialog"
        aria-label={`${t.chat.model}: ${chosen?.display_name ?? t.chat.noModel}`}
        title={t.chat.model}
        onClick={() => setOpen(true)}
      >
        <span className="clip">{chosen?.display_name ?? t.chat.noModel}</span>
        <Icon name="chevron" size={12} />
      </button>
      {open && (
        <Dialog title={t.chat.model} onClose={() => setOpen(false)} bare>
          <PickList
            label={t.chat.model}
            placeholder={t.chat.modelHint}
            none={models.length === 0 ? t.models.empty : t.palette.none}
            items={items}
            onPick={(id) => {
              setOpen(false);
              onPick(id);
            }}
          />
        </Dialog>
      )}
    </>
  );
}
