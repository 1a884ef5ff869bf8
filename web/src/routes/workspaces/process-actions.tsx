import { useMutation, useQueryClient } from "@tanstack/react-query";
import * as Menu from "@radix-ui/react-dropdown-menu";
import { api } from "../../lib/api/calls";
import { processesQuery, processQuery } from "../../lib/api/queries";
import type { ProcessView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { IconButton } from "../../lib/ui/button";
import { ProblemNote } from "../../lib/ui/states";

const SIGNALS = ["INT", "TERM", "KILL", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT"] as const;

/** Stop, and a menu of signals. */
export function ProcessActions({ process, workspaceId }: { process: ProcessView; workspaceId: string }) {
  const client = useQueryClient();
  const renew = () =>
    Promise.all([
      client.invalidateQueries({ queryKey: processesQuery(workspaceId).queryKey }),
      client.invalidateQueries({ queryKey: processQuery(workspaceId, process.id).queryKey }),
    ]);
  const signal = useMutation({
    mutationFn: (name: string) => api.signal(workspaceId, process.id, name),
    onSettled: renew,
  });
  const stop = useMutation({ mutationFn: () => api.stopProcess(workspaceId, process.id), onSettled: renew });
  const busy = signal.isPending || stop.isPending;
  const error = signal.error ?? stop.error;
  return (
    <>
      <span className="process-actions">
        <IconButton icon="stop" label={`${t.output.stop}: ${process.command}`} disabled={busy} onClick={() => stop.mutate()} />
        <Menu.Root modal={false}>
          <Menu.Trigger asChild>
            <IconButton icon="signal" label={`${t.workspaces.signal}: ${process.command}`} disabled={busy} />
          </Menu.Trigger>
          <Menu.Portal>
            <Menu.Content className="menu" align="end" sideOffset={4}>
              {SIGNALS.map((name) => (
                <Menu.Item key={name} className="menu-item mono" onSelect={() => signal.mutate(name)}>
                  SIG{name}
                </Menu.Item>
              ))}
            </Menu.Content>
          </Menu.Portal>
        </Menu.Root>
      </span>
      {error && <ProblemNote error={error} />}
    </>
  );
}
