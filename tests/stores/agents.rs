//! Agents: one per call, told of once, whatever happens at the same time.

use controlplane::chat::content::Part;
use controlplane::chat::event::ChatStatus;
use controlplane::chat::family::{AgentType, Budget, Outcome};
use controlplane::chat::machine::Refusal;
use controlplane::store::StoreError;
use controlplane::store::chats::{AgentStep, ChatRow, NewAgent, WorkerFence};
use serde_json::{Value, json};
use shared::ids::{ChatId, OpId};
use tokio::task::JoinSet;

use crate::scene::{Scene, answer, asking, failure};
use crate::schema::execute;

pub fn new_agent(title: &str, waits: bool) -> NewAgent {
    NewAgent {
        agent_type: AgentType::General,
        prompt: title.into(),
        title: title.into(),
        model_id: None,
        effort: None,
        budget: None,
        waits,
    }
}

/// An agent of `parent` that works, owned by the scene's replica, and is to be told of.
pub async fn agent_of(scene: &Scene, parent: ChatId) -> (ChatId, WorkerFence) {
    let (chat, fence) = scene.owned_chat().await;
    let sql = format!(
        "UPDATE chats SET parent_id = '{parent}', root_id = '{parent}', depth = 1, reports = TRUE, \
         agent_type = 'general' WHERE id = '{}'",
        chat.id
    );
    execute(scene, &sql).await;
    (chat.id, fence)
}

/// A parent with a batch of one call for each title; each call begins an agent and waits for it.
async fn family(scene: &Scene, titles: &[&str]) -> (ChatRow, WorkerFence, Vec<ChatRow>, Vec<OpId>) {
    let (chat, fence) = scene.owned_chat().await;
    let (message, intents) = asking(scene, titles);
    let chats = &scene.store.chats;
    let mut fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
    let (mut agents, mut calls) = (vec![], vec![]);
    for (intent, title) in intents.iter().zip(titles) {
        let new = new_agent(title, true);
        let step = chats.spawn_agent(chat.id, &fence, intent.op_id, &new).await.unwrap();
        assert!(step.answer.is_none(), "it waits");
        fence = step.stored.fence;
        agents.extend(step.touched);
        calls.push(intent.op_id);
    }
    (scene.head(&chat).await, fence, agents, calls)
}

/// Brings an agent to its end with these last words.
async fn ends(scene: &Scene, agent: ChatId, words: &str) -> Result<(), StoreError> {
    let chats = &scene.store.chats;
    let fence = own(scene, agent).await;
    let fence = chats.commit_step(agent, &fence, &answer(words), &[]).await?.fence;
    chats.finish_turn(agent, &fence).await.map(drop)
}

/// Takes a chat for the scene's replica, if nobody has it.
async fn own(scene: &Scene, chat: ChatId) -> WorkerFence {
    let chats = &scene.store.chats;
    loop {
        let row = chats.head(chat).await.unwrap().unwrap();
        if let Some(fence) = row.fence() {
            return fence;
        }
        chats.acquire(scene.replica, 50).await.unwrap();
    }
}

/// Results of a chat's history by call.
async fn results(scene: &Scene, chat: ChatId) -> Vec<(String, Value)> {
    let history = scene.store.chats.history(chat).await.unwrap();
    let parts = history.into_iter().flat_map(|row| row.content);
    parts
        .filter_map(|stored| match stored.part {
            Part::ToolResult { tool_call_id, result, .. } => Some((tool_call_id, result)),
            _ => None,
        })
        .collect()
}

