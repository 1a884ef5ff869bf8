/** What waits for a person, as the cards draw it, and what their choices send. Pure. */
import type { ActionView, AnswerBody } from "../../../lib/api/types";
import { list, record, text } from "../../../lib/ui/tools/view";

export interface Option {
  label: string;
  description: string | null;
}

export interface Question {
  question: string;
  header: string | null;
  multiple: boolean;
  options: Option[];
}

/** What was chosen and written for each question. */
export interface Draft {
  selected: string[];
  text: string;
}

export function questionsOf(action: ActionView): Question[] {
  return list(action.args, "questions").map((raw) => ({
    question: text(raw, "question") ?? "",
    header: text(raw, "header"),
    multiple: record(raw).multiple === true,
    options: list(raw, "options").map((option) => ({
      label: text(option, "label") ?? "",
      description: text(option, "description"),
    })),
  }));
}

/** The draft after an option was pressed: one of them, or any number where several may be chosen. */
export function choose(draft: Draft, question: Question, label: string): Draft {
  const has = draft.selected.includes(label);
  if (question.multiple) {
    const selected = has ? draft.selected.filter((it) => it !== label) : [...draft.selected, label];
    return { ...draft, selected };
  }
  return { ...draft, selected: has ? [] : [label] };
}

export function isAnswered(draft: Draft | undefined): boolean {
  return draft !== undefined && (draft.selected.length > 0 || draft.text.trim() !== "");
}

/** The request's body; null: a question has no answer yet. */
export function answerBody(action: ActionView, drafts: readonly Draft[]): AnswerBody | null {
  const questions = questionsOf(action);
  if (!questions.every((_, i) => isAnswered(drafts[i]))) return null;
  const answers = questions.map((_, i) => {
    const draft = drafts[i] as Draft;
    return { selected: draft.selected, text: draft.text.trim() || null };
  });
  return { answers, args_hash: action.args_hash };
}

export interface ProposedPlan {
  title: string;
  steps: string[];
  notes: string | null;
}

export function planOf(action: ActionView): ProposedPlan {
  return {
    title: text(action.args, "title") ?? "",
    steps: list(action.args, "steps").filter((step): step is string => typeof step === "string"),
    notes: text(action.args, "notes"),
  };
}

/** The pattern that is offered for a rule: the command's first words and anything harmless behind. */
export function offeredPattern(action: ActionView): string | null {
  const subject = action.subject;
  if (!subject) return null;
  if (action.tool !== "execute") return subject;
  const [program, verb] = subject.split(" ");
  const head = verb && /^[a-z][\w-]*$/.test(verb) ? `${program} ${verb}` : program;
  return /[;&|<>`$(){}\\*\n]/.test(subject) ? subject : `${head}*`;
}

/** Characters that the eye does not see, written out, so that what is shown is what runs. */
export function visible(value: string): string {
  return value.replace(
    /(?![\n\t])[\p{Cc}\p{Cf}]/gu,
    (c) => `⟨U+${c.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** What an approval is about, exactly: the command, or the arguments as they are. */
export function exactly(action: ActionView): string {
  const command = action.tool === "execute" ? text(action.args, "command") : null;
  return visible(command ?? JSON.stringify(action.args, null, 2));
}
