//! Raw pages of a daemon as the body of an answer, passed on as they come.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::fleet::{CallError, RawBody};

/// The bytes of `body`. A link that is lost in the middle ends the connection, so that a client that
/// counts sees that something is missing.
pub fn stream(body: RawBody) -> impl Stream<Item = Result<Bytes, CallError>> {
    unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}