on_both! {
    async fn a_call_begins_one_agent_however_often_it_is_tried(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let chats = &scene.store.chats;
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        let op = intents[0].op_id;
        // The same worker asks again, as if it had not heard that the commit went through.
        for waits in [true, false] {
            let mut tasks = JoinSet::new();
            for _ in 0..4 {
                let store = scene.store.clone();
                tasks.spawn(async move {
                    store.chats.spawn_agent(chat.id, &fence, op, &new_agent("look", waits)).await
                });
            }
            let mut begun = 0;
            while let Some(joined) = tasks.join_next().await {
                match joined.unwrap() {
                    Ok(_) => begun += 1,
                    Err(StoreError::Refused(Refusal::ResultUnexpected | Refusal::ResultDuplicate)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert_eq!(begun, i32::from(waits), "the first time only");
        }
        let agents = chats.agents(chat.id).await.unwrap();
        assert_eq!(agents.len(), 1);
        assert_eq!(agents[0].spawned_by, Some(op));
        assert_eq!(scene.head(&chat).await.awaited, 1);
        assert_eq!(agents[0].state().to_string(), "R0");
    }

    async fn the_commit_that_ends_an_agent_gives_its_parent_work(scene: &Scene) {
        let (chat, _, agents, _) = family(scene, &["one", "two"]).await;
        assert_eq!(chat.status, ChatStatus::RequiresAction);
        assert!(chat.waits_for_agents() && chat.worker_id.is_none());
        ends(scene, agents[1].id, "two is done").await.unwrap();
        let row = scene.head(&chat).await;
        assert_eq!((row.unanswered, row.awaited, row.awaited_agents), (1, 1, 1));
        ends(scene, agents[0].id, "one is done").await.unwrap();
        let row = scene.head(&chat).await;
        assert_eq!((row.status, row.unanswered, row.awaited_agents), (ChatStatus::Running, 0, 0));
        let told = results(scene, chat.id).await;
        assert_eq!(told[0].0, "one");
        assert_eq!(told[1].1["report"], "two is done");
        assert_eq!(row.queue_length, 0, "who is waited for is told of by the answer alone");
        let ended = scene.head(&agents[0]).await;
        assert_eq!((ended.outcome, ended.reports), (Some(Outcome::Done), false));
    }

    async fn an_error_and_a_limit_are_told_as_what_they_are(scene: &Scene) {
        let (chat, _, agents, _) = family(scene, &["one", "two"]).await;
        let chats = &scene.store.chats;
        let fence = own(scene, agents[0].id).await;
        chats.finish_error(agents[0].id, &fence, &failure()).await.unwrap();
        let mut limit = failure();
        limit.code = "step_limit".into();
        let fence = own(scene, agents[1].id).await;
        chats.finish_error(agents[1].id, &fence, &limit).await.unwrap();
        let told = results(scene, chat.id).await;
        assert_eq!((&told[0].1["status"], &told[1].1["status"]), (&json!("failed"), &json!("paused")));
        // Who lets it go on after that will hear of its end: the parent too.
        chats.continue_turn(agents[1].id, None).await.unwrap();
        ends(scene, agents[1].id, "after all").await.unwrap();
        let row = scene.head(&chat).await;
        assert_eq!((row.queue_length, row.steered_length), (1, 1));
    }

    async fn a_wait_whose_time_is_over_says_how_they_stand(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["s", "w"]);
        let chats = &scene.store.chats;
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        let spawned =
            chats.spawn_agent(chat.id, &fence, intents[0].op_id, &new_agent("slow", false)).await.unwrap();
        let agent = spawned.touched[0].id;
        let call = intents[1].op_id;
        chats
            .wait_for_agents(chat.id, &spawned.stored.fence, call, &[agent], Some(5_000))
            .await
            .unwrap();
        assert!(chats.overdue(10).await.unwrap().is_empty());
        scene.clock.advance(std::time::Duration::from_secs(6));
        let overdue = chats.overdue(10).await.unwrap();
        assert_eq!(overdue.len(), 1);
        assert!(chats.expire(overdue[0]).await.unwrap().is_some());
        assert!(chats.expire(overdue[0]).await.unwrap().is_none(), "once");
        let row = scene.head(&chat).await;
        assert_eq!((row.status, row.awaited_agents), (ChatStatus::Running, 0));
        let told = &results(scene, chat.id).await[1].1;
        assert_eq!((&told["timed_out"], &told["agents"][0]["status"]), (&json!(true), &json!("working")));
        // It goes on, and its end is told as that of any other.
        ends(scene, agent, "late").await.unwrap();
        assert_eq!(scene.head(&chat).await.steered_length, 1);
    }

    async fn many_agents_that_end_at_once_are_each_told_of_once(scene: &Scene) {
        let titles = ["a", "b", "c", "d", "e", "f"];
        let (chat, _, agents, _) = family(scene, &titles).await;
        for agent in &agents {
            own(scene, agent.id).await;
        }
        let mut tasks = JoinSet::new();
        for agent in &agents {
            let (store, id) = (scene.store.clone(), agent.id);
            let fence = own(scene, id).await;
            tasks.spawn(async move { store.chats.finish_turn(id, &fence).await.map(drop) });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap().unwrap();
        }
        let row = scene.head(&chat).await;
        assert_eq!((row.status, row.unanswered, row.queue_length), (ChatStatus::Running, 0, 0));
        assert_eq!(results(scene, chat.id).await.len(), titles.len());
    }

    async fn a_stop_of_the_family_races_their_ends_and_leaves_no_contradiction(scene: &Scene) {
        for round in 0..6 {
            let (chat, _, agents, _) = family(scene, &["a", "b", "c"]).await;
            for agent in &agents {
                own(scene, agent.id).await;
            }
            let mut tasks = JoinSet::new();
            for agent in agents.iter().skip(round % 2) {
                let (store, id) = (scene.store.clone(), agent.id);
                let fence = own(scene, id).await;
                tasks.spawn(async move {
                    match store.chats.finish_turn(id, &fence).await {
                        Ok(_) | Err(StoreError::Refused(_) | StoreError::Fenced) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                });
            }
            let (store, id) = (scene.store.clone(), chat.id);
            tasks.spawn(async move {
                match store.chats.interrupt(id).await {
                    // All may have ended before, and the parent works again or is stopped.
                    Ok(_) | Err(StoreError::Refused(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            });
            while let Some(joined) = tasks.join_next().await {
                joined.unwrap();
            }
            for agent in &agents {
                let row = scene.head(agent).await;
                assert!(["W", "I0"].contains(&row.state().as_str()), "{}", row.state());
                if row.state().as_str() == "I0" {
                    let fence = own(scene, agent.id).await;
                    scene.store.chats.finish_interruption(agent.id, &fence, None).await.unwrap();
                }
            }
            let row = scene.head(&chat).await;
            assert!(["W", "I0"].contains(&row.state().as_str()), "{}", row.state());
            assert_eq!((row.queue_length, row.awaited_agents), (0, 0), "nobody wakes a stopped chat");
        }
    }

    async fn what_a_family_uses_is_counted_to_the_budget_of_its_root(scene: &Scene) {
        let (chat, _, agents, _) = family(scene, &["one"]).await;
        let chats = &scene.store.chats;
        let fence = own(scene, agents[0].id).await;
        let mut said = answer("costly");
        said.model = Some("m".into());
        said.worked_ms = 1_500;
        said.usage = Some(controlplane::chat::content::Usage {
            input: 70,
            output: 30,
            source: "provider".into(),
            cost_micros: Some(9),
            ..Default::default()
        });
        chats.commit_step(agents[0].id, &fence, &said, &[]).await.unwrap();
        let agent = scene.head(&agents[0]).await;
        assert_eq!((agent.total_tokens, agent.total_cost_micros, agent.worked_ms), (100, 9, 1_500));
        let spent = chats.spent(chat.id).await.unwrap();
        assert_eq!((spent.tokens, spent.cost_micros), (100, 9));
        // A new budget counts from now on.
        let budget = Budget { tokens: Some(50), ..Budget::default() };
        let row = chats.set_budget(chat.id, Some(budget)).await.unwrap();
        assert_eq!((row.budget, row.granted_tokens, row.granted_cost_micros), (Some(budget), 100, 9));
        let row = chats.set_budget(chat.id, Some(Budget::default())).await.unwrap();
        assert_eq!(row.budget, None, "no limit is no budget");
    }

    async fn an_interrupt_of_an_agent_that_waits_reaches_its_own_agents(scene: &Scene) {
        let (chat, fence, agents, _) = family(scene, &["middle"]).await;
        let _ = fence;
        let chats = &scene.store.chats;
        let middle = agents[0].id;
        let fence = own(scene, middle).await;
        let (message, intents) = asking(scene, &["deep"]);
        let fence = chats.commit_step(middle, &fence, &message, &intents).await.unwrap().fence;
        let AgentStep { touched, .. } = chats
            .spawn_agent(middle, &fence, intents[0].op_id, &new_agent("deep", true))
            .await
            .unwrap();
        let deep = touched[0].id;
        // A person stops the one in the middle: it rests at once, and its parent goes on.
        let family = chats.interrupt(middle).await.unwrap();
        assert!(family.iter().any(|row| row.id == chat.id), "the parent is among those that changed");
        let state = |row: Option<ChatRow>| row.unwrap().state().to_string();
        assert_eq!(state(chats.head(middle).await.unwrap()), "W");
        assert_eq!(state(chats.head(deep).await.unwrap()), "I0");
        assert_eq!(state(chats.head(chat.id).await.unwrap()), "R0");
        assert_eq!(results(scene, chat.id).await[0].1["status"], "interrupted");
    }
}
