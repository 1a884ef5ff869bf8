import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { chatsQuery, workspacesQuery } from "../lib/api/queries";
import { t } from "../lib/text/en";
import { Dialog } from "../lib/ui/dialog";
import { PickList, type PickItem } from "../lib/ui/pick-list";

/** Go to anything by typing a piece of its name. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const chats = useQuery(chatsQuery);
  const workspaces = useQuery(workspacesQuery);
  const items = useMemo<PickItem[]>(
    () => [
      ...PAGES.map((page) => ({ ...page, note: t.palette.page })),
      ...(chats.data?.items ?? []).map((chat) => ({
        id: `/chats/${chat.id}`,
        label: chat.title || t.inbox.untitled,
        note: t.palette.chat,
      })),
      ...(workspaces.data?.items ?? []).map((workspace) => ({
        id: `/workspaces/${workspace.id}`,
        label: workspace.name,
        note: t.palette.workspace,
      })),
    ],
    [chats.data, workspaces.data],
  );
  return (
    <Dialog title={t.palette.title} onClose={onClose} bare>
      <PickList
        label={t.palette.title}
        placeholder={t.palette.placeholder}
        none={t.palette.none}
        items={items}
        onPick={(id) => {
          onClose();
          void navigate({ href: id });
        }}
      />
    </Dialog>
  );
}

const PAGES = [
  { id: "/new", label: t.nav.newChat },
  { id: "/", label: t.nav.inbox },
  { id: "/workspaces", label: t.nav.workspaces },
  { id: "/settings/providers", label: t.providers.title },
  { id: "/settings/models", label: t.models.title },
  { id: "/settings/api-keys", label: t.apiKeys.title },
  { id: "/settings/appearance", label: t.appearance.title },
];
