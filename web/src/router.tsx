import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import type { QueryClient } from "@tanstack/react-query";
import { asProblem } from "./lib/api/problem";
import { bootstrapQuery, meQuery, queryClient } from "./lib/api/queries";
import { NotFound, RouteError, RouteLoading } from "./routes/fallbacks";
import { LoginPage } from "./routes/login";
import { Root } from "./routes/root";
import { Shell } from "./routes/shell";

const rootRoute = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  component: Root,
  notFoundComponent: NotFound,
});

/** Everything behind a sign-in. */
const shellRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "shell",
  component: Shell,
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queryClient.ensureQueryData(meQuery);
    } catch (error) {
      if (asProblem(error).status !== 401) throw error;
      const { setup_required } = await context.queryClient.fetchQuery(bootstrapQuery);
      if (setup_required) throw redirect({ to: "/setup", search: {} });
      throw redirect({ to: "/login", search: { to: location.href } });
    }
  },
});

const setupRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/setup",
  validateSearch: (search: Record<string, unknown>): { token?: string } =>
    typeof search.token === "string" ? { token: search.token } : {},
  component: lazyRouteComponent(() => import("./routes/setup/page"), "SetupPage"),
});

const loginRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/login",
  validateSearch: (search: Record<string, unknown>): { to?: string } =>
    typeof search.to === "string" ? { to: search.to } : {},
  component: LoginPage,
});

const inboxRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/",
  component: lazyRouteComponent(() => import("./routes/inbox/page"), "InboxPage"),
});

const newChatRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/new",
  validateSearch: (search: Record<string, unknown>): { workspace?: string } =>
    typeof search.workspace === "string" ? { workspace: search.workspace } : {},
  component: lazyRouteComponent(() => import("./routes/chat/new"), "NewChatPage"),
});

const chatRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/chats/$chatId",
  component: lazyRouteComponent(() => import("./routes/chat/page"), "ChatPage"),
});

const traceRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/chats/$chatId/trace",
  component: lazyRouteComponent(() => import("./routes/trace/page"), "TracePage"),
});

const workspacesRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/workspaces",
  component: lazyRouteComponent(() => import("./routes/workspaces/list"), "WorkspacesPage"),
});

const workspaceRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/workspaces/$workspaceId",
  component: lazyRouteComponent(() => import("./routes/workspaces/detail"), "WorkspacePage"),
});

const terminalsRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/workspaces/$workspaceId/terminals",
  validateSearch: (search: Record<string, unknown>): { pty?: string } =>
    typeof search.pty === "string" ? { pty: search.pty } : {},
  component: lazyRouteComponent(() => import("./routes/workspaces/terminals/page"), "TerminalsPage"),
});

const processRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/workspaces/$workspaceId/processes/$processId",
  validateSearch: (search: Record<string, unknown>): { at?: number } => {
    const at = Number(search.at);
    return Number.isSafeInteger(at) && at >= 0 && search.at !== undefined ? { at } : {};
  },
  component: lazyRouteComponent(() => import("./routes/workspaces/output/page"), "ProcessPage"),
});

const settingsRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/settings",
  component: lazyRouteComponent(() => import("./routes/settings/layout"), "SettingsLayout"),
});

const settingsIndex = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/settings/providers" });
  },
});

const providersRoute = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/providers",
  component: lazyRouteComponent(() => import("./routes/settings/providers"), "ProvidersPage"),
});

const modelsRoute = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/models",
  component: lazyRouteComponent(() => import("./routes/settings/models"), "ModelsPage"),
});

const keysRoute = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/api-keys",
  component: lazyRouteComponent(() => import("./routes/settings/api-keys"), "ApiKeysPage"),
});

const usageRoute = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/usage",
  component: lazyRouteComponent(() => import("./routes/settings/usage"), "UsagePage"),
});

const appearanceRoute = createRoute({
  getParentRoute: () => settingsRoute,
  path: "/appearance",
  component: lazyRouteComponent(() => import("./routes/settings/appearance"), "AppearancePage"),
});

const routeTree = rootRoute.addChildren([
  setupRoute,
  loginRoute,
  shellRoute.addChildren([
    inboxRoute,
    newChatRoute,
    chatRoute,
    traceRoute,
    workspacesRoute,
    workspaceRoute,
    terminalsRoute,
    processRoute,
    settingsRoute.addChildren([settingsIndex, providersRoute, modelsRoute, keysRoute, usageRoute, appearanceRoute]),
  ]),
]);

export const router = createRouter({
  routeTree,
  context: { queryClient },
  defaultPreload: "intent",
  defaultPendingMs: 150,
  defaultPendingMinMs: 0,
  defaultPendingComponent: RouteLoading,
  defaultErrorComponent: RouteError,
  scrollRestoration: false,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
