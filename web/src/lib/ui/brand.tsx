import { t } from "../text/en";

/** The mark: a stem with its roots, and the name. */
export function Brand() {
  return (
    <span className="brand">
      <svg width="20" height="20" viewBox="0 0 32 32" fill="none" stroke="currentColor" strokeWidth="2.5" strokeLinecap="round" aria-hidden="true">
        <path d="M16 3v13M16 16c0 6-4 7-6 12M16 16c0 6 4 7 6 12M16 18v10M16 9c4 0 6-2 7-5M16 13c-4 0-6-2-7-5" />
      </svg>
      {t.product}
    </span>
  );
}
