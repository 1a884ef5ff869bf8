//! A whole product with a scripted model: what a story starts from.
//!
//! ```text
//! story ──HTTP, WebSocket──► control plane ──QUIC [relay]──► daemon ──► commands in the root
//!                                 └── scripted model (the story's own turns)
//! ```

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api::Api;
use crate::fake_llm::{Answer, FakeLlm, Format};
use crate::programs::{Programs, Setting, bin_dir};
use crate::relay::Relay;
use crate::stream::ChatStream;

/// Control plane, daemon and a model that plays the story's turns.
pub struct World {
    /// The two programs.
    pub programs: Programs,
    /// Between the two, if the story asked for it.
    pub relay: Option<Relay>,
    /// The model server, if it is not the scripted provider.
    pub fake: Option<FakeLlm>,
}

/// A chat and somebody who watches it.
pub struct Chat {
    /// Its id.
    pub id: String,
    /// What the viewer knows.
    pub stream: ChatStream,
}

/// Who answers as the model.
pub enum Model {
    /// The product's scripted provider with these turns, or with a whole scenario
    /// (`docs/scripted-provider.md`).
    Scripted(Value),
    /// A server that is reached by base URL and key, with answers for the model `test`.
    Served(FakeLlm, Format),
}

impl World {
    /// Everything joined, with a scripted model.
    pub async fn new(turns: Value) -> Result<Self> {
        Self::with(Setting::default(), Model::Scripted(turns), false).await
    }

    /// The same, with a relay in the link that can be cut.
    pub async fn with_relay(turns: Value) -> Result<Self> {
        Self::with(Setting::default(), Model::Scripted(turns), true).await
    }

    /// Everything joined, with a model server of one of the wire formats.
    pub async fn served(format: Format, answers: Vec<Answer>) -> Result<Self> {
        let fake = FakeLlm::start().await?;
        fake.play("test", answers);
        Self::with(Setting::default(), Model::Served(fake, format), false).await
    }

    /// Everything joined.
    pub async fn with(setting: Setting, model: Model, has_relay: bool) -> Result<Self> {
        let mut programs = Programs::start(setting).await?;
        let fake = match model {
            Model::Scripted(turns) => {
                let scenario = programs.home().join("scenario.json");
                let whole = if turns.is_object() { turns } else { json!({"turns": turns}) };
                std::fs::write(&scenario, whole.to_string())?;
                let path = scenario.to_str().context("the temporary folder has a plain name")?;
                programs.model("scripted", path).await?;
                None
            }
            Model::Served(fake, format) => {
                let kind = match format {
                    Format::Anthropic => "anthropic",
                    Format::Chat => "openai_compatible",
                };
                programs.model(kind, &fake.base_url(format)).await?;
                Some(fake)
            }
        };
        let relay = match has_relay {
            true => Some(Relay::start(programs.quic().parse()?)?),
            false => None,
        };
        programs.join_through(relay.as_ref().map(Relay::port)).await?;
        Ok(Self { programs, relay, fake })
    }

    /// The administrator's client.
    pub fn api(&self) -> &Api {
        &self.programs.api
    }

    /// Starts a chat in the workspace and watches it.
    pub async fn chat(&self, text: &str) -> Result<Chat> {
        self.chat_with(text, &Value::Null).await
    }

    /// The same with the model of this id; `null`: the default one.
    pub async fn chat_with(&self, text: &str, model_id: &Value) -> Result<Chat> {
        let mut body = json!({
            "workspace_id": self.programs.workspace_id,
            "content": [{"type": "text", "text": text}],
        });
        if !model_id.is_null() {
            body["model_id"] = model_id.clone();
        }
        let made = self.api().post("/chats", &body).await?;
        let id = made["chat"]["id"].as_str().with_context(|| format!("no chat in {made}"))?;
        let stream = ChatStream::open(self.api(), id).await?;
        Ok(Chat { id: id.to_owned(), stream })
    }

    /// The file that ledger commands write to.
    pub fn ledger_file(&self) -> PathBuf {
        self.programs.root().join("ledger.txt")
    }

    /// What really ran, in order.
    pub fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.ledger_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A command line that writes `word` to the ledger once and then works for a while.
pub fn ledger_command(word: &str, work_ms: u64) -> Result<String> {
    let ledger = bin_dir()?.join("ledger");
    Ok(format!("{} ledger.txt {word} {work_ms}", ledger.display()))
}

/// A scenario's call of `execute`.
pub fn execute(command: &str) -> Value {
    json!({"call": {"tool": "execute", "args": {"command": command, "timeout_s": 120}}})
}

impl Chat {
    /// Sends another message: 201 is a message, 202 a place in the queue.
    pub async fn send(&self, api: &Api, text: &str, busy: &str) -> Result<(u16, Value)> {
        let body = json!({"content": [{"type": "text", "text": text}], "busy": busy});
        api.request("POST", &format!("/chats/{}/messages", self.id), Some(&body)).await
    }
}
