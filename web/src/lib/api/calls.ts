/** Every call of the API that the pages make, by name. */
import { request } from "./client";
import type * as S from "./schema";

const get = <T>(path: string, query?: Parameters<typeof request>[2]) => request<T>("GET", path, query);
const post = <T>(path: string, body?: unknown, idempotencyKey?: string) =>
  request<T>("POST", path, { body, idempotencyKey });
const patch = <T>(path: string, body: unknown) => request<T>("PATCH", path, { body });
const remove = (path: string) => request<void>("DELETE", path);

export type Busy = "queue" | "steer" | "interrupt";
export interface NewChat {
  content: S.Part[];
  workspace_id?: string | null;
  model_id?: string | null;
  mode?: string;
}
export interface NewProvider {
  kind: S.ProviderKind;
  name: string;
  base_url?: string | null;
  api_key?: string | null;
}
export type NewModel = Omit<S.ModelView, "id">;

export const api = {
  bootstrap: () => get<S.Bootstrap>("/bootstrap"),
  setup: (body: { setup_token: string; username: string; password: string }) => post<S.Me>("/setup", body),
  login: (body: { username: string; password: string }) => post<S.Me>("/login", body),
  logout: () => post<void>("/logout"),
  me: () => get<S.Me>("/me"),

  chats: (query: { cursor?: string | null; limit?: number; archived?: boolean }) =>
    get<S.Page<S.ChatHead>>("/chats", { query }),
  chat: (id: string) => get<S.ChatView>(`/chats/${id}`),
  createChat: (body: NewChat, key: string) => post<{ chat: S.ChatView; message: S.MessageView }>("/chats", body, key),
  patchChat: (id: string, body: { title?: string; model_id?: string | null; mode?: string }) =>
    patch<S.ChatView>(`/chats/${id}`, body),
  archive: (id: string) => post<S.ChatView>(`/chats/${id}/archive`),
  unarchive: (id: string) => post<S.ChatView>(`/chats/${id}/unarchive`),
  interrupt: (id: string) => post<unknown>(`/chats/${id}/interrupt`),
  messagesBefore: (id: string, before: number, limit: number) =>
    get<S.Page<S.MessageView>>(`/chats/${id}/messages`, { query: { before, limit } }),
  send: (id: string, body: { content: S.Part[]; model_id?: string | null; busy: Busy }, key: string) =>
    post<unknown>(`/chats/${id}/messages`, body, key),
  deleteQueued: (id: string, queued: string) => remove(`/chats/${id}/queue/${queued}`),
  promoteQueued: (id: string, queued: string) => post<unknown>(`/chats/${id}/queue/${queued}/promote`),

  workspaces: () => get<S.Page<S.WorkspaceView>>("/workspaces"),
  workspace: (id: string) => get<S.WorkspaceView>(`/workspaces/${id}`),
  createWorkspace: (body: { name: string }) => post<S.WorkspaceView>("/workspaces", body),
  renameWorkspace: (id: string, name: string) => patch<S.WorkspaceView>(`/workspaces/${id}`, { name }),
  deleteWorkspace: (id: string) => remove(`/workspaces/${id}`),
  joinToken: (id: string) => post<S.JoinTokenView>(`/workspaces/${id}/join-tokens`),
  processes: (id: string) => get<S.Page<S.ProcessView>>(`/workspaces/${id}/processes`),
  signal: (id: string, process: string, signal: string) =>
    post<unknown>(`/workspaces/${id}/processes/${process}/signal`, { signal }),

  providers: () => get<S.Page<S.ProviderView>>("/providers"),
  createProvider: (body: NewProvider) => post<S.ProviderView>("/providers", body),
  patchProvider: (id: string, body: Partial<NewProvider>) => patch<S.ProviderView>(`/providers/${id}`, body),
  deleteProvider: (id: string) => remove(`/providers/${id}`),
  testProvider: (id: string) => post<S.ProviderTest>(`/providers/${id}/test`),

  models: () => get<S.Page<S.ModelView>>("/models"),
  createModel: (body: NewModel) => post<S.ModelView>("/models", body),
  patchModel: (id: string, body: Partial<NewModel>) => patch<S.ModelView>(`/models/${id}`, body),
  deleteModel: (id: string) => remove(`/models/${id}`),

  apiKeys: () => get<S.Page<S.ApiKeyView>>("/api-keys"),
  createApiKey: (body: { name: string }) => post<S.ApiKeyView & { key: string }>("/api-keys", body),
  deleteApiKey: (id: string) => remove(`/api-keys/${id}`),
};
