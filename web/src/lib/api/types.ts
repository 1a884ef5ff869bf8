/** Short names for the generated types. Nothing is copied by hand. */
import type { components, operations } from "./schema";

type Schemas = components["schemas"];

export type ActionView = Schemas["ActionView"];
export type AnswerBody = Schemas["AnswerBody"];
export type ApprovalBody = Schemas["ApprovalBody"];
export type ApiKeyView = Schemas["ApiKeyView"];
export type Bootstrap = Schemas["BootstrapView"];
export type Busy = Schemas["BusyBody"];
export type ChatErrorView = Schemas["ChatErrorView"];
export type ChatEvent = Schemas["ChatEvent"];
export type ChatHead = Schemas["ChatHead"];
export type ChatStatus = Schemas["ChatStatus"];
export type ChatView = Schemas["ChatView"];
export type Envelope = Schemas["Envelope"];
export type FilePart = Extract<Schemas["Part"], { type: "file" }>;
export type FileView = Schemas["AttachmentView"];
export type ListEvent = Schemas["ListEvent"];
export type Me = Schemas["MeView"];
export type MessageView = Schemas["MessageView"];
export type ModelView = Schemas["ModelView"];
export type NamingBody = Schemas["NamingBody"];
export type NamingView = Schemas["NamingView"];
export type NewChat = Schemas["ChatBody"];
export type NewModel = Schemas["ModelBody"];
export type ModelChange = Schemas["ModelPatchBody"];
export type NewProvider = Schemas["ProviderBody"];
export type SpanView = Schemas["SpanView"];
export type Part = Schemas["Part"];
export type PartBody = Schemas["PartBody"];
export type Plan = Schemas["Plan"];
export type Mode = Schemas["ModeBody"];
export type PreviewKind = Schemas["PreviewKind"];
export type PreviewPart = Schemas["PreviewPart"];
export type ProcessView = Schemas["ProcessView"];
export type PtyMatchesView = Schemas["PtyMatchesView"];
export type PtyMatchView = Schemas["PtyMatchView"];
export type PtySaid = Schemas["PtySaid"];
export type PtyTold = Schemas["PtyTold"];
export type PtyView = Schemas["PtyView"];
export type PtySearch = operations["search_pty"]["parameters"]["query"];
export type ProviderKind = Schemas["KindBody"];
export type ProviderTest = Schemas["ProviderTestView"];
export type ProviderView = Schemas["ProviderView"];
export type QueuedView = Schemas["QueuedView"];
export type Role = Schemas["Role"];
export type WorkspaceStatus = Schemas["WorkspaceStatus"];
export type WorkspaceView = Schemas["WorkspaceView"];

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}
