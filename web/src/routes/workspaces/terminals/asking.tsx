import { lineCount, linkTarget, oneLine } from "../../../lib/terminal/paste";
import { t } from "../../../lib/text/en";
import { Button, CopyButton } from "../../../lib/ui/button";
import { Dialog } from "../../../lib/ui/dialog";

/** What a person is asked before it happens. */
export type Ask = { kind: "paste"; text: string } | { kind: "clipboard"; text: string } | { kind: "link"; target: string };

interface AskingProps {
  ask: Ask;
  onPaste: (text: string) => void;
  onClose: () => void;
}

export function Asking({ ask, onPaste, onClose }: AskingProps) {
  if (ask.kind === "clipboard") {
    return (
      <div className="terminal-offer" role="status">
        <span>{t.terminals.clipboard(Array.from(ask.text).length)}</span>
        <CopyButton text={ask.text} />
        <Button look="quiet" onClick={onClose}>
          {t.terminals.dismiss}
        </Button>
      </div>
    );
  }
  if (ask.kind === "link") {
    const target = linkTarget(ask.target);
    if (!target) return null;
    return (
      <Dialog title={t.terminals.linkTitle} onClose={onClose}>
        <p className="mono break">{target}</p>
        <div className="form-actions">
          <Button autoFocus onClick={onClose}>
            {t.common.cancel}
          </Button>
          <a className="button button-plain" href={target} target="_blank" rel="noopener noreferrer" onClick={onClose}>
            {t.terminals.linkOpen}
          </a>
        </div>
      </Dialog>
    );
  }
  const paste = (text: string) => () => {
    onPaste(text);
    onClose();
  };
  return (
    <Dialog title={t.terminals.pasteTitle(lineCount(ask.text))} onClose={onClose}>
      <p>{t.terminals.pasteText}</p>
      <pre className="pager-text paste-text" tabIndex={0}>
        {ask.text.slice(0, 4_000)}
      </pre>
      <div className="form-actions">
        <Button autoFocus onClick={onClose}>
          {t.common.cancel}
        </Button>
        <Button onClick={paste(oneLine(ask.text))}>{t.terminals.pasteOne}</Button>
        <Button onClick={paste(ask.text)}>{t.terminals.paste}</Button>
      </div>
    </Dialog>
  );
}
