//! Answers the calls of the file methods: reads at once, changes through the journal.
//!
//! ```text
//! plan ──► token.prepared(record) ──► apply ──► token.commit(answer) ──► the caller
//!   └── refused ────────────────────────────────► token.commit(error) ──►
//! ```
//!
//! After a crash, [`settle`] is asked about each change that had begun and not ended: without a
//! record nothing was replaced, with one the change is rolled forward.

use bytes::Bytes;
use shared::ids::OpId;
use shared::limits::WRITE_BYTES_MAX;
use shared::protocol::call::Fence;
use shared::protocol::files::{
    DeleteFile, EditFiles, GlobFiles, ListDirectory, METHODS, ReadBytes, ReadLines, SearchFiles,
    WriteFile,
};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::incoming::{Answerer, IncomingCall};
use shared::wire::io::WriteError;

use super::{FilesHandle, Prepared};
use crate::journal::{Admission, Interrupted, JournalHandle, Settlement, Token};

/// Whether `method` is answered by [`serve`].
#[must_use]
pub fn serves(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Whether `method` is one of [`serves`] that changes nothing.
#[must_use]
pub fn only_reads(method: &str) -> bool {
    const READS: &[&str] = &[
        ReadLines::NAME,
        ListDirectory::NAME,
        GlobFiles::NAME,
        SearchFiles::NAME,
        ReadBytes::NAME,
    ];
    READS.contains(&method)
}

/// Answers one call of a file method. Runs to its end even when the caller has gone away.
pub async fn serve(files: &FilesHandle, journal: &JournalHandle, mut call: IncomingCall) {
    let answered = match call.header.method.as_str() {
        ReadLines::NAME => call.read(async |request| files.lines(request).await).await,
        ListDirectory::NAME => call.read(async |request| files.list(request).await).await,
        GlobFiles::NAME => call.read(async |request| files.glob(request).await).await,
        SearchFiles::NAME => call.read(async |request| files.search(request).await).await,
        ReadBytes::NAME => {
            call.page(async |request: ReadBytes| files.read_bytes(request).await).await
        }
        WriteFile::NAME => {
            // Before the admission: a body that breaks off begins nothing and may come again.
            match body(&mut call).await {
                Ok(body) => {
                    change(files, journal, call, async |request: WriteFile| {
                        files.plan_write(request, body).await
                    })
                    .await
                }
                Err(error) => call.answer.fail(error).await,
            }
        }
        EditFiles::NAME => {
            change(files, journal, call, async |request| files.plan_edit(request).await).await
        }
        DeleteFile::NAME => {
            change(files, journal, call, async |request| files.plan_delete(request).await).await
        }
        other => {
            let text = format!("{other} is not a method of files");
            call.answer.fail(WireError::refused(ErrorCode::Unsupported, text)).await
        }
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "the caller of a file method has gone away");
    }
}

/// What became of a change that had begun when the daemon ended; none: not a file method.
///
/// Call it for every interrupted operation, then [`FilesHandle::sweep`], before the first call.
pub async fn settle(files: &FilesHandle, interrupted: &Interrupted) -> Option<Settlement> {
    if !serves(&interrupted.method) {
        return None;
    }
    let Some(record) = &interrupted.note else { return Some(Settlement::NeverRan) };
    let outcome = match files.recover(record.to_vec()).await {
        Ok(reply) => reply.encode(),
        Err(error) => encoded(error),
    };
    Some(Settlement::Ended(outcome.into()))
}

/// The content behind a write, checked against the limit before any of it is kept.
async fn body(call: &mut IncomingCall) -> Result<Bytes, WireError> {
    let request = call.decode::<WriteFile>()?;
    if request.len > WRITE_BYTES_MAX as u64 {
        let text = format!("{} bytes; the limit is {WRITE_BYTES_MAX}", request.len);
        return Err(WireError::refused(ErrorCode::FileTooLarge, text)
            .with("size", request.len)
            .with("limit", WRITE_BYTES_MAX));
    }
    Ok(call.body.read_exactly(request.len).await?)
}

/// Runs one change through the journal and answers it.
async fn change<M: Method>(
    files: &FilesHandle,
    journal: &JournalHandle,
    call: IncomingCall,
    plan: impl AsyncFnOnce(M) -> Result<Prepared, WireError>,
) -> Result<(), WriteError> {
    let asked = call.decode::<M>().and_then(|request| Ok((request, operation(&call)?)));
    let (request, (op, fence)) = match asked {
        Ok(asked) => asked,
        Err(error) => return call.answer.fail(error).await,
    };
    let outcome = match journal.begin(op, &fence, M::NAME).await {
        Admission::Begin(token) => run(files, token, plan(request).await).await,
        Admission::Answered(outcome) => Ok(outcome),
        Admission::Attach(attached) => attached.outcome().await,
        Admission::Refused(error) => Err(error),
    };
    answer_encoded(call.answer, outcome).await
}

/// The id and the fence that every operation carries.
fn operation(call: &IncomingCall) -> Result<(OpId, Fence), WireError> {
    let invalid = |text: &str| WireError::refused(ErrorCode::InvalidRequest, text);
    let op = call.header.id.parse().map_err(|_| invalid("the id is not an operation id"))?;
    let fence = call.header.fence.clone().ok_or_else(|| invalid("an operation needs a fence"))?;
    Ok((op, fence))
}

/// From a plan to the recorded outcome.
async fn run(
    files: &FilesHandle,
    token: Token,
    plan: Result<Prepared, WireError>,
) -> Result<Bytes, WireError> {
    let applied = match plan {
        Ok(prepared) => match token.prepared(prepared.record().into()).await {
            Ok(()) => files.apply(prepared).await,
            // The outcome is final: "ask again" would be its answer for ever.
            Err(error) => Err(WireError::failed(ErrorCode::DiskFull, error.message)),
        },
        Err(error) => Err(error),
    };
    let outcome = match applied {
        Ok(reply) => reply.encode(),
        Err(error) => encoded(error),
    };
    token.commit(outcome.into()).await
}

async fn answer_encoded(
    mut answer: Answerer,
    outcome: Result<Bytes, WireError>,
) -> Result<(), WriteError> {
    match outcome {
        Ok(outcome) => {
            answer.reply_encoded(outcome).await?;
            answer.finish().await
        }
        Err(error) => answer.fail(error).await,
    }
}

fn encoded(error: WireError) -> Vec<u8> {
    shared::wire::encode(&Reply::<()>::Err(error))
}
