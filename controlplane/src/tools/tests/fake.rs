//! A workspace that answers from a list and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{iter, pending};
use shared::ids::{ChatId, OpId, ProcessId};
use shared::protocol::Method;
use shared::protocol::call::Fence;
use shared::protocol::process::FollowOutput;
use tokio_util::sync::CancellationToken;

use crate::fleet::{CallError, FollowEvent};
use crate::tools::{Following, LiveOutput, OperationKey, ToolContext, Workspace};

type Answers = VecDeque<Result<Vec<u8>, CallError>>;

/// Every clone is the same workspace.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<&'static str, Answers>,
    follows: VecDeque<Vec<Result<FollowEvent, CallError>>>,
    asked: Vec<String>,
}

impl Fake {
    /// The next answer of a method.
    pub(super) fn answer<M: Method>(&self, answer: Result<M::Reply, CallError>) -> &Self {
        let answer = answer.map(|reply| rmp_serde::to_vec_named(&reply).unwrap());
        self.0.lock().unwrap().answers.entry(M::NAME).or_default().push_back(answer);
        self
    }

    /// What the next follower is told; after a list without an end it hears nothing more.
    pub(super) fn follow_with(&self, events: Vec<Result<FollowEvent, CallError>>) -> &Self {
        self.0.lock().unwrap().follows.push_back(events);
        self
    }

    /// Every call in order, as the method's name and what matters of its request.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }

    fn call<M: Method>(&self, request: &M, more: &str) -> Result<M::Reply, CallError> {
        let request = serde_json::to_string(request).unwrap();
        let mut state = self.0.lock().unwrap();
        state.asked.push(format!("{} {request}{more}", M::NAME));
        let answer = state.answers.get_mut(M::NAME).and_then(VecDeque::pop_front);
        let answer = answer.unwrap_or_else(|| panic!("nobody expected {}", M::NAME));
        answer.map(|bytes| rmp_serde::from_slice(&bytes).unwrap())
    }
}

impl Workspace for Fake {
    async fn read<M: Method>(
        &self,
        request: &M,
        _deadline: Duration,
    ) -> Result<M::Reply, CallError> {
        self.call(request, "")
    }

    async fn operate<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
    ) -> Result<M::Reply, CallError> {
        self.call(request, &format!(" as {}", key.op_id))
    }

    async fn operate_with_body<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
        body: Bytes,
    ) -> Result<M::Reply, CallError> {
        self.call(request, &format!(" as {} with {} bytes", key.op_id, body.len()))
    }

    async fn follow(&self, request: &FollowOutput) -> Result<Following, CallError> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(format!("process/follow from {}", request.offset));
        let events = state.follows.pop_front().expect("nobody expected a follower");
        let is_over =
            events.last().is_some_and(|last| matches!(last, Err(_) | Ok(FollowEvent::End { .. })));
        Ok(if is_over { iter(events).boxed() } else { iter(events).chain(pending()).boxed() })
    }
}

/// The process that the next operation may start.
pub(super) fn process_id() -> ProcessId {
    ProcessId::from_ulid("01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap())
}

/// The chat of every test.
pub(super) fn chat_id() -> ChatId {
    ChatId::from_ulid("01J9ZQ4Y3M8T6V5W2X1R0P7N6A".parse().unwrap())
}

/// What was shown while a tool ran.
#[derive(Clone, Default)]
pub(super) struct Shown(Arc<Mutex<String>>);

impl Shown {
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A context in mode `auto`.
pub(super) fn context(workspace: &Fake) -> (ToolContext<Fake>, Shown) {
    let shown = Shown::default();
    let sink = shown.clone();
    let context = ToolContext {
        workspace: Some(workspace.clone()),
        operation: OperationKey {
            op_id: OpId::from_ulid("01J9ZQ4Y3M8T6V5W2X1R0P7N6B".parse().unwrap()),
            fence: Fence { scope: "chat".to_owned(), epoch: 1, hash: "00".to_owned() },
            process_id: process_id(),
            read_only: false,
        },
        chat_id: chat_id(),
        mode: "auto".to_owned(),
        live: LiveOutput::new(move |text| sink.0.lock().unwrap().push_str(text)),
        cancel: CancellationToken::new(),
    };
    (context, shown)
}
