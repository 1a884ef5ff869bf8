/** This page's name at a terminal: the same after a reload, another one in another tab. */
import { randomKey } from "../api/client";

export function viewerName(pty: string): string {
  const key = `holdfast.viewer.${pty}`;
  try {
    const known = sessionStorage.getItem(key);
    if (known) return known;
    const name = `web-${randomKey().slice(0, 16)}`;
    sessionStorage.setItem(key, name);
    return name;
  } catch {
    return `web-${randomKey().slice(0, 16)}`;
  }
}
