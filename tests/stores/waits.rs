//! Calls that wait for people, branches, families: every typed refusal, on both databases (B21).

use controlplane::chat::machine::{AssistantMessage, Class, ExecutionState, Gate, Intent};
use controlplane::store::chats::{
    ChatRow, Decide, Decision, NewChat, NewRule, OverdueCall, RuleScope, Settle, Verdict,
    WorkerFence,
};
use controlplane::store::{NewAudit, StoreError};
use serde_json::json;
use shared::ids::{MessageId, OpId, QueueId};
use shared::testing::bad_input::BadInput;

use crate::scene::{Scene, answered, asking, failure, said};

/// A chat in mode `ask` whose calls are `calls`: name and what each would do.
async fn waiting(scene: &Scene, calls: &[(&str, Class)]) -> (ChatRow, WorkerFence, Vec<Intent>) {
    let new = NewChat { mode: "ask".into(), claim: Some(scene.replica), ..scene.new_chat() };
    let acquired = scene.store.chats.create(&new).await.unwrap().acquired.unwrap();
    let names: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
    let (message, mut intents): (AssistantMessage, _) = asking(scene, &names);
    for (intent, (_, class)) in intents.iter_mut().zip(calls) {
        intent.class = class.clone();
    }
    let fence = acquired.fence;
    let chats = &scene.store.chats;
    let step = chats.commit_step(acquired.chat.id, &fence, &message, &intents).await.unwrap();
    (step.chat, step.fence, intents)
}

fn act() -> Class {
    Class::Act { subject: Some("make".into()) }
}

fn decide(scene: &Scene, op_id: OpId, settle: Settle) -> Decide {
    Decide {
        op_id,
        gate: Gate::Approval,
        args_hash: None,
        settle,
        decision: Decision { verdict: Verdict::Once, by: Some(scene.owner), note: None },
        audit: NewAudit {
            actor_id: Some(scene.owner),
            action: "approval.decide".into(),
            target: None,
            detail: json!({}),
            request_id: None,
        },
        claim: None,
    }
}

/// Rows of bad input and what became of them.
struct Rows<'a> {
    table: BadInput,
    failed: Vec<String>,
    scene: &'a Scene,
}

impl Rows<'_> {
    /// The refusal's code, and that the chat is as it was.
    async fn refused<T>(
        &mut self,
        row: &str,
        chat: &ChatRow,
        code: &str,
        tried: impl Future<Output = Result<T, StoreError>>,
    ) {
        let before = self.scene.head(chat).await;
        let found = tried.await.err().map(|error| error.code().to_owned());
        let after = self.scene.head(chat).await;
        let same = format!("{before:?}") == format!("{after:?}");
        let fits = found.as_deref() == Some(code) && same;
        self.table.check(row, fits);
        if !fits {
            self.failed.push(format!("{row}: {found:?} instead of {code}, unchanged: {same}"));
        }
    }

    fn report(self) {
        self.table.report("B21");
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n"));
    }
}

