import { t } from "../text/en";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { ProblemNote } from "./states";

interface ConfirmProps {
  title: string;
  text: string;
  action: string;
  busy: boolean;
  error: unknown;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something is gone. Focus begins on the way out. */
export function ConfirmDialog({ title, text, action, busy, error, onConfirm, onClose }: ConfirmProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="form">
        <p>{text}</p>
        {error ? <ProblemNote error={error} /> : null}
        <div className="form-actions">
          <Button autoFocus onClick={onClose}>
            {t.common.cancel}
          </Button>
          <Button look="danger" busy={busy} onClick={onConfirm}>
            {action}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
