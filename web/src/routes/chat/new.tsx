import "../../styles/chat.css";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "../../lib/api/calls";
import { useOnceKeys } from "../../lib/api/once";
import { modelsQuery, workspacesQuery } from "../../lib/api/queries";
import type { FilePart, Mode, WorkspaceView } from "../../lib/api/types";
import { t } from "../../lib/text/en";
import { useTitle } from "../../lib/ui/hooks";
import { Icon } from "../../lib/ui/icon";
import { load, save } from "../../lib/ui/local";
import { ProblemNote } from "../../lib/ui/states";
import { Composer } from "./composer";
import { saying } from "./files/saying";
import { ModePicker, modeOf } from "./mode-picker";
import { ModelPicker } from "./model-picker";

const LAST_WORKSPACE = "last-workspace";
const LAST_MODE = "last-mode";

/** A chat begins with what is asked; where it runs and who answers can be left as they are. */
export function NewChatPage() {
  useTitle(t.nav.newChat);
  const navigate = useNavigate();
  const { workspace: asked } = useSearch({ from: "/shell/new" });
  const workspaces = useQuery(workspacesQuery);
  const models = useQuery(modelsQuery);
  const [picked, setPicked] = useState<string | null>(asked ?? null);
  const [model, setModel] = useState<string | null>(null);
  const [mode, setMode] = useState<Mode>(() => modeOf(load(LAST_MODE, "auto")));
  const items = workspaces.data?.items ?? [];
  const workspace = picked === "" ? null : choose(items, picked);

  const keys = useOnceKeys();
  const create = useMutation({
    mutationFn: ({ text, files }: { text: string; files: FilePart[] }) => {
      const content = saying(text, files);
      return api.createChat(
        { content, workspace_id: workspace?.id ?? null, model_id: model, mode },
        keys.keyFor(JSON.stringify(content)),
      );
    },
    onSuccess: ({ chat }) => {
      keys.worked();
      save(LAST_WORKSPACE, workspace?.id ?? null);
      return navigate({ to: "/chats/$chatId", params: { chatId: chat.id } });
    },
  });
  const noModel = models.isSuccess && models.data.items.length === 0;
  return (
    <main className="chat chat-new" id="content">
      <header className="chat-head chat-head-bare">
        <Link to="/" className="icon-button chat-back" aria-label={t.nav.inbox}>
          <Icon name="back" />
        </Link>
      </header>
      <div className="chat-new-body">
        <h1>{t.chat.newTitle}</h1>
        {noModel && (
          <p className="banner">
            <Icon name="warn" />
            <span>
              {t.chat.needModel}{" "}
              <Link to="/settings/providers" className="link">
                {t.providers.add}
              </Link>
            </span>
          </p>
        )}
        {create.isError && <ProblemNote error={create.error} />}
        <Composer
          draftKey="new"
          chatId={null}
          busy={false}
          onSend={(text, _, files) => create.mutateAsync({ text, files })}
        >
          <select
            className="workspace-select"
            aria-label={t.chat.workspace}
            value={workspace?.id ?? ""}
            onChange={(e) => setPicked(e.target.value)}
          >
            <option value="">{t.inbox.noWorkspace}</option>
            {items.map((item) => (
              <option key={item.id} value={item.id}>
                {item.status === "connected" ? item.name : `${item.name}, ${t.workspaces.status[item.status].toLowerCase()}`}
              </option>
            ))}
          </select>
          <ModePicker
            value={mode}
            workspace={workspace}
            onPick={(chosen) => {
              setMode(chosen);
              save(LAST_MODE, chosen);
            }}
          />
          <ModelPicker models={models.data?.items ?? []} value={model} onPick={setModel} />
        </Composer>
        <p className="ink-2 chat-new-hint">{workspace ? t.chat.newHint(workspace.name) : t.chat.newHintNone}</p>
      </div>
    </main>
  );
}

/** What was asked for, else the last one used, else one that answers. */
function choose(items: readonly WorkspaceView[], picked: string | null): WorkspaceView | null {
  const byId = (id: string | null) => items.find((item) => item.id === id);
  return (
    byId(picked) ??
    byId(load<string | null>(LAST_WORKSPACE, null)) ??
    items.find((item) => item.status === "connected") ??
    items[0] ??
    null
  );
}
