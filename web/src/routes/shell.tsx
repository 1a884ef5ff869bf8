import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useState } from "react";
import { chatsQuery, meQuery } from "../lib/api/queries";
import { retryListStream, startListStream, useListSocket } from "../lib/live/list-stream";
import { isUnread, useSeen } from "../lib/live/seen";
import { t } from "../lib/text/en";

import { Brand } from "../lib/ui/brand";
import { useAttention } from "../lib/ui/hooks";
import { Icon, type IconName } from "../lib/ui/icon";
import { Mark, markOfChat } from "../lib/ui/mark";
import { ReconnectRail } from "../lib/ui/rail";
import { useShortcuts, type Overlay } from "../lib/ui/shortcuts";
import { AccountMenu } from "./account-menu";

const Palette = lazy(() => import("./palette"));
const ShortcutSheet = lazy(() => import("../lib/ui/shortcut-sheet"));

const NAV: ReadonlyArray<{ to: "/" | "/workspaces" | "/settings"; label: string; icon: IconName; keys: string }> = [
  { to: "/", label: t.nav.inbox, icon: "inbox", keys: "G I" },
  { to: "/workspaces", label: t.nav.workspaces, icon: "workspace", keys: "G W" },
  { to: "/settings", label: t.nav.settings, icon: "settings", keys: "G S" },
];

const NEEDS: readonly string[] = ["requires_action", "error"];

/** What surrounds every page behind the sign-in. */
export function Shell() {
  const navigate = useNavigate();
  const [overlay, setOverlay] = useState<Overlay>(null);
  const close = useCallback(() => setOverlay(null), []);
  const inChat = useRouterState({ select: (s) => /^\/(chats\/|new)/.test(s.location.pathname) });
  const socket = useListSocket();
  const chats = useQuery(chatsQuery);
  useEffect(() => startListStream(), []);
  useAttention(chats.data?.items.filter((chat) => NEEDS.includes(chat.status)).length ?? 0);
  useShortcuts(navigate, setOverlay, overlay !== null);

  return (
    <div className="shell" data-in-chat={inChat || undefined}>
      <a className="skip-link" href="#content">
        {t.common.skipLink}
      </a>
      {!inChat && <ReconnectRail socket={socket} onRetry={retryListStream} />}
      <Sidebar onHelp={() => setOverlay("shortcuts")} />
      <div className="shell-main">
        <Outlet />
      </div>
      <nav className="tabs" aria-label={t.nav.label}>
        {NAV.map((item) => (
          <Link key={item.to} to={item.to} className="tab" activeOptions={{ exact: item.to === "/" }}>
            <Icon name={item.icon} size={20} />
            {item.label}
          </Link>
        ))}
        <Link to="/new" search={{}} className="tab">
          <Icon name="plus" size={20} />
          {t.nav.newChat}
        </Link>
      </nav>
      <Suspense>
        {overlay === "palette" && <Palette onClose={close} />}
        {overlay === "shortcuts" && <ShortcutSheet onClose={close} />}
      </Suspense>
    </div>
  );
}

function Sidebar({ onHelp }: { onHelp: () => void }) {
  const chats = useQuery(chatsQuery);
  const me = useQuery(meQuery);
  const seen = useSeen();
  return (
    <aside className="sidebar" aria-label={t.nav.label}>
      <div className="sidebar-head">
        <Link to="/" className="sidebar-brand">
          <Brand />
        </Link>
      </div>
      <Link to="/new" search={{}} className="button button-plain sidebar-new">
        <Icon name="plus" />
        {t.nav.newChat}
        <kbd>C</kbd>
      </Link>
      <nav aria-label={t.nav.label}>
        {NAV.map((item) => (
          <Link
            key={item.to}
            to={item.to}
            className="nav-item"
            title={item.keys}
            activeOptions={{ exact: item.to === "/" }}
          >
            <Icon name={item.icon} />
            {item.label}
          </Link>
        ))}
      </nav>
      <nav className="sidebar-chats" aria-label={t.nav.recent}>
        <p className="sidebar-label">{t.nav.recent}</p>
        {chats.data?.items.slice(0, 30).map((chat) => (
          <Link key={chat.id} to="/chats/$chatId" params={{ chatId: chat.id }} className="nav-item nav-chat">
            <Mark state={markOfChat(chat.status, isUnread(chat, seen))} />
            <span className="clip">{chat.title || t.inbox.untitled}</span>
          </Link>
        ))}
      </nav>
      <div className="sidebar-foot">
        <AccountMenu name={me.data?.user.username ?? ""} onHelp={onHelp} />
      </div>
    </aside>
  );
}
