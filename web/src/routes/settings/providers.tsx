import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import { modelsQuery, providersQuery } from "../../lib/api/queries";
import type { ProviderView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { ConfirmDialog } from "../../lib/ui/confirm";
import { Dialog } from "../../lib/ui/dialog";
import { useTitle } from "../../lib/ui/hooks";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";
import { ProviderForm } from "../providers/form";
import { kindName } from "../providers/kinds";
import { TestResult } from "../providers/test-result";

type Open = { what: "add" } | { what: "edit" | "remove"; provider: ProviderView } | null;

export function ProvidersPage() {
  useTitle(t.providers.title);
  const client = useQueryClient();
  const providers = useQuery(providersQuery);
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  const remove = useMutation({
    mutationFn: (id: string) => api.deleteProvider(id),
    onSuccess: async () => {
      close();
      await client.invalidateQueries({ queryKey: providersQuery.queryKey });
      await client.invalidateQueries({ queryKey: modelsQuery.queryKey });
    },
  });
  const items = providers.data?.items ?? [];
  const add = (
    <Button look={items.length === 0 ? "primary" : "plain"} icon="plus" onClick={() => setOpen({ what: "add" })}>
      {t.providers.add}
    </Button>
  );
  return (
    <section aria-labelledby="providers">
      <header className="page-head">
        <h2 id="providers" className="section-title">
          {t.providers.title}
        </h2>
        {items.length > 0 && add}
      </header>
      <p className="page-text">{t.providers.text}</p>
      {providers.isPending && <LoadingRows rows={3} />}
      {providers.isError && <ProblemNote error={providers.error} onRetry={() => void providers.refetch()} />}
      {providers.isSuccess && items.length === 0 && <Empty title={t.providers.empty} action={add} />}
      <ul className="ledger">
        {items.map((provider) => (
          <ProviderRow
            key={provider.id}
            provider={provider}
            onEdit={() => setOpen({ what: "edit", provider })}
            onRemove={() => setOpen({ what: "remove", provider })}
          />
        ))}
      </ul>
      {open?.what === "add" && (
        <Dialog title={t.providers.add} onClose={close} wide>
          <ProviderForm doneLabel={t.providers.done} onDone={close} onCancel={close} />
        </Dialog>
      )}
      {open?.what === "edit" && (
        <Dialog title={t.providers.edit(open.provider.name)} onClose={close}>
          <ProviderForm provider={open.provider} doneLabel={t.providers.done} onDone={close} onCancel={close} />
        </Dialog>
      )}
      {open?.what === "remove" && (
        <ConfirmDialog
          title={t.providers.remove(open.provider.name)}
          text={t.providers.removeText}
          action={t.common.remove}
          busy={remove.isPending}
          error={remove.error}
          onConfirm={() => remove.mutate(open.provider.id)}
          onClose={close}
        />
      )}
    </section>
  );
}

interface ProviderRowProps {
  provider: ProviderView;
  onEdit: () => void;
  onRemove: () => void;
}

function ProviderRow({ provider, onEdit, onRemove }: ProviderRowProps) {
  const test = useMutation({ mutationFn: () => api.testProvider(provider.id) });
  return (
    <li className="setting-row">
      <div className="setting-main">
        <span className="setting-title">{provider.name}</span>
        <span className="ink-2">{kindName(provider.kind)}</span>
        <span className="mono ink-2 clip">{provider.base_url}</span>
        <span className="mono ink-2">{provider.key_hint ? `…${provider.key_hint}` : t.providers.noKey}</span>
      </div>
      <div className="setting-actions">
        <Button look="quiet" busy={test.isPending} onClick={() => test.mutate()}>
          {test.isPending ? t.providers.testing : t.providers.test}
        </Button>
        <Button look="quiet" onClick={onEdit}>
          {t.common.edit}
        </Button>
        <Button look="quiet" onClick={onRemove}>
          {t.common.remove}
        </Button>
      </div>
      {test.data && <TestResult result={test.data} />}
      {test.isError && <ProblemNote error={test.error} />}
    </li>
  );
}
