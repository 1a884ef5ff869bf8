import { useEffect, useRef, type ReactNode } from "react";
import { t } from "../text/en";
import { IconButton } from "./button";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** Without the title row; the title is only announced. */
  bare?: boolean;
  wide?: boolean;
}

/** A modal dialog: the platform's own, so that focus, Escape and the backdrop are right. */
export function Dialog({ title, onClose, children, bare, wide }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      className={`dialog ${wide ? "dialog-wide" : ""} ${bare ? "dialog-bare" : ""}`}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      <div className="dialog-body">
        {!bare && (
          <header className="dialog-head">
            <h2>{title}</h2>
            <IconButton icon="close" label={t.common.close} onClick={onClose} />
          </header>
        )}
        {children}
      </div>
    </dialog>
  );
}
