import "../../styles/chat.css";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";
import { api } from "../../lib/api/calls";
import { useOnceKeys } from "../../lib/api/once";
import { chatQuery, modelsQuery, workspacesQuery } from "../../lib/api/queries";
import type { Busy, FilePart, Mode } from "../../lib/api/types";
import { useChatLive } from "../../lib/live/chat-live";
import { markSeen } from "../../lib/live/seen";
import { t } from "../../lib/text/en";
import { useTitle } from "../../lib/ui/hooks";
import { ReconnectRail } from "../../lib/ui/rail";
import { LoadingRows, ProblemNote } from "../../lib/ui/states";
import { WorkspaceOfTools } from "../../lib/ui/tools/workspace";
import { ActionCards } from "./actions/cards";
import { AgentDock } from "./agents";
import { PlanDock } from "./actions/plan";
import { Announcer } from "./announcer";
import { ChatHeader } from "./header";
import { Composer } from "./composer";
import { saying } from "./files/saying";
import { durableItems } from "./items";
import { ModePicker, modeOf } from "./mode-picker";
import { ModelPicker } from "./model-picker";
import { ChatNotices } from "./notices";
import { Queue } from "./queue";
import { Transcript } from "./transcript";
import { useChatKeys } from "./keys";

export function ChatPage() {
  const { chatId } = useParams({ from: "/shell/chats/$chatId" });
  // A chat has its own page state: nothing leaks from one into the next.
  return <Chat key={chatId} id={chatId} />;
}

function Chat({ id }: { id: string }) {
  const known = useQuery(chatQuery(id));
  const models = useQuery(modelsQuery);
  const workspaces = useQuery(workspacesQuery);
  const live = useChatLive(id, known.isSuccess);
  const { chat } = live;
  const head = chat.head ?? known.data ?? null;
  const workspace = workspaces.data?.items.find((item) => item.id === head?.workspace_id) ?? null;
  // The first drawing waits for the whole snapshot; a reconnect keeps what is there.
  const begun = useRef(false);
  begun.current ||= chat.ready;
  const durable = useMemo(() => durableItems(chat.messages), [chat.messages]);
  const asked = chat.status === "requires_action";
  const busy = chat.status === "running" || chat.status === "interrupting" || asked;
  useTitle(head?.title || t.inbox.untitled);

  const version = Math.max(head?.snapshot_version ?? 0, versionOf(chat.cursor));
  useEffect(() => {
    if (chat.ready && !busy && document.visibilityState === "visible") markSeen([{ id, snapshot_version: version }]);
  }, [id, chat.ready, busy, version]);

  const keys = useOnceKeys();
  const send = useMutation({
    mutationFn: ({ text, how, files }: { text: string; how: Busy; files: FilePart[] }) => {
      const content = saying(text, files);
      return api.send(id, { content, busy: how }, keys.keyFor(JSON.stringify(content)));
    },
    onSuccess: () => keys.worked(),
  });
  const stop = useMutation({ mutationFn: () => api.interrupt(id) });
  const pick = useMutation({ mutationFn: (model: string) => api.patchChat(id, { model_id: model }) });
  const setMode = useMutation({ mutationFn: (mode: Mode) => api.patchChat(id, { mode }) });
  const goOn = useMutation({ mutationFn: () => api.continueChat(id) });
  useChatKeys({ busy, onStop: () => stop.mutate(), durable });

  if (known.isError) {
    return (
      <main className="page page-narrow" id="content">
        <ProblemNote error={known.error} onRetry={() => void known.refetch()} />
      </main>
    );
  }
  return (
    <main className="chat" id="content">
      <ReconnectRail socket={live.socket} onRetry={live.retryNow} />
      {head && <ChatHeader chat={head} status={chat.status} workspace={workspace} />}
      {begun.current ? (
        <WorkspaceOfTools value={head?.workspace_id ?? null}>
          <Transcript
            chatId={id}
            live={live}
            durable={durable}
            lost={workspace?.status === "unreachable"}
            onLoadOlder={live.loadOlder}
          />
        </WorkspaceOfTools>
      ) : (
        <div className="chat-loading">
          <LoadingRows />
        </div>
      )}
      <div className="chat-foot">
        <ChatNotices chat={chat} workspace={workspace} onRetry={() => goOn.mutate()} />
        {head?.plan && <PlanDock plan={head.plan} />}
        <AgentDock chatId={id} />
        {chat.actions.length > 0 && <ActionCards chatId={id} actions={chat.actions} />}
        {chat.queue.length > 0 && <Queue chatId={id} items={chat.queue} />}
        {send.isError && <ProblemNote error={send.error} />}
        {stop.isError && <ProblemNote error={stop.error} />}
        {pick.isError && <ProblemNote error={pick.error} />}
        {setMode.isError && <ProblemNote error={setMode.error} />}
        {goOn.isError && <ProblemNote error={goOn.error} />}
        <Composer
          draftKey={id}
          busy={busy}
          stopping={chat.status === "interrupting" || stop.isPending}
          archived={head?.archived ?? false}
          chatId={id}
          onSend={(text, how, files) => send.mutateAsync({ text, how, files })}
          onStop={() => stop.mutate()}
        >
          <ModePicker value={modeOf(head?.mode)} workspace={workspace} onPick={(mode) => setMode.mutate(mode)} />
          <ModelPicker
            models={models.data?.items ?? []}
            value={head?.model_id ?? null}
            onPick={(model) => pick.mutate(model)}
          />
        </Composer>
      </div>
      <Announcer chat={chat} durable={durable} />
    </main>
  );
}

/** The first field of a cursor is the version of the chat that it covers. */
function versionOf(cursor: string | null): number {
  const first = Number.parseInt(cursor ?? "", 10);
  return Number.isNaN(first) ? 0 : first;
}
