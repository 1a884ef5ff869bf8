//! Durable commits: how many a tool step makes, and what they cost on each database.
//!
//! ```text
//! how many   the whole product plays a turn without tools and one with many; the database counts
//! what each  one chat after the other, then many at once, through the store alone ─┐ by turns with
//!            one bare row a commit, one connection, then many  ───────────────────┘ each other
//! ```
//!
//! Postgres is the one that the tests start, which does not sync; the limit is of the same server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use controlplane::chat::content::{Part, StoredPart};
use controlplane::chat::machine::{AssistantMessage, Class, Gate, Intent, ToolAnswer, UserMessage};
use controlplane::store::chats::{NewChat, TitleSource, WorkerFence};
use controlplane::store::{DatabaseUrl, NewUser, NewWorkspace, Store, UserRole};
use serde_json::json;
use shared::clock::{Clock, SystemClock};
use shared::ids::{ChatId, IdSource, ReplicaId, SystemIds, UserId, WorkspaceId};
use tests::postgres::Postgres;
use tests::programs::{Programs, Setting};
use tests::stream::ChatStream;
use tests::world::execute;

use crate::bare::Bare;
use crate::product::now;
use crate::sample::{Row, RowSpec, Samples, sized};

/// Commits that a tool step needs: the intent, and the answer.
const STEP_COMMITS: f64 = 2.0;
/// Chats, and bare connections, that write at once.
const AT_ONCE: usize = 16;
const BARE_AT_ONCE: usize = 8;
/// Ours and the limit take turns, so many of each.
const ROUND: usize = 20;
const LEASE_MS: i64 = 3_600_000;

/// Names of the rows of one database.
struct Names {
    count: &'static str,
    step: &'static str,
    at_once: &'static str,
    at_once_limit: &'static str,
    at_once_goal: &'static str,
}

const SQLITE: Names = Names {
    count: "commits of a tool step, SQLite",
    step: "commits of a tool step, SQLite, through the store",
    at_once: "commits a second of 16 chats, SQLite",
    at_once_limit: "one row a commit, one writer",
    at_once_goal: "above 3 x the limit (group commit)",
};
const POSTGRES: Names = Names {
    count: "commits of a tool step, Postgres",
    step: "commits of a tool step, Postgres, through the store",
    at_once: "commits a second of 16 chats, Postgres",
    at_once_limit: "one row a commit, 8 connections",
    at_once_goal: "at least 0.7 x the limit",
};

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let mut rows = of(None, &SQLITE).await?;
    if let Some(postgres) = Postgres::start()? {
        rows.extend(of(Some(&postgres), &POSTGRES).await?);
    }
    Ok(rows)
}

async fn of(postgres: Option<&Postgres>, names: &Names) -> Result<Vec<Row>> {
    let counted = counted(postgres).await?;
    let folder = tempfile::tempdir()?;
    let url = match postgres {
        Some(postgres) => postgres.database().await?.parse()?,
        None => DatabaseUrl::Sqlite(folder.path().join("holdfast.db")),
    };
    let bare_url = match postgres {
        Some(postgres) => Some(postgres.database().await?),
        None => None,
    };
    let mut bare = Bare::open(bare_url.as_deref(), folder.path()).await?;
    let writer = Writer::over(url).await?;
    let (mut ours, mut limit) = (Samples::default(), Samples::default());
    let mut chat = writer.chat().await?;
    for _ in 0..sized(500, 20) / ROUND {
        for _ in 0..ROUND {
            let start = now();
            writer.step(&mut chat).await?;
            ours.push(start.elapsed());
        }
        for _ in 0..ROUND {
            let start = now();
            bare.commit().await?;
            bare.commit().await?;
            limit.push(start.elapsed());
        }
    }
    let (mut many, mut many_limit) = (Samples::default(), Samples::default());
    for _ in 0..sized(5, 1) {
        many.push_figure(writer.at_once(sized(100, 4)).await?);
        let writers = if postgres.is_some() { BARE_AT_ONCE } else { 1 };
        many_limit.push_figure(bare.at_once(writers, sized(200, 4)).await?);
    }
    let is_sqlite = postgres.is_none();
    Ok(vec![
        RowSpec {
            metric: names.count,
            unit: "commits",
            limit_is: "the intent and the answer",
            goal: "none set",
        }
        .row_without_goal(&counted, STEP_COMMITS),
        RowSpec {
            metric: names.step,
            unit: "ms",
            limit_is: "two bare commits of a row",
            goal: "at least 0.7 x the limit's rate",
        }
        .row(&ours, limit.p50(), |ours, limit| ours.p50() * 0.7 <= limit),
        RowSpec {
            metric: names.at_once,
            unit: "1/s",
            limit_is: names.at_once_limit,
            goal: names.at_once_goal,
        }
        .row(&many, many_limit.p50(), |ours, limit| {
            ours.p50() >= if is_sqlite { 3.0 } else { 0.7 } * limit
        }),
    ])
}

