import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { providersQuery } from "../../lib/api/queries";
import type { ProviderKind, ProviderTest, ProviderView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { Field } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";
import { kindOf, KINDS } from "./kinds";
import { TestResult } from "./test-result";

interface ProviderFormProps {
  /** The provider to change; none: a new one. */
  provider?: ProviderView;
  onDone: (provider: ProviderView, test: ProviderTest) => void;
  onCancel?: () => void;
  doneLabel: string;
}

/** Add or change a provider: it is saved, then asked. A failed test can be mended in place. */
export function ProviderForm({ provider, onDone, onCancel, doneLabel }: ProviderFormProps) {
  const client = useQueryClient();
  const [saved, setSaved] = useState(provider ?? null);
  const [kind, setKind] = useState<ProviderKind>(kindOf(provider?.kind) ?? "anthropic");
  const [name, setName] = useState(provider?.name ?? "");
  const [baseUrl, setBaseUrl] = useState(provider?.base_url ?? "");
  const [key, setKey] = useState("");
  const facts = KINDS.find((item) => item.kind === kind);

  const test = useMutation({
    mutationFn: async () => {
      const body = { name: name.trim() || facts?.name || kind, base_url: baseUrl.trim() || null };
      const withKey = key ? { ...body, api_key: key } : body;
      const view = saved
        ? await api.patchProvider(saved.id, withKey)
        : await api.createProvider({ kind, ...withKey });
      setSaved(view);
      await client.invalidateQueries({ queryKey: providersQuery.queryKey });
      return { view, result: await api.testProvider(view.id) };
    },
    onSuccess: () => setKey(""),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    test.mutate();
  };
  const problem = test.error ? asProblem(test.error) : null;
  const { view, result } = test.data ?? {};
  return (
    <form className="form" onSubmit={submit}>
      {!saved && (
        <fieldset className="cards">
          <legend className="sr-only">{t.providers.kind}</legend>
          {KINDS.map((item) => (
            <label key={item.kind} className="card">
              <input type="radio" name="kind" checked={item.kind === kind} onChange={() => setKind(item.kind)} />
              <span className="card-title">{item.name}</span>
              <span className="card-text">{item.about}</span>
            </label>
          ))}
        </fieldset>
      )}
      {(facts?.needsBaseUrl || saved || baseUrl) && (
        <Field
          label={t.providers.baseUrl}
          hint={facts?.needsBaseUrl ? t.providers.baseUrlHint : t.providers.baseUrlDefault}
          type="url"
          mono
          required={facts?.needsBaseUrl}
          placeholder="http://127.0.0.1:8080/v1"
          value={baseUrl}
          onChange={(e) => setBaseUrl(e.target.value)}
          error={problem?.field("base_url")}
        />
      )}
      <Field
        label={facts?.needsKey ? t.providers.key : t.providers.keyOptional}
        hint={saved?.key_hint ? t.providers.keyKept(saved.key_hint) : facts?.keyHint}
        type="password"
        name="api-key"
        autoComplete="off"
        mono
        required={facts?.needsKey && !saved}
        value={key}
        onChange={(e) => setKey(e.target.value)}
        error={problem?.field("api_key")}
      />
      <Field
        label={t.providers.name}
        placeholder={facts?.name}
        value={name}
        onChange={(e) => setName(e.target.value)}
        error={problem?.field("name")}
      />
      {problem && <ProblemNote error={problem} />}
      {result && <TestResult result={result} />}
      <div className="form-actions">
        {view && result?.ok && (
          <Button look="primary" onClick={() => onDone(view, result)}>
            {doneLabel}
          </Button>
        )}
        <Button type="submit" look={result?.ok ? "plain" : "primary"} busy={test.isPending}>
          {test.isPending ? t.providers.testing : t.providers.test}
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
