/** Every call of the API that the pages make, by name. */
import { body, client } from "./client";
import type { paths } from "./schema";
import type * as S from "./types";

type Body<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends {
  requestBody?: { content: { "application/json": infer B } };
}
  ? B
  : never;

const path = <T extends object>(params: T) => ({ params: { path: params } });
const key = (idempotencyKey: string) => ({ headers: { "Idempotency-Key": idempotencyKey } });

export const api = {
  bootstrap: () => body(client.GET("/api/v1/bootstrap")),
  setup: (value: Body<"/api/v1/setup", "post">) => body(client.POST("/api/v1/setup", { body: value })),
  login: (value: Body<"/api/v1/login", "post">) => body(client.POST("/api/v1/login", { body: value })),
  logout: () => body(client.POST("/api/v1/logout")),
  me: () => body(client.GET("/api/v1/me")),

  chats: (query: { cursor?: string; limit?: number; archived?: boolean }) =>
    body(client.GET("/api/v1/chats", { params: { query } })),
  chat: (id: string) => body(client.GET("/api/v1/chats/{id}", path({ id }))),
  createChat: (value: S.NewChat, once: string) =>
    body(client.POST("/api/v1/chats", { body: value, ...key(once) })),
  patchChat: (id: string, value: Body<"/api/v1/chats/{id}", "patch">) =>
    body(client.PATCH("/api/v1/chats/{id}", { ...path({ id }), body: value })),
  archive: (id: string) => body(client.POST("/api/v1/chats/{id}/archive", path({ id }))),
  unarchive: (id: string) => body(client.POST("/api/v1/chats/{id}/unarchive", path({ id }))),
  compact: (id: string) => body(client.POST("/api/v1/chats/{id}/compact", { ...path({ id }), body: {} })),
  traces: (id: string) => body(client.GET("/api/v1/chats/{id}/traces", { params: { path: { id }, query: { limit: 1_000 } } })),
  sentRequest: (id: string, span: string) =>
    body(client.GET("/api/v1/chats/{id}/traces/{span}/request", path({ id, span }))),
  usage: () => body(client.GET("/api/v1/usage")),
  interrupt: (id: string) => body(client.POST("/api/v1/chats/{id}/interrupt", path({ id }))),
  messagesBefore: (id: string, before: number, limit: number) =>
    body(client.GET("/api/v1/chats/{id}/messages", { params: { path: { id }, query: { before, limit } } })),
  send: (id: string, value: Body<"/api/v1/chats/{id}/messages", "post">, once: string) =>
    body(client.POST("/api/v1/chats/{id}/messages", { ...path({ id }), body: value, ...key(once) })),
  deleteQueued: (id: string, item: string) =>
    body(client.DELETE("/api/v1/chats/{id}/queue/{item}", path({ id, item }))),
  promoteQueued: (id: string, item: string) =>
    body(client.POST("/api/v1/chats/{id}/queue/{item}/promote", path({ id, item }))),

  editQueued: (id: string, item: string, value: Body<"/api/v1/chats/{id}/queue/{item}", "patch">) =>
    body(client.PATCH("/api/v1/chats/{id}/queue/{item}", { ...path({ id, item }), body: value })),
  editMessage: (id: string, message: string, content: S.PartBody[]) =>
    body(
      client.PATCH("/api/v1/chats/{id}/messages/{message}", {
        ...path({ id, message }),
        body: { content },
      }),
    ),
  variants: (id: string, message: string) =>
    body(client.GET("/api/v1/chats/{id}/messages/{message}/variants", path({ id, message }))),
  showBranch: (id: string, message: string) =>
    body(client.POST("/api/v1/chats/{id}/messages/{message}/show", path({ id, message }))),
  agents: (id: string) => body(client.GET("/api/v1/chats/{id}/agents", path({ id }))),
  continueChat: (id: string) => body(client.POST("/api/v1/chats/{id}/continue", path({ id }))),
  decide: (id: string, action: string, value: S.ApprovalBody) =>
    body(client.POST("/api/v1/chats/{id}/approvals/{action}", { ...path({ id, action }), body: value })),
  answer: (id: string, action: string, value: S.AnswerBody) =>
    body(client.POST("/api/v1/chats/{id}/answers/{action}", { ...path({ id, action }), body: value })),

  workspaces: () => body(client.GET("/api/v1/workspaces")),
  workspace: (id: string) => body(client.GET("/api/v1/workspaces/{id}", path({ id }))),
  createWorkspace: (value: { name: string }) => body(client.POST("/api/v1/workspaces", { body: value })),
  patchWorkspace: (id: string, value: Body<"/api/v1/workspaces/{id}", "patch">) =>
    body(client.PATCH("/api/v1/workspaces/{id}", { ...path({ id }), body: value })),
  deleteWorkspace: (id: string) => body(client.DELETE("/api/v1/workspaces/{id}", path({ id }))),
  joinToken: (id: string) => body(client.POST("/api/v1/workspaces/{id}/join-tokens", path({ id }))),
  processes: (id: string) => body(client.GET("/api/v1/workspaces/{id}/processes", path({ id }))),
  process: (id: string, process: string) =>
    body(client.GET("/api/v1/workspaces/{id}/processes/{process}", path({ id, process }))),
  stopProcess: (id: string, process: string) =>
    body(client.POST("/api/v1/workspaces/{id}/processes/{process}/stop", { ...path({ id, process }), body: {} })),
  searchOutput: (id: string, process: string, q: string, context: number) =>
    body(
      client.GET("/api/v1/workspaces/{id}/processes/{process}/output/search", {
        params: { path: { id, process }, query: { q, context } },
      }),
    ),
  ptys: (id: string) => body(client.GET("/api/v1/workspaces/{id}/ptys", path({ id }))),
  openPty: (id: string, value: Body<"/api/v1/workspaces/{id}/ptys", "post">) =>
    body(client.POST("/api/v1/workspaces/{id}/ptys", { ...path({ id }), body: value })),
  closePty: (id: string, pty: string) => body(client.DELETE("/api/v1/workspaces/{id}/ptys/{pty}", path({ id, pty }))),
  searchPty: (id: string, pty: string, query: S.PtySearch) =>
    body(client.GET("/api/v1/workspaces/{id}/ptys/{pty}/search", { params: { path: { id, pty }, query } })),
  signal: (id: string, process: string, signal: string) =>
    body(
      client.POST("/api/v1/workspaces/{id}/processes/{process}/signal", { ...path({ id, process }), body: { signal } }),
    ),

  providers: () => body(client.GET("/api/v1/providers")),
  createProvider: (value: S.NewProvider) => body(client.POST("/api/v1/providers", { body: value })),
  patchProvider: (id: string, value: Body<"/api/v1/providers/{id}", "patch">) =>
    body(client.PATCH("/api/v1/providers/{id}", { ...path({ id }), body: value })),
  deleteProvider: (id: string) => body(client.DELETE("/api/v1/providers/{id}", path({ id }))),
  testProvider: (id: string) => body(client.POST("/api/v1/providers/{id}/test", path({ id }))),

  models: () => body(client.GET("/api/v1/models")),
  createModel: (value: S.NewModel) => body(client.POST("/api/v1/models", { body: value })),
  patchModel: (id: string, value: Body<"/api/v1/models/{id}", "patch">) =>
    body(client.PATCH("/api/v1/models/{id}", { ...path({ id }), body: value })),
  deleteModel: (id: string) => body(client.DELETE("/api/v1/models/{id}", path({ id }))),

  settings: () => body(client.GET("/api/v1/settings")),
  patchSettings: (value: Body<"/api/v1/settings", "patch">) => body(client.PATCH("/api/v1/settings", { body: value })),

  apiKeys: () => body(client.GET("/api/v1/api-keys")),
  createApiKey: (value: { name: string }) => body(client.POST("/api/v1/api-keys", { body: value })),
  deleteApiKey: (id: string) => body(client.DELETE("/api/v1/api-keys/{id}", path({ id }))),
};
