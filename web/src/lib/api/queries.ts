/** Keys and options of everything that is read by query; live events patch the same entries. */
import { QueryCache, QueryClient, queryOptions } from "@tanstack/react-query";
import { api } from "./calls";
import { asProblem } from "./problem";

export const queryClient = new QueryClient({
  queryCache: new QueryCache({ onError: signedOut }),
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      refetchOnWindowFocus: false,
      // Only a lost connection is worth repeating: every other answer is an answer.
      retry: (failures, error) => asProblem(error).offline && failures < 2,
    },
  },
});

export const bootstrapQuery = queryOptions({ queryKey: ["bootstrap"], queryFn: api.bootstrap, staleTime: 0 });
export const meQuery = queryOptions({ queryKey: ["me"], queryFn: api.me, staleTime: 5 * 60_000 });
export const workspacesQuery = queryOptions({ queryKey: ["workspaces"], queryFn: api.workspaces });
export const providersQuery = queryOptions({ queryKey: ["providers"], queryFn: api.providers });
export const modelsQuery = queryOptions({ queryKey: ["models"], queryFn: api.models });
export const settingsQuery = queryOptions({ queryKey: ["settings"], queryFn: api.settings });
export const apiKeysQuery = queryOptions({ queryKey: ["api-keys"], queryFn: api.apiKeys });
export const CHATS_PAGE = 200;
export const chatsQuery = queryOptions({
  queryKey: ["chats"],
  queryFn: () => api.chats({ limit: CHATS_PAGE }),
});
export const chatQuery = (id: string) => queryOptions({ queryKey: ["chat", id], queryFn: () => api.chat(id) });
export const agentsQuery = (id: string) => queryOptions({ queryKey: ["agents", id], queryFn: () => api.agents(id) });
export const workspaceQuery = (id: string) =>
  queryOptions({ queryKey: ["workspace", id], queryFn: () => api.workspace(id) });
export const processesQuery = (id: string) =>
  queryOptions({ queryKey: ["processes", id], queryFn: () => api.processes(id), staleTime: 1_000 });
export const processQuery = (id: string, process: string) =>
  queryOptions({ queryKey: ["process", id, process], queryFn: () => api.process(id, process), staleTime: 1_000 });
export const ptysQuery = (id: string) =>
  queryOptions({ queryKey: ["ptys", id], queryFn: () => api.ptys(id), staleTime: 1_000 });

/** Asked again every second while something runs. */
export const tracesQuery = (id: string) =>
  queryOptions({
    queryKey: ["traces", id],
    queryFn: () => api.traces(id),
    staleTime: 0,
    refetchInterval: (query) => (query.state.data?.items.some((span) => span.status === "running") ? 1_000 : false),
  });
export const sentQuery = (id: string, span: string) =>
  queryOptions({ queryKey: ["sent", id, span], queryFn: () => api.sentRequest(id, span), staleTime: Infinity });
export const usageQuery = queryOptions({ queryKey: ["usage"], queryFn: api.usage });

/** A session that ended while the page was open leads to the sign-in, and back here afterwards. */
function signedOut(error: unknown): void {
  const wasIn = queryClient.getQueryData(meQuery.queryKey) !== undefined;
  if (!wasIn || asProblem(error).status !== 401 || location.pathname === "/login") return;
  location.assign(`/login?to=${encodeURIComponent(location.pathname)}`);
}
