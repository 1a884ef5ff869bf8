import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { api } from "../../lib/api/calls";
import { agentsQuery } from "../../lib/api/queries";
import type { ChatHead } from "../../lib/api/types";
import { count } from "../../lib/text/format";
import { t } from "../../lib/text/en";
import { Button, IconButton } from "../../lib/ui/button";
import { Mark, markOfHead } from "../../lib/ui/mark";
import { ProblemNote } from "../../lib/ui/states";

/** The agents of a chat, under it: how each stands, what it used, a way into it, a stop. */
export function AgentDock({ chatId }: { chatId: string }) {
  const agents = useQuery(agentsQuery(chatId));
  const items = agents.data?.items ?? [];
  if (items.length === 0) return null;
  const working = items.filter(isWorking);
  return (
    <details className="agent-dock" open={working.length > 0 || undefined}>
      <summary>
        {t.agents.title} <span className="num ink-2">{t.agents.working(working.length, items.length)}</span>
      </summary>
      <ul>
        {items.map((agent) => (
          <AgentRow key={agent.id} agent={agent} />
        ))}
      </ul>
      {working.length > 1 && <StopAll agents={working} />}
    </details>
  );
}

function AgentRow({ agent }: { agent: ChatHead }) {
  const stop = useMutation({ mutationFn: () => api.interrupt(agent.id) });
  return (
    <li className="agent-row">
      <Mark state={markOfHead(agent, false)} />
      <Link to="/chats/$chatId" params={{ chatId: agent.id }} className="link clip">
        {agent.title || t.inbox.untitled}
      </Link>
      <span className="ink-2 agent-more">{t.agents.types[agent.agent_type ?? "general"]}</span>
      <span className="ink-2">{stateOf(agent)}</span>
      <span className="num ink-3 agent-more">{agent.tokens ? t.chat.tokens(count(agent.tokens)) : ""}</span>
      {isWorking(agent) && (
        <IconButton
          icon="stop"
          label={t.agents.stop(agent.title)}
          disabled={stop.isPending || agent.status === "interrupting"}
          onClick={() => stop.mutate()}
        />
      )}
      {stop.isError && <ProblemNote error={stop.error} />}
    </li>
  );
}

function StopAll({ agents }: { agents: readonly ChatHead[] }) {
  const stop = useMutation({ mutationFn: () => Promise.all(agents.map((agent) => api.interrupt(agent.id))) });
  return (
    <>
      <Button look="quiet" icon="stop" busy={stop.isPending} onClick={() => stop.mutate()}>
        {t.agents.stopAll}
      </Button>
      {stop.isError && <ProblemNote error={stop.error} />}
    </>
  );
}

function isWorking(agent: ChatHead): boolean {
  return agent.status !== "waiting" && agent.status !== "error";
}

function stateOf(agent: ChatHead): string {
  if (agent.status === "requires_action" && !agent.waits_for_agents) return t.agents.needsYou;
  if (isWorking(agent)) return t.agents.works;
  return t.agents.outcomes[agent.outcome ?? "done"];
}
