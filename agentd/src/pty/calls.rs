//! Answers the calls that read from terminals and attach to them. Operations go through the
//! dispatcher and its journal.

use bytes::Bytes;
use shared::protocol::pty::{
    AttachPty, GetPty, ListPtys, PtyRecording, ReadPtyOutput, ReadPtyScreen, RecordPty, SearchPty,
};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::incoming::IncomingCall;
use shared::wire::io::WriteError;

use super::PtyHandle;
use super::handle::Begun;
use super::recording::MEDIA_TYPE;

/// Answers one call of a terminal method that is no operation.
pub async fn serve(ptys: &PtyHandle, call: IncomingCall) {
    let method = call.header.method.clone();
    let answered = match method.as_str() {
        GetPty::NAME => call.read(async |request: GetPty| ptys.view(request.pty_id)).await,
        ListPtys::NAME => call.read(async |request: ListPtys| ptys.list(&request)).await,
        ReadPtyScreen::NAME => {
            call.read(async |request: ReadPtyScreen| ptys.screen(&request).await).await
        }
        SearchPty::NAME => call.read(async |request: SearchPty| ptys.search(&request).await).await,
        AttachPty::NAME => attach(ptys, call).await,
        ReadPtyOutput::NAME => {
            call.page(async |request: ReadPtyOutput| ptys.read(&request).await).await
        }
        RecordPty::NAME => record(ptys, call).await,
        other => {
            let text = format!("{other} is not a method of terminals");
            call.answer.fail(WireError::refused(ErrorCode::Unsupported, text)).await
        }
    };
    if let Err(error) = answered {
        tracing::debug!(%method, %error, "the caller of a terminal method has gone away");
    }
}

async fn attach(ptys: &PtyHandle, call: IncomingCall) -> Result<(), WriteError> {
    let begun = match call.decode::<AttachPty>() {
        Ok(request) => ptys.attach(request).await,
        Err(error) => Err(error),
    };
    let IncomingCall { body, answer, cancelled, .. } = call;
    let Begun { head, screen, viewing } = match begun {
        Ok(begun) => begun,
        Err(error) => return answer.fail(error).await,
    };
    let frames = body.into_frames();
    viewing.serve((head, screen), frames, answer, cancelled.cancelled()).await
}

async fn record(ptys: &PtyHandle, call: IncomingCall) -> Result<(), WriteError> {
    let opened = match call.decode::<RecordPty>() {
        Ok(request) => ptys.record(&request).await,
        Err(error) => Err(error),
    };
    let mut answer = call.answer;
    let (pty, mut recording) = match opened {
        Ok(opened) => opened,
        Err(error) => return answer.fail(error).await,
    };
    answer.reply(&Reply::Ok(PtyRecording { pty, media_type: MEDIA_TYPE.to_owned() })).await?;
    loop {
        let make = move || {
            let next = recording.next();
            (recording, next)
        };
        let next;
        (recording, next) = ptys.lifecycle().blocking("pty.recording", make).await;
        match next {
            Ok(Some(lines)) => answer.raw(Bytes::from(lines)).await?,
            Ok(None) => return answer.finish().await,
            // Without its end the caller knows that this was not all.
            Err(error) => {
                tracing::warn!(%error, "output could not be read for a recording");
                return Ok(());
            }
        }
    }
}
