//! Turns that pause by themselves, with a reason, and go on when somebody says so.

use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::chat::family::{Budget, Outcome};

fn look(what: &str) -> Vec<Act> {
    vec![Act::call("a", "look", json!({ "what": what }))]
}

impl World {
    pub(super) async fn begin_with(&self, text: &str, budget: Budget) -> ChatId {
        let begin = BeginChat {
            owner: self.user,
            workspace_id: Some(self.workspace),
            model_id: None,
            mode: "auto".into(),
            title: None,
            content: vec![Part::Text { text: text.into() }],
            effort: None,
            client_tools: Vec::new(),
            budget: Some(budget),
            key: None,
        };
        self.engine.chats.create(begin).await.unwrap().0.id
    }

    /// Writes how long a chat has worked.
    async fn worked(&self, chat: ChatId, worked_ms: i64) -> Result<(), crate::store::StoreError> {
        use crate::store::db::on_pool;
        on_pool!(self.store.db().writer(), |pool| {
            sqlx::query("UPDATE chats SET worked_ms = $2 WHERE id = $1")
                .bind(chat.to_string())
                .bind(worked_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Waits until the chat pauses, and says why.
    async fn until_paused(&self, chat: ChatId) -> String {
        let row = self.until(chat, "a pause", |row| row.status == ChatStatus::Error).await;
        row.last_error.unwrap().code
    }
}

#[tokio::test]
async fn a_model_that_goes_round_in_circles_pauses_and_continue_lets_it_go_on() {
    let world = World::new().await;
    world.model.answers((0..7).map(|_| look("same")));
    let chat = world.begin("go").await;
    assert_eq!(world.until_paused(chat).await, "doom_loop");
    assert_eq!(world.model.calls(), 5);
    // Two more of the same, then it has found its way: what was before the Continue is not counted.
    world.engine.chats.continue_turn(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.model.calls(), 8);
}

#[tokio::test]
async fn who_asks_again_for_another_answer_is_in_no_circle() {
    let world = World::new().await;
    let args = |at: i32| json!({"what": "x", "bytes": at});
    world.model.answers((0..8).map(|at| vec![Act::call("a", "look", args(at))]));
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.model.calls(), 9);
}

#[tokio::test]
async fn a_model_whose_every_call_goes_wrong_pauses() {
    let world = World::new().await;
    let wrong = |at: i32| vec![Act::call("a", "nothing", json!({ "at": at }))];
    world.model.answers((0..20).map(wrong));
    let chat = world.begin("go").await;
    assert_eq!(world.until_paused(chat).await, "repeated_mistakes");
    assert_eq!(world.model.calls(), 8);
}

#[tokio::test]
async fn a_budget_of_steps_is_given_again_by_continue() {
    let world = World::new().await;
    world.model.answers((0..5).map(|at| look(&at.to_string())));
    let budget = Budget { steps: Some(3), ..Budget::default() };
    let chat = world.begin_with("go", budget).await;
    assert_eq!(world.until_paused(chat).await, "step_limit");
    assert_eq!(world.model.calls(), 3);
    world.engine.chats.continue_turn(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.model.calls(), 6);
}

#[tokio::test]
async fn tokens_of_agents_are_counted_to_the_budget_of_the_chat_above() {
    let world = World::new().await;
    // Each answer of the scripted model costs one token.
    let budget = Budget { tokens: Some(4), ..Budget::default() };
    let args = json!({"type": "general", "prompt": "agent", "title": "agent"});
    world.model.plays("go", [vec![Act::call("s", "spawn_agent", args)], vec![Act::Text("end")]]);
    world.model.plays("agent", (0..9).map(|at| look(&at.to_string())));
    let chat = world.begin_with("go", budget).await;
    assert_eq!(world.until_paused(chat).await, "budget_tokens");
    let agent = world.store.chats.agents(chat).await.unwrap().remove(0);
    assert_eq!(agent.last_error.as_ref().unwrap().code, "family_budget");
    assert_eq!((agent.outcome, agent.total_tokens), (Some(Outcome::Paused), 3));
    assert_eq!(world.row(chat).await.granted_tokens, 0);
    // Continue gives the family its tokens again: the parent reads the report and ends.
    world.engine.chats.continue_turn(world.user, chat).await.unwrap();
    let row = world.until_rest(chat).await;
    assert_eq!(row.granted_tokens, 4, "counted from there");
}

#[tokio::test]
async fn a_budget_of_time_counts_work_and_survives_a_restart() {
    let mut world = World::new().await;
    let slow = |id: &str| Act::call(id, "act", json!({"what": id, "gate": id}));
    world.model.answers([vec![slow("a")], look("b"), vec![Act::Text("end")]]);
    let budget = Budget { time_s: Some(3_600), ..Budget::default() };
    let chat = world.begin_with("go", budget).await;
    world.until(chat, "the call", |row| row.unanswered == 1).await;
    world.crash().await;
    // As if it had worked for an hour before.
    world.worked(chat, 3_600_000).await.unwrap();
    world.restart();
    world.tools.open("a");
    assert_eq!(world.until_paused(chat).await, "budget_time");
    world.engine.chats.continue_turn(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert!(world.row(chat).await.worked_ms < 3_600_000);
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up_and_what_it_says_later_is_dropped() {
    let world = World::new().await;
    world.model.answers([vec![
        Act::call("h", "hangs", json!({"what": "h", "gate": "late"})),
        Act::call("a", "act", json!({"what": "a"})),
    ]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    world.tools.open("late");
    let story = world.story(chat).await;
    assert_eq!(story[2], r#"tool: h! a={"did":"a"}"#);
    assert_eq!(world.tools.stopped(), 1, "the daemon was told to stop it");
    assert_eq!(world.row(chat).await.status, ChatStatus::Waiting);
}
