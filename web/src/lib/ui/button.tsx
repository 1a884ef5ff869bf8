import { useEffect, useRef, useState, type ComponentProps } from "react";
import { t } from "../text/en";
import { Icon, type IconName } from "./icon";

interface ButtonProps extends ComponentProps<"button"> {
  look?: "plain" | "primary" | "quiet" | "danger";
  icon?: IconName;
  busy?: boolean;
}

export function Button({ look = "plain", icon, busy, children, className, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      className={`button button-${look} ${className ?? ""}`}
      aria-busy={busy || undefined}
      disabled={rest.disabled || busy}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface IconButtonProps extends ComponentProps<"button"> {
  icon: IconName;
  label: string;
}

export function IconButton({ icon, label, className, ...rest }: IconButtonProps) {
  return (
    <button type="button" title={label} aria-label={label} {...rest} className={`icon-button ${className ?? ""}`}>
      <Icon name={icon} />
    </button>
  );
}

/** Copies a text and says so for a moment. */
export function CopyButton({ text, label = t.common.copy }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1_600);
  };
  return (
    <button type="button" className="copy" onClick={copy} title={label}>
      <Icon name={done ? "check" : "copy"} size={14} />
      <span aria-live="polite">{done ? t.common.copied : label}</span>
    </button>
  );
}

/** The clipboard API is missing where the page is not served over TLS; a selection works everywhere. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // Not permitted: fall through to the selection.
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
