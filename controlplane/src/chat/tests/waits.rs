//! Calls that wait for people and clients.

use serde_json::{Value, json};
use shared::ids::OpId;

use super::doubles::Act;
use super::*;
use crate::chat::content::{ClientTool, PlanStatus};
use crate::chat::deciding::{Choice, DecisionError, PlanChanges, Reply, Ruling};
use crate::chat::event::{ActionKind, ActionView};
use crate::store::StoreError;
use crate::store::chats::RuleScope;

impl World {
    async fn begin_in(&self, mode: &str, tools: Vec<ClientTool>) -> ChatId {
        let begin = BeginChat {
            owner: self.user,
            workspace_id: Some(self.workspace),
            model_id: None,
            mode: mode.into(),
            title: None,
            content: vec![Part::Text { text: "go".into() }],
            effort: None,
            client_tools: tools,
            budget: None,
            key: None,
        };
        self.engine.chats.create(begin).await.unwrap().0.id
    }

    /// Waits until the chat waits for people, and says for what.
    async fn until_asked(&self, chat: ChatId) -> Vec<ActionView> {
        self.until(chat, "a question", |row| row.status == ChatStatus::RequiresAction).await;
        self.watch(chat, |client| !client.actions.is_empty()).await.actions
    }

    fn ruling(&self, chat: ChatId, action: &ActionView) -> Ruling {
        Ruling {
            user: self.user,
            chat,
            op_id: action.id,
            args_hash: Some(action.args_hash.clone()),
            note: None,
            request_id: None,
        }
    }

    async fn rule(&self, chat: ChatId, action: &ActionView, choice: Choice) {
        let ruling = self.ruling(chat, action);
        self.engine.chats.rule_on(ruling, choice, PlanChanges::default()).await.unwrap();
    }
}

fn act(id: &str) -> Act {
    Act::call(id, "act", json!({ "what": id }))
}

fn code(error: DecisionError) -> String {
    match error {
        DecisionError::Store(error) => error.code().to_owned(),
        DecisionError::Invalid { pointer, .. } => format!("invalid {pointer}"),
    }
}

