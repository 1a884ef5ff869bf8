/** The API's shapes, named as in the OpenAPI document. */

export type ChatStatus = "waiting" | "running" | "interrupting" | "requires_action" | "error";
export type Role = "user" | "assistant" | "tool";

export type Part =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "tool_call"; tool_call_id: string; name: string; args: unknown }
  | {
      type: "tool_result";
      tool_call_id: string;
      name: string;
      result: unknown;
      is_error?: boolean;
      duration_ms?: number;
    }
  | { type: "notice"; code: string; text: string };

export interface Usage {
  input: number;
  cache_read: number;
  cache_write: number;
  output: number;
  reasoning: number;
  source: string;
}

export interface MessageView {
  id: string;
  chat_id: string;
  seq: number;
  revision: number;
  role: Role;
  content: Part[];
  created_at: string;
  model?: string | null;
  usage?: Usage | null;
}

export interface QueuedView {
  id: string;
  content: Part[];
  model_id?: string | null;
  created_at: string;
}

export interface ChatErrorView {
  code: string;
  message: string;
  retryable: boolean;
  provider?: string | null;
  status_code?: number | null;
  request_id?: string | null;
}

export interface ChatHead {
  id: string;
  title: string;
  label?: string | null;
  mode: string;
  model_id?: string | null;
  workspace_id?: string | null;
  status: ChatStatus;
  archived: boolean;
  snapshot_version: number;
  created_at: string;
  updated_at: string;
}

export type PreviewKind = "text" | "reasoning" | "tool_call" | "tool_result";

export interface PreviewPart {
  history_version: number;
  attempt: number;
  seq: number;
  index: number;
  kind: PreviewKind;
  tool_call_id?: string | null;
  name?: string | null;
  delta?: string | null;
  value?: Part | null;
}

export type ChatEvent =
  | { type: "message"; message: MessageView }
  | { type: "message_removed"; id: string }
  | ({ type: "part" } & PreviewPart)
  | { type: "preview_reset" }
  | { type: "status"; status: ChatStatus }
  | { type: "queue"; items: QueuedView[] }
  | { type: "retry"; attempt: number; delay_ms: number; retry_at: string; error: ChatErrorView }
  | { type: "fallback"; selected_model: string; answered_by: string; reason: string }
  | { type: "action_required"; actions: unknown[] }
  | { type: "chat"; chat: ChatHead }
  | { type: "usage"; usage: Usage }
  | { type: "error"; error?: ChatErrorView | null }
  | { type: "resync"; reason: string }
  | { type: "ready" }
  | { type: "ping" };

export type Envelope = ChatEvent & { cursor: string };

export type ListEvent =
  | { type: "chat"; chat: ChatHead }
  | { type: "chat_removed"; id: string }
  | { type: "workspace"; workspace: WorkspaceView }
  | { type: "ready" }
  | { type: "ping" }
  | { type: "resync"; reason: string };

export type ChatView = ChatHead & {
  owner_id: string;
  queue: QueuedView[];
  last_error?: ChatErrorView | null;
  actions: unknown[];
};

export type WorkspaceStatus = "pending" | "connected" | "unreachable";

export interface WorkspaceView {
  id: string;
  name: string;
  labels: Record<string, string>;
  status: WorkspaceStatus;
  unreachable_since?: string | null;
  version?: string | null;
  os?: string | null;
  arch?: string | null;
  hostname?: string | null;
  root?: string | null;
  rtt_ms?: number | null;
  last_seen_at?: string | null;
  created_at: string;
}

export interface JoinTokenView {
  id: string;
  token: string;
  expires_at: string;
  command: string;
}

export interface ProcessView {
  id: string;
  command: string;
  cwd: string;
  chat_id?: string | null;
  state: "running" | "exited" | "not_started" | "lost";
  os_pid?: number | null;
  started_at: string;
  ended_at?: string | null;
  exit?: { code: number } | { signal: number; core: boolean } | null;
  output_total: number;
  dropped_from: number;
  dropped_to: number;
  error?: { code: string; message: string } | null;
}

export type ProviderKind = "anthropic" | "openai" | "openai_compatible" | "gemini" | "scripted";

export interface ProviderView {
  id: string;
  kind: ProviderKind;
  name: string;
  base_url?: string | null;
  key_hint?: string | null;
  created_at: string;
}

export interface ProviderTest {
  ok: boolean;
  latency_ms: number;
  models: string[];
  error?: ChatErrorView | null;
}

export interface ModelView {
  id: string;
  provider_id: string;
  model: string;
  display_name: string;
  context_limit: number;
  max_output_tokens?: number | null;
  price?: unknown;
  options?: unknown;
  enabled: boolean;
  hidden: boolean;
  default: boolean;
}

export interface ApiKeyView {
  id: string;
  name: string;
  hint?: string | null;
  created_at: string;
  expires_at?: string | null;
  last_used_at?: string | null;
}

export interface UserView {
  id: string;
  username: string;
  role: string;
}

export interface Me {
  user: UserView;
  auth: "session" | "api_key";
}

export interface Bootstrap {
  setup_required: boolean;
  version: string;
  demo: boolean;
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}
