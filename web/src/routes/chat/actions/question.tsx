import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api } from "../../../lib/api/calls";
import type { ActionView, AnswerBody } from "../../../lib/api/types";
import { t } from "../../../lib/text/en";
import { Button } from "../../../lib/ui/button";
import { load, save } from "../../../lib/ui/local";
import { ProblemNote } from "../../../lib/ui/states";
import { answerBody, choose, questionsOf, type Draft, type Question } from "./model";

const EMPTY: Draft = { selected: [], text: "" };

/** Questions of the agent. What was chosen and written survives a reload on this device. */
export function QuestionCard({ chatId, action }: { chatId: string; action: ActionView }) {
  const key = `answer.${action.id}`;
  const questions = questionsOf(action);
  const [drafts, setDrafts] = useState<Draft[]>(() => load(key, questions.map(() => EMPTY)));
  const put = (at: number, draft: Draft) => {
    const next = questions.map((_, i) => (i === at ? draft : (drafts[i] ?? EMPTY)));
    setDrafts(next);
    save(key, next);
  };
  const answer = useMutation({
    mutationFn: (body: AnswerBody) => api.answer(chatId, action.id, body),
    onSuccess: () => save(key, null),
  });
  const body = answerBody(action, drafts);
  return (
    <form
      className="action-card"
      onSubmit={(event) => {
        event.preventDefault();
        if (body) answer.mutate(body);
      }}
    >
      {questions.map((question, i) => (
        <Ask key={`${i}`} question={question} draft={drafts[i] ?? EMPTY} onChange={(draft) => put(i, draft)} />
      ))}
      {answer.isError && <ProblemNote error={answer.error} />}
      <div className="form-actions">
        <Button type="submit" look="primary" busy={answer.isPending} disabled={!body}>
          {t.actions.answer}
        </Button>
        <Button
          look="quiet"
          disabled={answer.isPending}
          onClick={() => answer.mutate({ skip: true, args_hash: action.args_hash })}
        >
          {t.actions.skip}
        </Button>
      </div>
    </form>
  );
}

interface AskProps {
  question: Question;
  draft: Draft;
  onChange: (draft: Draft) => void;
}

function Ask({ question, draft, onChange }: AskProps) {
  const id = useId();
  const onKey = (event: React.KeyboardEvent) => {
    if (event.target instanceof HTMLInputElement && event.target.type === "text") return;
    const option = question.options[Number(event.key) - 1];
    if (option && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      onChange(choose(draft, question, option.label));
    }
  };
  return (
    <fieldset className="ask" aria-labelledby={id} onKeyDown={onKey}>
      <legend id={id}>
        {question.header && <span className="ask-header">{question.header}</span>}
        {question.question}
      </legend>
      {question.options.map((option, i) => {
        const on = draft.selected.includes(option.label);
        return (
          <button
            key={option.label}
            type="button"
            role={question.multiple ? "checkbox" : "radio"}
            aria-checked={on}
            className="ask-option"
            onClick={() => onChange(choose(draft, question, option.label))}
          >
            <kbd>{i + 1}</kbd>
            <span>
              {option.label}
              {option.description && <span className="ink-2"> {option.description}</span>}
            </span>
          </button>
        );
      })}
      <input
        type="text"
        className="input"
        aria-label={t.actions.ownWords}
        placeholder={t.actions.ownWords}
        value={draft.text}
        onChange={(e) => onChange({ ...draft, text: e.target.value })}
      />
    </fieldset>
  );
}
