//! Turns with attached files: what the model gets, and what happens when it refuses them.

use bytes::Bytes;
use futures_util::stream;

use super::doubles::Act;
use super::*;
use crate::chat::attachments::{Announced, Attachments};
use crate::chat::content::FileRef;
use crate::llm::{Prompt, ProviderErrorKind, wire_body};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10\x08\x02\0\0\0";

impl World {
    async fn upload(&self, chat: Option<ChatId>, name: &str, bytes: &'static [u8]) -> FileRef {
        let announced = Announced { name: name.into(), digest: None };
        let body = stream::iter([Ok::<_, &str>(Bytes::from_static(bytes))]);
        let files = Attachments::new(&self.store);
        files.upload((self.user, chat), announced, body).await.unwrap().row().file.clone()
    }

    async fn say_with(&self, chat: ChatId, text: &str, files: &[&FileRef], busy: Busy) -> Delivery {
        let mut content = vec![Part::Text { text: text.into() }];
        content.extend(files.iter().map(|file| Part::File { file: (*file).clone() }));
        let say = Say { content, model_id: None, effort: None, busy, key: None };
        self.engine.chats.send(self.user, chat, say).await.unwrap().1
    }

    /// A chat at rest after one turn.
    async fn rested(&self) -> ChatId {
        let chat = self.begin("hello").await;
        self.until_rest(chat).await;
        chat
    }
}

/// What the model was sent, as Anthropic would get it.
fn wire(prompt: &Prompt) -> String {
    String::from_utf8(wire_body("anthropic", prompt)).unwrap()
}

fn images(prompt: &Prompt) -> usize {
    wire(prompt).matches("\"type\":\"image\"").count()
}

#[tokio::test]
async fn the_model_gets_the_bytes_of_what_was_attached() {
    let world = World::new().await;
    let chat = world.rested().await;
    let image = world.upload(Some(chat), "a.png", PNG).await;
    let notes = world.upload(Some(chat), "notes.txt", b"remember the milk").await;
    world.say_with(chat, "look", &[&image, &notes], Busy::Queue).await;
    world.model.asked(2).await;
    world.until_rest(chat).await;
    let prompt = world.model.last_prompt();
    assert_eq!(prompt.files.get(&image).unwrap(), PNG);
    let sent = wire(&prompt);
    assert!(sent.contains("iVBORw0KGgo") && sent.contains("remember the milk"), "{sent}");
    // And again in the next turn, with the same bytes before it.
    world.say(chat, "and?", Busy::Queue).await;
    world.model.asked(3).await;
    world.until_rest(chat).await;
    assert_eq!(images(&world.model.last_prompt()), 1);
    assert_eq!(
        world.story(chat).await[2..4],
        ["user: look file a.png file notes.txt", "assistant: done"]
    );
}

#[tokio::test]
async fn files_that_steer_or_wait_are_delivered_with_their_message() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("I think"), Act::Gate("open")]]);
    let chat = world.begin("go").await;
    world.model.asked(1).await;
    let image = world.upload(Some(chat), "a.png", PNG).await;
    let other = world.upload(Some(chat), "b.txt", b"bee").await;
    world.say_with(chat, "steer", &[&image], Busy::Steer).await;
    world.say_with(chat, "wait", &[&other], Busy::Queue).await;
    world.model.open("open");
    world.model.asked(3).await;
    world
        .until(chat, "the end", |row| row.status == ChatStatus::Waiting && row.queue_length == 0)
        .await;
    let prompt = world.model.last_prompt();
    assert_eq!(images(&prompt), 1);
    assert!(wire(&prompt).contains("<file name=\\\"b.txt\\\">\\nbee"));
}

#[tokio::test]
async fn a_file_that_the_provider_refuses_is_left_out_and_the_turn_goes_on() {
    let world = World::new().await;
    let chat = world.rested().await;
    let refusals = [
        (ProviderErrorKind::Config, "Could not process image"),
        (ProviderErrorKind::Config, "A maximum of 100 PDF pages may be provided."),
        (ProviderErrorKind::Server, "image input is not supported; provide the mmproj"),
    ];
    for (turn, (kind, message)) in refusals.into_iter().enumerate() {
        let image = world.upload(Some(chat), &format!("{turn}.png"), PNG).await;
        world.model.answers([vec![Act::Refuse(kind, message)], vec![Act::Text("I cannot see it")]]);
        let asked = world.model.calls();
        world.say_with(chat, "look", &[&image], Busy::Queue).await;
        world.model.asked(asked + 2).await;
        world.until_rest(chat).await;
        let prompts = world.model.prompts();
        assert_eq!((images(&prompts[asked]), images(&prompts[asked + 1])), (1, 0), "{message}");
        let sent = wire(&prompts[asked + 1]);
        assert!(sent.contains("is not shown: the model's provider refused to read it"), "{sent}");
    }
    let story = world.story(chat).await;
    assert_eq!(story.iter().filter(|line| line.contains("[Files by Refused]")).count(), 3);
    // What the provider says of other things is told as ever.
    world.model.answers([vec![Act::Refuse(ProviderErrorKind::Config, "image tools are unknown")]]);
    world.say(chat, "now", Busy::Queue).await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    assert_eq!(row.last_error.unwrap().code, "provider_config");
}

#[tokio::test]
async fn a_prompt_that_became_too_long_leaves_its_files_out() {
    let world = World::new().await;
    let chat = world.rested().await;
    let image = world.upload(Some(chat), "a.png", PNG).await;
    world
        .model
        .answers([vec![Act::Text("I see")], vec![Act::Fail(ProviderErrorKind::ContextExceeded)]]);
    world.say_with(chat, "look", &[&image], Busy::Queue).await;
    world.model.asked(2).await;
    world.until_rest(chat).await;
    world.say(chat, "go on", Busy::Queue).await;
    world.model.asked(4).await;
    world.until_rest(chat).await;
    assert_eq!(images(&world.model.last_prompt()), 0);
}

#[tokio::test]
async fn a_crash_between_turns_loses_no_file() {
    let mut world = World::new().await;
    let image = world.upload(None, "a.png", PNG).await;
    world.model.answers([vec![Act::Gate("never")]]);
    let begin = BeginChat {
        owner: world.user,
        workspace_id: None,
        model_id: None,
        mode: "auto".into(),
        title: None,
        content: vec![Part::File { file: image.clone() }],
        effort: None,
        client_tools: Vec::new(),
        budget: None,
        key: None,
    };
    let chat = world.engine.chats.create(begin).await.unwrap().0;
    assert_eq!(chat.title, "a.png");
    world.model.asked(1).await;
    world.crash().await;
    world.restart();
    world.model.asked(2).await;
    world.until_rest(chat.id).await;
    let prompt = world.model.last_prompt();
    assert_eq!((images(&prompt), prompt.files.get(&image).unwrap().as_ref()), (1, PNG));
}
