//! The stable codes of the API's problems. Closed list; a code is never reused.
//!
//! Each has a page in `docs/errors`, served under `/api/errors/{code}`; a test compares. Errors of a
//! daemon keep their own codes (`shared::protocol::ErrorCode`) and have pages there too.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// What went wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The text that clients branch on.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// A short summary that does not change from case to case.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    // The request's form
    /// The body is not JSON; `detail` has the byte offset.
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not valid JSON";
    /// Arrays and objects are nested too deeply.
    JsonTooDeep = "json_too_deep", BAD_REQUEST, "The JSON is nested too deeply";
    /// More values than a request may have.
    TooManyItems = "too_many_items", BAD_REQUEST, "The JSON has too many values";
    /// A number outside its range.
    OutOfRange = "out_of_range", BAD_REQUEST, "A number is out of range";
    /// Text that is not valid Unicode, or holds a NUL.
    InvalidUtf8 = "invalid_utf8", BAD_REQUEST, "A text is not valid";
    /// A field that does not exist.
    UnknownField = "unknown_field", BAD_REQUEST, "The body has an unknown field";
    /// A required field is not there.
    MissingField = "missing_field", BAD_REQUEST, "The body lacks a field";
    /// A field of another type.
    InvalidType = "invalid_type", BAD_REQUEST, "A field has the wrong type";
    /// A field whose value is not one of those allowed.
    InvalidValue = "invalid_value", BAD_REQUEST, "A field has a value that is not allowed";
    /// An id of another form.
    InvalidId = "invalid_id", BAD_REQUEST, "An id is malformed";
    /// A query parameter that does not fit.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter does not fit";
    /// `limit` outside its range.
    InvalidLimit = "invalid_limit", BAD_REQUEST, "The limit is out of range";
    /// A cursor that this list did not give out.
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "The cursor is not one of this list";
    /// A malformed header.
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header is malformed";
    /// A body over the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// A compressed body.
    UnsupportedEncoding = "unsupported_encoding", UNSUPPORTED_MEDIA_TYPE, "Compressed bodies are not accepted";
    /// A body of another type.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The content type is not accepted";
    /// No route, no such thing, or not yours.
    NotFound = "not_found", NOT_FOUND, "Nothing is here";
    /// The route exists with other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The idempotency key was used for another request.
    IdempotencyConflict = "idempotency_conflict", CONFLICT, "The idempotency key was used for another request";
    /// The first request with this key has not been answered yet.
    IdempotencyInFlight = "idempotency_in_flight", CONFLICT, "The first request with this key is not answered yet";

    // Who asks, and from where
    /// No or wrong credentials.
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "The credentials are not accepted";
    /// The session or the key has expired.
    Expired = "expired", UNAUTHORIZED, "The credentials have expired";
    /// A credential in the address, where logs would keep it.
    CredentialInUrl = "credential_in_url", BAD_REQUEST, "A credential does not belong in the address";
    /// The API key lacks a scope.
    MissingScope = "missing_scope", FORBIDDEN, "The API key lacks a scope";
    /// Only an administrator may.
    AdminOnly = "admin_only", FORBIDDEN, "Only an administrator may do this";
    /// A write with a cookie lacks the header that a foreign page cannot send.
    CsrfHeaderMissing = "csrf_header_missing", FORBIDDEN, "The header X-Holdfast-CSRF is missing";
    /// The page that asks is not ours.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "The origin is not allowed";
    /// The server was called by a name that is not its own.
    HostNotAllowed = "host_not_allowed", MISDIRECTED_REQUEST, "The host is not allowed";
    /// Too many tries.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// The one-time link is wrong, used or expired.
    SetupTokenInvalid = "setup_token_invalid", UNAUTHORIZED, "The set-up link is not accepted";
    /// There is an administrator already.
    SetupDone = "setup_done", CONFLICT, "Set-up is done";
    /// The password is too short or too long.
    WeakPassword = "weak_password", BAD_REQUEST, "The password is not accepted";

    // Things
    /// The name is in use.
    NameTaken = "name_taken", CONFLICT, "The name is in use";
    /// The thing is in use and cannot be removed.
    InUse = "in_use", CONFLICT, "It is in use";
    /// `If-Match` names another version.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "It has changed";
    /// The thing changed at the same moment.
    Conflict = "conflict", CONFLICT, "It changed at the same moment";
    /// A message without text.
    EmptyMessage = "empty_message", BAD_REQUEST, "The message is empty";
    /// A message over the limit.
    MessageTooLong = "message_too_long", PAYLOAD_TOO_LARGE, "The message is too long";
    /// A file without a byte.
    EmptyAttachment = "empty_attachment", BAD_REQUEST, "The file is empty";
    /// A file over the limit.
    AttachmentTooLarge = "attachment_too_large", PAYLOAD_TOO_LARGE, "The file is too large";
    /// The bytes are not those whose digest was sent.
    DigestMismatch = "digest_mismatch", BAD_REQUEST, "The file is not what was announced";
    /// The connection ended inside the file.
    TruncatedBody = "truncated_body", BAD_REQUEST, "The body ended early";
    /// The chat has as many files as it may.
    TooManyAttachments = "too_many_attachments", CONFLICT, "The chat has too many attachments";
    /// No such file in the chat.
    AttachmentNotFound = "attachment_not_found", NOT_FOUND, "There is no such attachment";
    /// The chat runs, and this needs it at rest.
    ChatRunning = "chat_running", CONFLICT, "The chat is running";
    /// The chat is at rest, and this needs it running.
    ChatNotRunning = "chat_not_running", CONFLICT, "The chat is not running";
    /// The chat is archived.
    ChatArchived = "chat_archived", CONFLICT, "The chat is archived";
    /// The chat waits for an answer.
    ChatRequiresAction = "chat_requires_action", CONFLICT, "The chat waits for an answer";
    /// The queue has no room.
    QueueFull = "queue_full", CONFLICT, "The queue is full";
    /// The history has nothing that a summary could stand for.
    NothingToCompact = "nothing_to_compact", CONFLICT, "There is nothing to compact";
    /// Nothing waits under this id.
    ActionNotFound = "action_not_found", NOT_FOUND, "Nothing waits under this id";
    /// It was decided or answered already, or its time is over.
    ActionResolved = "action_resolved", CONFLICT, "It was decided already";
    /// What waits is not what was shown.
    ActionMismatch = "action_mismatch", CONFLICT, "What waits is not what was shown";
    /// A result for a call that does not wait for the client.
    ClientResultUnexpected = "client_result_unexpected", CONFLICT, "No call waits for this result";
    /// Two results for one call.
    ClientResultDuplicate = "client_result_duplicate", BAD_REQUEST, "A call has two results";
    /// A call that waits for the client has no result.
    ClientResultMissing = "client_result_missing", CONFLICT, "A result is missing";
    /// No such message in the branch that is shown.
    MessageNotFound = "message_not_found", NOT_FOUND, "There is no such message";
    /// The message is not a user's.
    MessageNotEditable = "message_not_editable", CONFLICT, "The message cannot be edited";
    /// The chat belongs to another one.
    ChatNotRoot = "chat_not_root", CONFLICT, "The chat belongs to another one";
    /// The chat's stored state contradicts itself.
    ChatStateInvalid = "chat_state_invalid", CONFLICT, "The chat's state contradicts itself";
    /// There is no model to answer with.
    NoModel = "no_model", CONFLICT, "No model is set up";
    /// An address that the server may not call.
    UrlNotAllowed = "url_not_allowed", BAD_REQUEST, "The address is not allowed";
    /// The workspace's daemon is not connected.
    WorkspaceNotConnected = "workspace_not_connected", SERVICE_UNAVAILABLE, "The workspace is not connected";
    /// The link was lost and nobody can say whether it was done.
    OutcomeUnknown = "outcome_unknown", BAD_GATEWAY, "Nobody knows whether it was done";

    // Streams
    /// The route speaks WebSocket.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "This route speaks WebSocket";
    /// No common subprotocol.
    UnsupportedSubprotocol = "unsupported_subprotocol", BAD_REQUEST, "The subprotocol is not known";
    /// Too many streams at once.
    TooManyStreams = "too_many_subscriptions", TOO_MANY_REQUESTS, "Too many streams are open";
    /// A message on the socket that nobody knows.
    UnknownType = "unknown_type", BAD_REQUEST, "The event type is not known";
    /// A message on the socket of the wrong shape.
    InvalidEvent = "invalid_event", BAD_REQUEST, "The event is malformed";
    /// A cursor that cannot be resumed.
    CursorInvalid = "cursor_invalid", BAD_REQUEST, "The cursor cannot be resumed";
    /// The stream moved on too far.
    ResyncRequired = "resync_required", CONFLICT, "The stream must begin again";
    /// Input on a PTY's socket that cannot be passed on now.
    NotAttached = "not_attached", CONFLICT, "The viewer is not attached";
    /// The reader does not read.
    SlowConsumer = "slow_consumer", CONFLICT, "The reader is too slow";
    /// No pong came.
    PingTimeout = "ping_timeout", REQUEST_TIMEOUT, "The other side went silent";

    // Us
    /// A fault of the server; the log has more under the request id.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed";
    /// The database cannot be reached.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The database cannot be reached";
    /// The disk is full.
    DiskFull = "disk_full", INSUFFICIENT_STORAGE, "The disk is full";
    /// The server is ending.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The server is ending";
}