#[tokio::test]
async fn a_call_waits_for_a_person_and_runs_once_after_it_was_allowed() {
    let world = World::new().await;
    world.model.answers([vec![act("a")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    let [action] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((action.kind, &*action.tool), (ActionKind::Approval, "act"));
    assert_eq!(action.args, json!({"what": "a"}));
    let row = world.row(chat).await;
    assert_eq!((row.worker_id, row.unanswered, row.awaited), (None, 1, 1), "nobody drives it");
    assert!(world.tools.ledger().is_empty(), "nothing ran");

    world.rule(chat, action, Choice::Allow).await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], r#"tool: a={"did":"a"}"#);
    assert_eq!(world.tools.ledger(), ["a"]);
    // Single use: neither a second yes nor a late no changes anything.
    for choice in [Choice::Allow, Choice::Deny] {
        let again = world.ruling(chat, action);
        let error = world.engine.chats.rule_on(again, choice, PlanChanges::default()).await;
        assert_eq!(code(error.unwrap_err()), "action_resolved");
    }
    assert_eq!(world.tools.ledger(), ["a"]);
    let deeds = world.store.audit.list(None, 10).await.unwrap();
    assert_eq!(deeds.len(), 1);
    assert_eq!(
        (&*deeds[0].action, &deeds[0].detail["verdict"]),
        ("approval.decide", &json!("once"))
    );
}

#[tokio::test]
async fn what_is_denied_never_runs_and_the_model_hears_why() {
    let world = World::new().await;
    world.model.answers([vec![act("a")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    let ruling = Ruling { note: Some("not on a Friday".into()), ..world.ruling(chat, &actions[0]) };
    world.engine.chats.rule_on(ruling, Choice::Deny, PlanChanges::default()).await.unwrap();
    world.until_rest(chat).await;
    assert!(world.tools.ledger().is_empty());
    let told =
        serde_json::to_string(&world.model.last_prompt().messages.last().unwrap().parts[0].part);
    assert!(told.unwrap().contains("not on a Friday"));
}

#[tokio::test]
async fn a_decision_is_bound_to_what_was_shown() {
    let world = World::new().await;
    world.model.answers([vec![act("a")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    let allow = async |ruling: Ruling| {
        let asked = world.engine.chats.rule_on(ruling, Choice::Allow, PlanChanges::default()).await;
        asked.map_err(code)
    };
    let other = Ruling { args_hash: Some("0".repeat(64)), ..world.ruling(chat, &actions[0]) };
    assert_eq!(allow(other).await.unwrap_err(), "action_mismatch");
    let ids: &dyn shared::ids::IdSource = &SystemIds::new();
    let unknown = Ruling { op_id: ids.id::<OpId>(), ..world.ruling(chat, &actions[0]) };
    assert_eq!(allow(unknown).await.unwrap_err(), "action_not_found");
    let answered = world.engine.chats.answer(world.ruling(chat, &actions[0]), None).await;
    assert_eq!(code(answered.unwrap_err()), "action_not_found", "no question waits there");
    assert_eq!(world.row(chat).await.status, ChatStatus::RequiresAction);
    assert!(world.tools.ledger().is_empty());
}

#[tokio::test]
async fn what_is_free_runs_while_the_rest_waits_and_what_is_allowed_joins_it() {
    let world = World::new().await;
    world.model.answers([vec![
        Act::call("read", "look", json!({"what": "read", "gate": "read"})),
        act("first"),
        act("second"),
    ]]);
    let chat = world.begin_in("ask", vec![]).await;
    let client = world.watch(chat, |client| client.actions.len() == 2).await;
    assert_eq!(client.status, Some(ChatStatus::Running), "the reading goes on");
    // Allowed while the other call runs: it begins at once.
    world.rule(chat, &client.actions[0], Choice::Allow).await;
    world.until(chat, "the allowed one", |row| row.unanswered == 2).await;
    assert_eq!(world.tools.ledger(), ["first"]);
    world.tools.open("read");
    let actions = world.until_asked(chat).await;
    assert_eq!(actions.len(), 1);
    world.rule(chat, &actions[0], Choice::Deny).await;
    world.until_rest(chat).await;
    assert_eq!(
        world.story(chat).await[2],
        r#"tool: read={"did":"read"} first={"did":"first"} second!"#
    );
}

#[tokio::test]
async fn a_decision_survives_the_crash_of_the_server() {
    let mut world = World::new().await;
    world.model.answers([vec![act("a"), act("b")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    world.crash().await;
    world.restart();
    assert_eq!(world.until_asked(chat).await, actions, "it still waits, for the same");
    world.rule(chat, &actions[0], Choice::Allow).await;
    world.until(chat, "one answer", |row| row.unanswered == 1).await;
    world.crash().await;
    world.restart();
    world.rule(chat, &actions[1], Choice::Allow).await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "b"]);
}

#[tokio::test]
async fn a_rule_stands_for_a_person_from_then_on() {
    let world = World::new().await;
    let call = || vec![Act::call("c", "execute", json!({"command": "make test"}))];
    let other = || vec![Act::call("c", "execute", json!({"command": "make test; rm x"}))];
    world.model.answers([call(), call(), vec![Act::Text("ok")], other()]);
    let chat = world.begin_in("edit", vec![]).await;
    let actions = world.until_asked(chat).await;
    assert_eq!(actions[0].subject.as_deref(), Some("make test"));
    let always = |pattern: &str| Choice::Always {
        scope: RuleScope::Chat,
        pattern: Some(pattern.to_owned()),
    };
    let wide = world.ruling(chat, &actions[0]);
    let refused = world.engine.chats.rule_on(wide, always("cargo *"), PlanChanges::default()).await;
    assert_eq!(code(refused.unwrap_err()), "invalid /pattern");
    world.rule(chat, &actions[0], always("make *")).await;
    // The second call of the same kind asks nobody.
    world.until_rest(chat).await;
    world.say(chat, "again", Busy::Queue).await;
    // A second command behind it does.
    let actions = world.until_asked(chat).await;
    assert_eq!(actions[0].args["command"], "make test; rm x");
    let rules = world.store.chats.approval_rules(world.user).await.unwrap();
    assert_eq!((rules.len(), &*rules[0].pattern), (1, "make *"));
}

#[tokio::test]
async fn a_question_is_answered_and_the_turn_goes_on_after_a_restart() {
    let mut world = World::new().await;
    let questions = json!({"questions": [
        {"question": "Which?", "options": [{"label": "red"}, {"label": "blue"}]},
        {"question": "Why?", "options": [{"label": "so"}, {"label": "else"}], "multiple": true},
    ]});
    world.model.answers([vec![Act::call("q", "ask_user", questions)]]);
    // Also where everything else is free.
    let chat = world.begin_in("auto", vec![]).await;
    let actions = world.until_asked(chat).await;
    assert_eq!(actions[0].kind, ActionKind::Question);
    world.crash().await;
    world.restart();
    let reply = |selected: &[&str], text: Option<&str>| Reply {
        selected: selected.iter().map(|&label| label.to_owned()).collect(),
        text: text.map(str::to_owned),
    };
    for (replies, pointer) in [
        (vec![reply(&["red"], None)], "invalid /answers"),
        (vec![reply(&["green"], None), reply(&["so"], None)], "invalid /answers/0/selected"),
        (vec![reply(&["red", "blue"], None), reply(&["so"], None)], "invalid /answers/0/selected"),
        (vec![reply(&["red"], None), reply(&[], Some(" "))], "invalid /answers/1/selected"),
    ] {
        let ruling = world.ruling(chat, &actions[0]);
        let refused = world.engine.chats.answer(ruling, Some(replies)).await;
        assert_eq!(code(refused.unwrap_err()), pointer);
    }
    let replies = vec![reply(&["blue"], None), reply(&["so", "else"], Some("it is"))];
    let ruling = world.ruling(chat, &actions[0]);
    world.engine.chats.answer(ruling, Some(replies)).await.unwrap();
    world.until_rest(chat).await;
    let history = world.history(chat).await;
    let Part::ToolResult { result, .. } = &history[2].content[0].part else { panic!() };
    assert_eq!(
        result["answers"],
        json!([
            {"question": "Which?", "selected": ["blue"], "text": null},
            {"question": "Why?", "selected": ["so", "else"], "text": "it is"},
        ])
    );
}

#[tokio::test]
async fn a_plan_is_approved_with_changes_carried_out_and_ticked() {
    let world = World::new().await;
    let plan = json!({"title": "Two things", "steps": ["one", "two"]});
    let tick = json!({"steps": [{"step": 1, "status": "done"}]});
    world.model.answers([
        vec![Act::call("p", "propose_plan", plan.clone())],
        vec![Act::call("p", "propose_plan", plan)],
        vec![Act::call("t", "update_plan", tick)],
    ]);
    let chat = world.begin_in("plan", vec![]).await;
    let actions = world.until_asked(chat).await;
    assert_eq!(actions[0].kind, ActionKind::Plan);
    world.rule(chat, &actions[0], Choice::Deny).await;
    let actions = world.until_asked(chat).await;
    assert!(world.row(chat).await.plan.is_none());
    let changes = PlanChanges {
        steps: Some(vec!["one".into(), "two, but better".into()]),
        mode: Some("auto".into()),
    };
    let ruling = world.ruling(chat, &actions[0]);
    world.engine.chats.rule_on(ruling, Choice::Allow, changes).await.unwrap();
    let row = world.until_rest(chat).await;
    let plan = row.plan.unwrap();
    assert_eq!((&*row.mode, &*plan.title), ("auto", "Two things"));
    let steps: Vec<_> = plan.steps.iter().map(|step| (&*step.text, step.status)).collect();
    assert_eq!(steps, [("one", PlanStatus::Done), ("two, but better", PlanStatus::Pending)]);
    let client = world.watch(chat, |client| client.ready).await;
    assert_eq!(client.head.unwrap().plan.as_deref(), Some(&plan), "viewers see the ticks");
}

#[tokio::test]
async fn the_client_runs_its_own_tools() {
    let world = World::new().await;
    let schema = json!({"type": "object"});
    let tool = |name: &str| ClientTool {
        name: name.into(),
        description: "of the client".into(),
        input_schema: schema.clone(),
    };
    world.model.answers([vec![
        Act::Call("x".into(), "pick_colour", json!({"of": "sky"})),
        Act::Call("y".into(), "pick_colour", json!({"of": "sea"})),
        Act::call("z", "look", json!({"what": "z"})),
    ]]);
    let chat = world.begin_in("auto", vec![tool("pick_colour"), tool("look")]).await;
    let actions = world.until_asked(chat).await;
    assert!(actions.iter().all(|action| action.kind == ActionKind::ClientTool));
    assert!(actions[0].deadline_at.is_some());
    let offered: Vec<String> =
        world.model.last_prompt().tools.iter().map(|tool| tool.name.clone()).collect();
    assert_eq!(offered[..2], ["act", "look"], "a built-in tool wins its name");
    assert_eq!(offered.last().unwrap(), "pick_colour", "the client's come last");
    let send = async |results: &[(&str, Value)]| {
        let results =
            results.iter().map(|(id, value)| ((*id).to_owned(), value.clone(), false)).collect();
        let sent = world.engine.chats.client_results(world.user, chat, results).await;
        sent.map(drop).map_err(|error: StoreError| error.code().to_owned())
    };
    let blue = json!("blue");
    assert_eq!(send(&[("x", blue.clone())]).await.unwrap_err(), "client_result_missing");
    let twice = [("x", blue.clone()), ("x", blue.clone()), ("y", blue.clone())];
    assert_eq!(send(&twice).await.unwrap_err(), "client_result_duplicate");
    let strange = [("x", blue.clone()), ("y", blue.clone()), ("z", blue.clone())];
    assert_eq!(send(&strange).await.unwrap_err(), "client_result_unexpected");
    send(&[("y", json!({"r": 1})), ("x", blue.clone())]).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], r#"tool: x="blue" y={"r":1} z={"did":"z"}"#);
    assert_eq!(send(&[("x", blue)]).await.unwrap_err(), "client_result_unexpected");
}

#[tokio::test]
async fn a_stop_while_only_people_are_waited_for_ends_the_turn_at_once() {
    let world = World::new().await;
    world.model.answers([vec![act("a")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], "tool: a!");
    assert_eq!(world.model.calls(), 1, "a stop means stop");
    let late = world.ruling(chat, &actions[0]);
    let refused = world.engine.chats.rule_on(late, Choice::Allow, PlanChanges::default()).await;
    assert_eq!(code(refused.unwrap_err()), "action_resolved");
    assert!(world.tools.ledger().is_empty());
}

#[tokio::test]
async fn the_first_of_two_deciders_wins_and_the_call_runs_once() {
    let world = World::new().await;
    world.model.answers([vec![act("a")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let actions = world.until_asked(chat).await;
    let rule = |choice| {
        let ruling = world.ruling(chat, &actions[0]);
        world.engine.chats.rule_on(ruling, choice, PlanChanges::default())
    };
    let (yes, no, yes_too) =
        tokio::join!(rule(Choice::Allow), rule(Choice::Deny), rule(Choice::Allow));
    let won = [yes.is_ok(), no.is_ok(), yes_too.is_ok()];
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger().len(), usize::from(!won[1]));
    assert_eq!(world.store.audit.list(None, 10).await.unwrap().len(), 1);
}

/// Who comes while a batch waits sees what of it is done, from whatever cursor, and so does who was
/// there before.
#[tokio::test]
async fn the_answers_of_a_batch_that_waits_are_seen_by_whoever_comes() {
    let world = World::new().await;
    let look = Act::call("b", "look", json!({ "what": "b" }));
    world.model.answers([vec![act("a"), look], vec![Act::Text("done")]]);
    let chat = world.begin_in("ask", vec![]).await;
    let asks = |client: &ClientState| {
        client.ready
            && client.status == Some(ChatStatus::RequiresAction)
            && client.actions.len() == 1
    };
    let early = world.watch(chat, |client| asks(client) && !client.results.is_empty()).await;
    let late = world.watch(chat, asks).await;
    for client in [&early, &late] {
        let [Part::ToolResult { tool_call_id, is_error: false, .. }] = &client.results[..] else {
            panic!("one answer: {:?}", client.results)
        };
        assert_eq!(tool_call_id, "b");
    }
    // The last answer makes a message of them, also for who was away meanwhile.
    world.rule(chat, &late.actions[0], Choice::Allow).await;
    world.until_rest(chat).await;
    let mut client = late.clone();
    client.ready = false;
    let mut stream = world.engine.streams.subscribe(chat, client.cursor.map(Ok));
    while !client.ready {
        let batch = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        batch.iter().for_each(|envelope| client.apply(envelope));
    }
    assert!(client.results.is_empty(), "{:?}", client.results);
    let sealed = client.history().into_iter().find(|message| message.role == Role::Tool);
    assert_eq!(sealed.map(|message| message.content.len()), Some(2));
}
