import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api } from "../../lib/api/calls";
import { asProblem } from "../../lib/api/problem";
import { apiKeysQuery } from "../../lib/api/queries";
import type { ApiKeyView } from "../../lib/api/types";
import { age } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, CopyButton } from "../../lib/ui/button";
import { ConfirmDialog } from "../../lib/ui/confirm";
import { Dialog } from "../../lib/ui/dialog";
import { Field } from "../../lib/ui/field";
import { useNow, useTitle } from "../../lib/ui/hooks";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";

export function ApiKeysPage() {
  useTitle(t.apiKeys.title);
  const client = useQueryClient();
  const keys = useQuery(apiKeysQuery);
  const now = useNow(30_000);
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<ApiKeyView | null>(null);
  const remove = useMutation({
    mutationFn: (id: string) => api.deleteApiKey(id),
    onSuccess: () => {
      setRemoving(null);
      return client.invalidateQueries({ queryKey: apiKeysQuery.queryKey });
    },
  });
  const items = keys.data?.items ?? [];
  const add = (
    <Button look={items.length === 0 ? "primary" : "plain"} icon="plus" onClick={() => setAdding(true)}>
      {t.apiKeys.add}
    </Button>
  );
  return (
    <section aria-labelledby="api-keys">
      <header className="page-head">
        <h2 id="api-keys" className="section-title">
          {t.apiKeys.title}
        </h2>
        {items.length > 0 && add}
      </header>
      <p className="page-text">{t.apiKeys.text}</p>
      {keys.isPending && <LoadingRows rows={3} />}
      {keys.isError && <ProblemNote error={keys.error} onRetry={() => void keys.refetch()} />}
      {keys.isSuccess && items.length === 0 && <Empty title={t.apiKeys.empty} action={add} />}
      <ul className="ledger">
        {items.map((key) => (
          <li key={key.id} className="setting-row">
            <div className="setting-main">
              <span className="setting-title">{key.name}</span>
              <span className="mono ink-2">{key.hint && `…${key.hint}`}</span>
              <span className="ink-2">{t.apiKeys.created(age(key.created_at, now))}</span>
              <span className="ink-2">
                {key.last_used_at ? t.apiKeys.used(age(key.last_used_at, now)) : t.apiKeys.never}
              </span>
            </div>
            <div className="setting-actions">
              <Button look="quiet" onClick={() => setRemoving(key)}>
                {t.common.remove}
              </Button>
            </div>
          </li>
        ))}
      </ul>
      {adding && <AddKey onClose={() => setAdding(false)} />}
      {removing && (
        <ConfirmDialog
          title={t.apiKeys.remove(removing.name)}
          text={t.apiKeys.removeText}
          action={t.common.remove}
          busy={remove.isPending}
          error={remove.error}
          onConfirm={() => remove.mutate(removing.id)}
          onClose={() => setRemoving(null)}
        />
      )}
    </section>
  );
}

/** The key is in the answer to this one call and nowhere else. */
function AddKey({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => api.createApiKey({ name: name.trim() }),
    onSuccess: () => client.invalidateQueries({ queryKey: apiKeysQuery.queryKey }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  const problem = create.error ? asProblem(create.error) : null;
  return (
    <Dialog title={t.apiKeys.add} onClose={onClose}>
      {create.data ? (
        <div className="form">
          <p>{t.apiKeys.once}</p>
          <div className="command">
            <pre tabIndex={0}>
              <code>{create.data.key}</code>
            </pre>
            <CopyButton text={create.data.key} />
          </div>
          <div className="form-actions">
            <Button look="primary" onClick={onClose}>
              {t.providers.done}
            </Button>
          </div>
        </div>
      ) : (
        <form className="form" onSubmit={submit}>
          <Field
            label={t.apiKeys.name}
            hint={t.apiKeys.nameHint}
            autoFocus
            required
            value={name}
            onChange={(e) => setName(e.target.value)}
            error={problem?.field("name")}
          />
          {problem && <ProblemNote error={problem} />}
          <div className="form-actions">
            <Button type="submit" look="primary" busy={create.isPending}>
              {t.apiKeys.add}
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
