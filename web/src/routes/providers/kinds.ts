import type { ProviderKind } from "../../lib/api/types";
import { t } from "../../lib/text/en";

export interface KindFacts {
  kind: ProviderKind;
  name: string;
  about: string;
  keyHint: string;
  needsBaseUrl: boolean;
  needsKey: boolean;
}

/** What a person chooses from. The scripted provider is made by `demo` and by automations, not here. */
export const KINDS: readonly KindFacts[] = [
  { kind: "anthropic", ...t.providers.kinds.anthropic, needsBaseUrl: false, needsKey: true },
  { kind: "openai", ...t.providers.kinds.openai, needsBaseUrl: false, needsKey: true },
  { kind: "openai_compatible", ...t.providers.kinds.openai_compatible, needsBaseUrl: true, needsKey: false },
  { kind: "gemini", ...t.providers.kinds.gemini, needsBaseUrl: false, needsKey: true },
];

/** A kind that this page knows how to ask for. */
export function kindOf(kind: string | undefined): ProviderKind | undefined {
  return kind === "scripted" ? kind : KINDS.find((facts) => facts.kind === kind)?.kind;
}

export function kindName(kind: string): string {
  return KINDS.find((facts) => facts.kind === kind)?.name ?? kind;
}
