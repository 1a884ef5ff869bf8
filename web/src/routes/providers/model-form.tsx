import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { modelsQuery } from "../../lib/api/queries";
import type { ModelView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Check, Field, Select } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";

interface ModelFormProps {
  providerId: string;
  /** The model to change; none: a new one. */
  model?: ModelView;
  /** Names that the provider told, offered while typing. */
  known?: readonly string[];
  /** The first model is the default one. */
  first?: boolean;
  onDone: (model: ModelView) => void;
  onCancel?: () => void;
}

const CONTEXT = 200_000;

export function ModelForm({ providerId, model, known = [], first = false, onDone, onCancel }: ModelFormProps) {
  const client = useQueryClient();
  const list = useId();
  const [name, setName] = useState(model?.model ?? known[0] ?? "");
  const [title, setTitle] = useState(model?.display_name ?? "");
  const [context, setContext] = useState(String(model?.context_limit ?? CONTEXT));
  const [isDefault, setDefault] = useState(model?.default ?? first);
  const [fallback, setFallback] = useState(model?.fallback_model_id ?? "");
  const others = (useQuery(modelsQuery).data?.items ?? []).filter((other) => other.id !== model?.id);
  const save = useMutation({
    mutationFn: () => {
      const body = {
        model: name.trim(),
        display_name: title.trim() || name.trim(),
        context_limit: Number(context),
        default: isDefault,
        fallback_model_id: fallback || null,
      };
      return model
        ? api.patchModel(model.id, body)
        : api.createModel({ provider_id: providerId, enabled: true, hidden: false, ...body });
    },
    onSuccess: async (view) => {
      await client.invalidateQueries({ queryKey: modelsQuery.queryKey });
      onDone(view);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  const problem = save.error ? asProblem(save.error) : null;
  return (
    <form className="form" onSubmit={submit}>
      <Field
        label={t.models.model}
        hint={t.models.modelHint}
        mono
        required
        list={known.length > 0 ? list : undefined}
        value={name}
        onChange={(e) => setName(e.target.value)}
        error={problem?.field("model")}
      />
      <datalist id={list}>
        {known.map((item) => (
          <option key={item} value={item} />
        ))}
      </datalist>
      <div className="form-pair">
        <Field label={t.models.shownAs} placeholder={name} value={title} onChange={(e) => setTitle(e.target.value)} />
        <Field
          label={t.models.context}
          type="number"
          min={1_000}
          step={1}
          required
          value={context}
          onChange={(e) => setContext(e.target.value)}
          error={problem?.field("context_limit")}
        />
      </div>
      {others.length > 0 && (
        <Select
          label={t.models.fallback}
          hint={t.models.fallbackHint}
          value={fallback}
          onChange={(e) => setFallback(e.target.value)}
        >
          <option value="">{t.models.noFallback}</option>
          {others.map((other) => (
            <option key={other.id} value={other.id}>
              {other.display_name}
            </option>
          ))}
        </Select>
      )}
      {!first && (
        <Check label={t.models.makeDefault} checked={isDefault} onChange={(e) => setDefault(e.target.checked)} />
      )}
      {problem && <ProblemNote error={problem} />}
      <div className="form-actions">
        <Button type="submit" look="primary" busy={save.isPending}>
          {model ? t.common.save : t.models.add}
        </Button>
        {onCancel && (
          <Button look="quiet" onClick={onCancel}>
            {t.common.cancel}
          </Button>
        )}
      </div>
    </form>
  );
}
