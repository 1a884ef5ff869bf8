import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import { modelsQuery, providersQuery } from "../../lib/api/queries";
import type { ModelChange, ModelView } from "../../lib/api/types";
import { count } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { ConfirmDialog } from "../../lib/ui/confirm";
import { Dialog } from "../../lib/ui/dialog";
import { Select } from "../../lib/ui/field";
import { useTitle } from "../../lib/ui/hooks";
import { Empty, LoadingRows, ProblemNote } from "../../lib/ui/states";
import { ModelForm } from "../providers/model-form";
import { NamingSetting } from "./naming";

type Open = { what: "add" } | { what: "edit" | "remove"; model: ModelView } | null;

export function ModelsPage() {
  useTitle(t.models.title);
  const client = useQueryClient();
  const models = useQuery(modelsQuery);
  const providers = useQuery(providersQuery);
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  const renew = () => client.invalidateQueries({ queryKey: modelsQuery.queryKey });
  const patch = useMutation({
    mutationFn: ({ id, change }: { id: string; change: ModelChange }) => api.patchModel(id, change),
    onSettled: renew,
  });
  const remove = useMutation({
    mutationFn: (id: string) => api.deleteModel(id),
    onSuccess: async () => {
      close();
      await renew();
    },
  });
  const names = new Map(providers.data?.items.map((provider) => [provider.id, provider.name]));
  const items = models.data?.items ?? [];
  return (
    <section aria-labelledby="models">
      <header className="page-head">
        <h2 id="models" className="section-title">
          {t.models.title}
        </h2>
        {names.size > 0 && (
          <Button icon="plus" onClick={() => setOpen({ what: "add" })}>
            {t.models.add}
          </Button>
        )}
      </header>
      <p className="page-text">{t.models.text}</p>
      {models.isPending && <LoadingRows rows={3} />}
      {models.isError && <ProblemNote error={models.error} onRetry={() => void models.refetch()} />}
      {patch.isError && <ProblemNote error={patch.error} />}
      {models.isSuccess && items.length === 0 && (
        <Empty title={t.models.empty}>{names.size === 0 && t.models.emptyText}</Empty>
      )}
      {items.length > 0 && (
        <div className="table-wrap" tabIndex={0} role="region" aria-label={t.models.title}>
          <table className="table">
            <thead>
              <tr>
                {t.models.columns.map((column, i) => (
                  <th key={column} className={i === 2 ? "num" : ""}>
                    {column}
                  </th>
                ))}
                <td />
              </tr>
            </thead>
            <tbody>
              {items.map((model) => (
                <ModelRow
                  key={model.id}
                  model={model}
                  provider={names.get(model.provider_id) ?? ""}
                  onPatch={(change) => patch.mutate({ id: model.id, change })}
                  onEdit={() => setOpen({ what: "edit", model })}
                  onRemove={() => setOpen({ what: "remove", model })}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {items.length > 0 && <NamingSetting models={items} />}
      {open?.what === "add" && (
        <Dialog title={t.models.add} onClose={close}>
          <AddModel first={items.length === 0} providers={[...names]} onDone={close} />
        </Dialog>
      )}
      {open?.what === "edit" && (
        <Dialog title={t.models.edit(open.model.display_name)} onClose={close}>
          <ModelForm providerId={open.model.provider_id} model={open.model} onDone={close} onCancel={close} />
        </Dialog>
      )}
      {open?.what === "remove" && (
        <ConfirmDialog
          title={t.models.remove(open.model.display_name)}
          text={t.models.removeText}
          action={t.common.remove}
          busy={remove.isPending}
          error={remove.error}
          onConfirm={() => remove.mutate(open.model.id)}
          onClose={close}
        />
      )}
    </section>
  );
}

interface ModelRowProps {
  model: ModelView;
  provider: string;
  onPatch: (change: ModelChange) => void;
  onEdit: () => void;
  onRemove: () => void;
}

function ModelRow({ model, provider, onPatch, onEdit, onRemove }: ModelRowProps) {
  return (
    <tr>
      <td>
        <span className="model-name">
          {model.display_name}
          {model.default && <span className="tag">{t.models.isDefault}</span>}
        </span>
        {model.display_name !== model.model && <span className="mono ink-2 model-id">{model.model}</span>}
      </td>
      <td className="ink-2">{provider}</td>
      <td className="num">{count(model.context_limit)}</td>
      <td>
        <input
          type="checkbox"
          className="box"
          aria-label={`${t.models.enabled}: ${model.display_name}`}
          checked={model.enabled}
          onChange={(e) => onPatch({ enabled: e.target.checked })}
        />
      </td>
      <td>
        <input
          type="checkbox"
          className="box"
          aria-label={`${t.models.hidden}: ${model.display_name}`}
          checked={model.hidden}
          onChange={(e) => onPatch({ hidden: e.target.checked })}
        />
      </td>
      <td>
        <span className="setting-actions">
          {!model.default && (
            <Button look="quiet" onClick={() => onPatch({ default: true })}>
              {t.models.setDefault}
            </Button>
          )}
          <Button look="quiet" onClick={onEdit}>
            {t.common.edit}
          </Button>
          <Button look="quiet" onClick={onRemove}>
            {t.common.remove}
          </Button>
        </span>
      </td>
    </tr>
  );
}

interface AddModelProps {
  providers: ReadonlyArray<readonly [string, string]>;
  first: boolean;
  onDone: () => void;
}

/** The provider is asked for its models as soon as it is chosen. */
function AddModel({ providers, first, onDone }: AddModelProps) {
  const [id, setId] = useState(providers[0]?.[0] ?? "");
  const known = useQuery({ queryKey: ["provider-models", id], queryFn: () => api.testProvider(id), staleTime: 60_000 });
  return (
    <div className="form">
      <Select label={t.models.provider} value={id} onChange={(e) => setId(e.target.value)}>
        {providers.map(([value, name]) => (
          <option key={value} value={value}>
            {name}
          </option>
        ))}
      </Select>
      <ModelForm key={id} providerId={id} known={known.data?.models} first={first} onDone={onDone} onCancel={onDone} />
    </div>
  );
}
