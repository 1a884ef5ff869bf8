/** What a call about agents, or to an advisor, shows when it is open. */
import { Link } from "@tanstack/react-router";
import { t } from "../../text/en";
import { Markdown } from "../markdown/markdown";
import { ToolError } from "./details";
import { useToolWorkspace } from "./workspace";
import { list, record, text, type ToolView } from "./view";

/** The agents of a call's answer: how each stands, its report, a way into its chat. */
export function AgentsDetail({ view }: { view: ToolView }) {
  const many = list(view.result, "agents");
  const agents = many.length > 0 ? many : text(view.result, "agent_id") ? [record(view.result)] : [];
  const prompt = text(view.args, "prompt");
  return (
    <>
      {prompt && <Markdown text={prompt} />}
      <ToolError view={view} />
      {agents.map((agent, i) => (
        <AgentPart key={text(agent, "agent_id") ?? i} agent={agent} />
      ))}
    </>
  );
}

function AgentPart({ agent }: { agent: unknown }) {
  // Agents have their chat's workspace; without one this is drawn outside a transcript.
  const inTranscript = useToolWorkspace() !== null;
  const id = text(agent, "agent_id");
  const report = text(agent, "report");
  return (
    <section className="agent-part">
      <p className="tool-note">
        {text(agent, "title")} <span className="ink-2">{text(agent, "status")}</span>{" "}
        {id && inTranscript && (
          <Link to="/chats/$chatId" params={{ chatId: id }} className="link">
            {t.agents.open}
          </Link>
        )}
      </p>
      {report && <Markdown text={report} />}
    </section>
  );
}

/** The question, and the advice as it comes. */
export function AdviceDetail({ view }: { view: ToolView }) {
  const question = text(view.args, "question");
  const advice = text(view.result, "advice") ?? view.output;
  return (
    <section className="advice-card">
      {question && <p className="ink-2">{question}</p>}
      <ToolError view={view} />
      {advice && <Markdown text={advice} />}
    </section>
  );
}
