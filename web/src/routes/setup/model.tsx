import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { providersQuery } from "../../lib/api/queries";
import type { ProviderView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { Button } from "../../lib/ui/button";
import { ModelForm } from "../providers/model-form";
import { ProviderForm } from "../providers/form";

/** A provider that answers, then one of its models. */
export function ModelStep({ onDone }: { onDone: () => void }) {
  const providers = useQuery(providersQuery);
  const [chosen, setChosen] = useState<{ provider: ProviderView; models: readonly string[] } | null>(null);
  // A provider that an earlier visit left half done; what this visit adds must not restart the form.
  const half = useRef<ProviderView | null | undefined>(undefined);
  if (half.current === undefined && providers.data) half.current = providers.data.items[0] ?? null;
  return (
    <>
      <h1>{t.setup.modelTitle}</h1>
      <p className="ink-2">{t.setup.modelText}</p>
      {chosen ? (
        <ModelForm providerId={chosen.provider.id} known={chosen.models} first onDone={onDone} />
      ) : (
        providers.isSuccess && (
          <ProviderForm
            provider={half.current ?? undefined}
            doneLabel={t.common.next}
            onDone={(provider, test) => setChosen({ provider, models: test.models })}
          />
        )
      )}
      <Button look="quiet" className="setup-skip" onClick={onDone}>
        {t.common.skip}
      </Button>
    </>
  );
}