on_both! {
    async fn b21_every_refusal_of_a_decision_has_its_code_and_changes_nothing(scene: &Scene) {
        let chats = &scene.store.chats;
        let mut rows = Rows { table: BadInput::new(), failed: vec![], scene };
        let (chat, _, intents) = waiting(scene, &[("a", act()), ("q", Class::Question)]).await;
        assert_eq!(chat.state(), ExecutionState::A0);
        let (call, question) = (intents[0].op_id, intents[1].op_id);
        let allow = |op_id| decide(scene, op_id, Settle::Allow(None));

        let unknown = allow(scene.ids.id());
        rows.refused("B21 approve nothing", &chat, "action_not_found", chats.decide(chat.id, &unknown)).await;
        let wrong = allow(question);
        rows.refused("B21 approve a question", &chat, "action_not_found", chats.decide(chat.id, &wrong)).await;
        let stale = Decide { args_hash: Some("other".into()), ..allow(call) };
        rows.refused("B21 approve what was not shown", &chat, "action_mismatch", chats.decide(chat.id, &stale)).await;
        let (other, _, _) = waiting(scene, &[("b", act())]).await;
        let foreign = allow(call);
        rows.refused("B21 approve in another chat", &other, "action_not_found", chats.decide(other.id, &foreign)).await;
        let none = [("q".to_owned(), json!(1), false)];
        rows.refused("B21 a client's result for a person's call", &chat, "client_result_unexpected",
            chats.client_results(chat.id, scene.owner, &none, None)).await;
        rows.refused("B21 continue while it waits", &chat, "chat_state_conflict", chats.continue_turn(chat.id, None)).await;
        rows.refused("B21 archive while it waits", &chat, "chat_state_conflict", chats.set_archived(chat.id, true)).await;

        let bound = Decide { args_hash: Some(intents[0].args_hash.clone()), ..allow(call) };
        let acted = chats.decide(chat.id, &bound).await.unwrap();
        assert_eq!((acted.chat.state(), acted.chat.awaited), (ExecutionState::R0, 1));
        rows.refused("B21 approve twice", &chat, "action_resolved", chats.decide(chat.id, &bound)).await;
        let first = scene.store.audit.list(None, 10).await.unwrap();
        assert_eq!(first.len(), 1, "one deed for one decision");

        chats.interrupt(chat.id).await.unwrap();
        let late = Decide { gate: Gate::Question, ..allow(question) };
        rows.refused("B21 decide while it stops", &chat, "action_resolved", chats.decide(chat.id, &late)).await;
        rows.report();
    }

    async fn b21_every_refusal_of_an_edit_has_its_code_and_changes_nothing(scene: &Scene) {
        let chats = &scene.store.chats;
        let mut rows = Rows { table: BadInput::new(), failed: vec![], scene };
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        let of_model = step.message.id;
        let first = chats.history(chat.id).await.unwrap()[0].id;
        let ids: (MessageId, QueueId) = (scene.ids.id(), scene.ids.id());
        let say = said("new");
        rows.refused("B21 edit nothing", &chat, "message_not_found", chats.edit_message(chat.id, ids.0, &say, None)).await;
        rows.refused("B21 edit the model's words", &chat, "message_not_editable", chats.edit_message(chat.id, of_model, &say, None)).await;
        rows.refused("B21 move nothing in the queue", &chat, "queued_message_not_found", chats.move_queued(chat.id, ids.1, 0)).await;
        rows.refused("B21 change branches while it runs", &chat, "chat_state_conflict", chats.show_branch(chat.id, first)).await;
        rows.refused("B21 continue while it runs", &chat, "chat_state_conflict", chats.continue_turn(chat.id, None)).await;
        rows.refused("B21 reconcile what is in order", &chat, "chat_state_conflict", chats.reconcile(chat.id, &failure())).await;
        // An edit while it runs is no error: the worker is fenced off, its answer is not taken.
        let edited = chats.edit_message(chat.id, first, &say, None).await.unwrap();
        assert_eq!((edited.message.variant, edited.message.variants), (2, 2));
        let stale = chats.store_tool_result(chat.id, &step.fence, &answered(&intents[0])).await;
        assert!(matches!(stale, Err(StoreError::Fenced)), "{stale:?}");
        rows.refused("B21 edit what is not shown", &chat, "message_not_found", chats.edit_message(chat.id, first, &say, None)).await;
        chats.interrupt(chat.id).await.unwrap();
        let fence = scene.head(&chat).await.fence().unwrap();
        chats.finish_interruption(chat.id, &fence, None).await.unwrap();
        rows.refused("B21 continue at rest", &chat, "chat_state_conflict", chats.continue_turn(chat.id, None)).await;
        rows.refused("B21 show the model's words", &chat, "message_not_editable", chats.show_branch(chat.id, of_model)).await;
        chats.show_branch(chat.id, first).await.unwrap();
        assert_eq!(scene.lines(&chat).await, ["user: say hello", "assistant: call a", "tool: a=\"edited\"!"]);
        chats.set_archived(chat.id, true).await.unwrap();
        rows.refused("B21 edit in an archived chat", &chat, "chat_archived", chats.edit_message(chat.id, first, &say, None)).await;
        rows.report();
    }

    async fn the_mode_and_the_rules_of_the_moment_of_the_commit_decide(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, _, intents) = waiting(scene, &[("a", act())]).await;
        let rule = NewRule {
            scope: RuleScope::Workspace,
            pattern: controlplane::chat::machine::Pattern::new("make*"),
        };
        let always = decide(scene, intents[0].op_id, Settle::Allow(Some(rule)));
        chats.decide(chat.id, &always).await.unwrap();
        let (free, ..) = waiting(scene, &[("b", act())]).await;
        assert_eq!((free.state(), free.awaited), (ExecutionState::R0, 0), "the rule stands");
        let rules = chats.approval_rules(scene.owner).await.unwrap();
        assert_eq!((rules.len(), rules[0].workspace_id), (1, Some(scene.workspace)));
        assert!(!chats.delete_approval_rule(scene.ids.id(), &rules[0].id).await.unwrap());
        assert!(chats.delete_approval_rule(scene.owner, &rules[0].id).await.unwrap());
        let (asked, ..) = waiting(scene, &[("c", act())]).await;
        assert_eq!(asked.state(), ExecutionState::A0, "and no longer does");
    }

    async fn a_clients_call_is_given_up_when_its_time_is_over_and_not_before(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, _, intents) = waiting(scene, &[("x", Class::Client)]).await;
        let call = OverdueCall { chat_id: chat.id, op_id: intents[0].op_id };
        scene.clock.advance(std::time::Duration::from_secs(5 * 60 - 1));
        assert!(chats.overdue(9).await.unwrap().is_empty());
        assert!(chats.expire(call).await.unwrap().is_none());
        scene.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(chats.overdue(9).await.unwrap(), [call]);
        let row = chats.expire(call).await.unwrap().unwrap();
        assert_eq!(row.state(), ExecutionState::R0);
        assert!(scene.lines(&chat).await.last().unwrap().contains("timed_out"));
        assert!(chats.expire(call).await.unwrap().is_none(), "once");
        let late = [("x".to_owned(), json!(1), false)];
        let refused = chats.client_results(chat.id, scene.owner, &late, None).await;
        assert_eq!(refused.unwrap_err().code(), "client_result_unexpected");
    }

    async fn a_family_is_archived_whole_or_not_at_all(scene: &Scene) {
        let chats = &scene.store.chats;
        let (root, fence) = scene.owned_chat().await;
        let child = NewChat {
            parent_id: Some(root.id), claim: Some(scene.replica), ..scene.new_chat()
        };
        let child = chats.create(&child).await.unwrap().acquired.unwrap();
        let grandchild = NewChat {
            parent_id: Some(child.chat.id), claim: Some(scene.replica), ..scene.new_chat()
        };
        let grandchild = chats.create(&grandchild).await.unwrap().acquired.unwrap();
        chats.finish_error(root.id, &fence, &failure()).await.unwrap();
        chats.finish_error(grandchild.chat.id, &grandchild.fence, &failure()).await.unwrap();
        let refused = chats.set_archived(root.id, true).await;
        assert_eq!(refused.unwrap_err().code(), "chat_state_conflict", "a child runs");
        assert!(!scene.head(&root).await.archived && !scene.head(&grandchild.chat).await.archived);
        chats.finish_error(child.chat.id, &child.fence, &failure()).await.unwrap();
        let alone = chats.set_archived(child.chat.id, true).await;
        assert_eq!(alone.unwrap_err().code(), "chat_not_root");
        assert_eq!(chats.set_archived(root.id, true).await.unwrap().len(), 3);
        assert!(scene.head(&grandchild.chat).await.archived);
        assert_eq!(chats.set_archived(root.id, false).await.unwrap().len(), 3);
    }

    async fn an_answer_and_an_edit_at_the_same_moment_leave_a_chat_that_goes_on(scene: &Scene) {
        let chats = &scene.store.chats;
        for _ in 0..8 {
            let (chat, _, intents) = waiting(scene, &[("a", act())]).await;
            let first = chats.history(chat.id).await.unwrap()[0].id;
            let allow = decide(scene, intents[0].op_id, Settle::Allow(None));
            let say = said("new");
            let (decided, edited) = tokio::join!(
                chats.decide(chat.id, &allow),
                chats.edit_message(chat.id, first, &say, None),
            );
            edited.unwrap();
            let row = scene.head(&chat).await;
            assert_eq!((row.state(), row.unanswered, row.awaited), (ExecutionState::R0, 0, 0));
            assert!(decided.is_ok() || decided.unwrap_err().code() == "action_resolved");
            assert_eq!(scene.lines(&chat).await, ["user: new"]);
        }
    }
}
