import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api } from "../../lib/api/calls";
import { settingsQuery } from "../../lib/api/queries";
import type { ModelView, NamingBody, NamingView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Select } from "../../lib/ui/field";
import { ProblemNote } from "../../lib/ui/states";

/** Who writes titles of chats and labels of turns. */
export function NamingSetting({ models }: { models: readonly ModelView[] }) {
  const client = useQueryClient();
  const settings = useQuery(settingsQuery);
  const patch = useMutation({
    mutationFn: (naming: NamingBody) => api.patchSettings({ naming }),
    onSuccess: (now) => client.setQueryData(settingsQuery.queryKey, now),
  });
  if (settings.isError) return <ProblemNote error={settings.error} onRetry={() => void settings.refetch()} />;
  if (!settings.data) return null;
  const naming = settings.data.naming;
  const value = valueOf(naming);
  const choices = models.filter((model) => model.enabled || model.id === naming.model_id);
  return (
    <div className="form setting-block">
      <Select
        label={t.naming.label}
        hint={t.naming.hints[naming.by]}
        value={value}
        disabled={patch.isPending}
        onChange={(e) => patch.mutate(namingOf(e.target.value))}
      >
        <option value="auto">{t.naming.auto}</option>
        <option value="chat">{t.naming.chat}</option>
        {choices.map((model) => (
          <option key={model.id} value={model.id}>
            {model.display_name}
          </option>
        ))}
        {naming.by === "model" && !choices.some((model) => model.id === value) && (
          <option value={value}>{t.naming.gone}</option>
        )}
        <option value="off">{t.naming.off}</option>
      </Select>
      {patch.isError && <ProblemNote error={patch.error} />}
    </div>
  );
}

function valueOf({ by, model_id }: NamingView): string {
  return by === "model" ? (model_id ?? "") : by;
}

function namingOf(value: string): NamingBody {
  return value === "auto" || value === "chat" || value === "off" ? { by: value } : { by: "model", model_id: value };
}