/// Commits for each step of a turn of the whole product, by the database's own count.
async fn counted(postgres: Option<&Postgres>) -> Result<Samples> {
    let database_url = match postgres {
        Some(postgres) => Some(postgres.database().await?),
        None => None,
    };
    let setting = Setting { database_url: database_url.clone(), ..Setting::default() };
    let mut product = Programs::start(setting).await?;
    let steps = sized(20, 2);
    let mut asked: Vec<_> = (0..steps).map(|n| json!([execute(&format!("true {n}"))])).collect();
    asked.push(json!([{"say": "Done."}]));
    let scenario = json!({"turns": [
        {"match": "work", "steps": asked}, {"match": "talk", "steps": [[{"say": "Done."}]]},
    ]});
    let file = product.home().join("scenario.json");
    std::fs::write(&file, scenario.to_string())?;
    product.model("scripted", file.to_str().context("a plain name")?).await?;
    product.join().await?;
    let log = product.home().join("server/holdfast.db-wal");
    let commits = async || match (postgres, &database_url) {
        (Some(postgres), Some(url)) => crate::bare::postgres_commits(postgres, url).await,
        _ => crate::bare::sqlite_commits(&log),
    };
    let mut samples = Samples::default();
    for _ in 0..sized(10, 1) {
        let mut made = [0_u64; 2];
        for (made, text) in made.iter_mut().zip(["talk", "work"]) {
            let before = commits().await?;
            let body = json!({"workspace_id": product.workspace_id, "mode": "auto",
                "content": [{"type": "text", "text": text}]});
            let chat = product.api.post("/chats", &body).await?;
            let chat = chat["chat"]["id"].as_str().context("no chat")?.to_owned();
            ChatStream::open(&product.api, &chat).await?.until_rest().await?;
            // A log that was begun anew meanwhile counts for nothing.
            *made = commits().await?.checked_sub(before).unwrap_or(u64::MAX);
        }
        let [talk, work] = made;
        if talk < u64::MAX && work < u64::MAX {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            samples.push_figure(work.saturating_sub(talk) as f64 / steps as f64);
        }
    }
    ensure!(samples.len() > 0, "no turn was counted");
    Ok(samples)
}

/// The store and a replica that owns chats.
struct Writer {
    store: Store,
    ids: Arc<dyn IdSource>,
    owner: UserId,
    workspace: WorkspaceId,
    replica: ReplicaId,
}

type Owned = (ChatId, WorkerFence);

impl Writer {
    async fn over(url: DatabaseUrl) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let store = Store::open(&url, clock, Arc::clone(&ids)).await?;
        let user =
            NewUser { username: "ada".into(), password_hash: String::new(), role: UserRole::Admin };
        let owner = store.users.create(&user).await?.id;
        let place = NewWorkspace { name: "box".into(), labels: [].into() };
        let workspace = store.workspaces.create(&place).await?.id;
        let replica = ids.id();
        store.replicas.register(replica, LEASE_MS, None, "0.1.0").await?;
        Ok(Self { store, ids, owner, workspace, replica })
    }

    async fn chat(&self) -> Result<Owned> {
        let text = Part::Text { text: "say hello".into() };
        let new = NewChat {
            owner_id: self.owner,
            workspace_id: Some(self.workspace),
            parent_id: None,
            mode: "edit".into(),
            title: "say hello".into(),
            title_source: TitleSource::FirstWords,
            message: UserMessage { content: vec![text.into()], model_id: None, effort: None },
            client_tools: vec![],
            budget: None,
            claim: Some(self.replica),
            key: None,
        };
        let acquired = self.store.chats.create(&new).await?.acquired.context("it was claimed")?;
        Ok((acquired.chat.id, acquired.fence))
    }

    /// One call: its intent, its answer.
    async fn step(&self, (chat, fence): &mut Owned) -> Result<()> {
        let args = json!({"command": "true"});
        let call =
            Part::ToolCall { tool_call_id: "a".into(), name: "execute".into(), args: args.clone() };
        let content: Vec<StoredPart> = vec![call.into()];
        let message = AssistantMessage { content, ..AssistantMessage::default() };
        let intent = Intent {
            op_id: self.ids.id(),
            tool_call_id: "a".into(),
            tool: "execute".into(),
            args,
            args_hash: "hash".into(),
            workspace_id: Some(self.workspace),
            process_id: Some(self.ids.id()),
            class: Class::Free,
            gate: Gate::Open,
        };
        let answer = ToolAnswer {
            op_id: intent.op_id,
            result: json!("fine"),
            is_error: false,
            duration_ms: 1,
            plan: None,
        };
        *fence = self.store.chats.commit_step(*chat, fence, &message, &[intent]).await?.fence;
        *fence = self.store.chats.store_tool_result(*chat, fence, &answer).await?.fence;
        Ok(())
    }

    /// Commits a second while many chats go on at once.
    async fn at_once(&self, steps: usize) -> Result<f64> {
        let mut chats = Vec::new();
        for _ in 0..AT_ONCE {
            chats.push(self.chat().await?);
        }
        let start = now();
        let all = chats.iter_mut().map(async |chat| {
            for _ in 0..steps {
                self.step(chat).await?;
            }
            anyhow::Ok(())
        });
        futures_util::future::try_join_all(all).await?;
        Ok(rate(AT_ONCE * steps * 2, start.elapsed()))
    }
}

/// So many within a time, a second.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn rate(count: usize, within: Duration) -> f64 {
    count as f64 / within.as_secs_f64()
}
