/** Keys and options of everything that is read by query; live events patch the same entries. */
import { QueryClient, queryOptions } from "@tanstack/react-query";
import { api } from "./calls";
import { asProblem } from "./problem";

export const queryClient = new QueryClient({
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
export const apiKeysQuery = queryOptions({ queryKey: ["api-keys"], queryFn: api.apiKeys });
export const chatsQuery = queryOptions({
  queryKey: ["chats"],
  queryFn: () => api.chats({ limit: 200, archived: false }),
});
export const chatQuery = (id: string) => queryOptions({ queryKey: ["chat", id], queryFn: () => api.chat(id) });
export const workspaceQuery = (id: string) =>
  queryOptions({ queryKey: ["workspace", id], queryFn: () => api.workspace(id) });
export const processesQuery = (id: string) =>
  queryOptions({ queryKey: ["processes", id], queryFn: () => api.processes(id), staleTime: 1_000 });
