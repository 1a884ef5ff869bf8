//! What must be true of the database after every commit, seen through a connection of its own.

use std::collections::{BTreeMap, BTreeSet};

use controlplane::chat::content::{Part, StoredPart};
use controlplane::chat::event::{ChatStatus, MessageView};
use controlplane::chat::machine::{ExecutionState, Facts, QUEUE_MAX};
use shared::ids::{ChatId, OpId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// A chat's row, as far as the rules speak of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub id: ChatId,
    pub status: ChatStatus,
    pub archived: bool,
    pub snapshot: i64,
    history: i64,
    pub queue: i64,
    steered: i64,
    unanswered: i64,
    awaited: i64,
    worker: Option<String>,
    runner: Option<String>,
    epoch: i64,
    retrying: bool,
    pub error: Option<String>,
}

/// Remembers what it saw.
#[derive(Default)]
pub struct Oracle {
    chats: BTreeMap<ChatId, Seen>,
    /// Who held a chat in which epoch.
    holders: BTreeMap<(ChatId, i64), String>,
    /// Chats of which something changed that people see, since it was asked last.
    shown: BTreeSet<ChatId>,
    /// The answers of operations.
    answers: BTreeMap<OpId, String>,
}

/// The operations of the database.
#[derive(Default)]
pub struct Operations {
    pub intended: BTreeSet<OpId>,
    pub answered: BTreeSet<OpId>,
}

type Wrong = String;

impl Oracle {
    /// Looks at everything. Gives the chats that changed.
    pub async fn look(
        &mut self,
        db: &mut SqliteConnection,
    ) -> Result<(Vec<ChatId>, Operations), Wrong> {
        const CHATS: &str = "SELECT id, status, archived, snapshot_version, history_version, \
             queue_length, steered_length, unanswered, awaited, worker_id, runner_id, epoch, \
             retry_state IS NOT NULL, last_error FROM chats ORDER BY id";
        const OPERATIONS: &str = "SELECT op_id, state, result FROM operations";
        let rows = sqlx::query(CHATS).fetch_all(&mut *db).await.map_err(|e| e.to_string())?;
        let mut changed = Vec::new();
        for row in &rows {
            let seen = Seen::read(row);
            if self.chats.get(&seen.id) != Some(&seen) {
                self.rules(&seen)?;
                if self.chats.get(&seen.id).is_some_and(|before| before.looks() != seen.looks()) {
                    self.shown.insert(seen.id);
                }
                changed.push(seen.id);
                self.chats.insert(seen.id, seen);
            }
        }
        let rows = sqlx::query(OPERATIONS).fetch_all(db).await.map_err(|e| e.to_string())?;
        let mut operations = Operations::default();
        for row in &rows {
            let op: OpId = parsed(row, 0);
            operations.intended.insert(op);
            if row.get::<String, _>(1) == "done" {
                operations.answered.insert(op);
                let answer: String = row.get::<Option<String>, _>(2).unwrap_or_default();
                let known = self.answers.entry(op).or_insert_with(|| answer.clone());
                if *known != answer {
                    return Err(format!("the answer of {op} changed from {known} to {answer}"));
                }
            }
        }
        Ok((changed, operations))
    }

    /// Chats that people see otherwise since the last call; those that have just come are left out.
    pub fn take_shown_changes(&mut self) -> BTreeSet<ChatId> {
        std::mem::take(&mut self.shown)
    }

    /// The chats as they were seen last.
    pub fn chats(&self) -> impl Iterator<Item = &Seen> {
        self.chats.values()
    }

    fn rules(&mut self, seen: &Seen) -> Result<(), Wrong> {
        let id = seen.id;
        if ExecutionState::of(&seen.facts()) == ExecutionState::Invalid {
            return Err(format!("{id} is in no valid state: {seen:?}"));
        }
        if seen.queue > i64::from(QUEUE_MAX) {
            return Err(format!("the queue of {id} has {} messages", seen.queue));
        }
        if seen.history > seen.snapshot {
            return Err(format!("the history of {id} is newer than the chat"));
        }
        if let Some(before) = self.chats.get(&id) {
            if seen.snapshot <= before.snapshot {
                return Err(format!("{id} changed without a new version"));
            }
            if seen.epoch < before.epoch || seen.history < before.history {
                return Err(format!("{id} went back from {before:?} to {seen:?}"));
            }
        }
        if let Some(runner) = &seen.runner {
            let holder = self.holders.entry((id, seen.epoch)).or_insert_with(|| runner.clone());
            if holder != runner {
                return Err(format!("{holder} and {runner} held {id} in epoch {}", seen.epoch));
            }
        }
        Ok(())
    }
}

impl Seen {
    /// Whether nothing is left to do without a person.
    pub fn rests(&self) -> bool {
        match self.status {
            ChatStatus::Waiting => self.queue == 0,
            ChatStatus::Error => true,
            _ => false,
        }
    }

    /// What people see of it.
    fn looks(&self) -> (ChatStatus, bool, i64, i64, i64) {
        (self.status, self.archived, self.history, self.queue, self.unanswered)
    }

    fn facts(&self) -> Facts {
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Facts {
            status: self.status,
            archived: self.archived,
            queue: count(self.queue),
            steered: count(self.steered),
            unanswered: count(self.unanswered),
            awaited: count(self.awaited),
            owned: self.worker.is_some(),
            retrying: self.retrying,
        }
    }

    fn read(row: &SqliteRow) -> Self {
        let status: String = row.get(1);
        let all = [
            ChatStatus::Waiting,
            ChatStatus::Running,
            ChatStatus::Interrupting,
            ChatStatus::RequiresAction,
            ChatStatus::Error,
        ];
        let status = all.into_iter().find(|known| known.as_str() == status);
        Self {
            id: parsed(row, 0),
            status: status.expect("the schema knows no other status"),
            archived: row.get(2),
            snapshot: row.get(3),
            history: row.get(4),
            queue: row.get(5),
            steered: row.get(6),
            unanswered: row.get(7),
            awaited: row.get(8),
            worker: row.get(9),
            runner: row.get(10),
            epoch: row.get(11),
            retrying: row.get(12),
            error: row.get(13),
        }
    }
}

/// What a viewer was shown is stored, word by word.
pub async fn is_stored(db: &mut SqliteConnection, shown: &MessageView) -> Result<(), Wrong> {
    const MESSAGE: &str = "SELECT content FROM messages WHERE id = $1";
    let row = sqlx::query(MESSAGE)
        .bind(shown.id.to_string())
        .fetch_optional(db)
        .await
        .map_err(|error| error.to_string())?;
    let Some(row) = row else { return Err(format!("{} was shown and is not stored", shown.id)) };
    let stored: Vec<StoredPart> =
        serde_json::from_str(row.get::<&str, _>(0)).map_err(|error| error.to_string())?;
    let stored: Vec<Part> = stored.into_iter().map(|stored| stored.part).collect();
    if stored == shown.content {
        return Ok(());
    }
    Err(format!("{} was shown as {:?} and is {stored:?}", shown.id, shown.content))
}

/// How often a text stands in a chat, in any branch, and in its queue.
pub async fn times_said(db: &mut SqliteConnection, chat: ChatId, text: &str) -> Result<i64, Wrong> {
    const TIMES: &str = "SELECT (SELECT COUNT(*) FROM messages WHERE chat_id = $1 \
         AND role = 'user' AND content LIKE $2) + (SELECT COUNT(*) FROM queued_messages \
         WHERE chat_id = $1 AND content LIKE $2)";
    let row = sqlx::query(TIMES)
        .bind(chat.to_string())
        .bind(format!("%\"{text}\"%"))
        .fetch_one(db)
        .await
        .map_err(|error| error.to_string())?;
    Ok(row.get(0))
}

/// How many chats wait for somebody who asks for their names.
pub async fn names_due(db: &mut SqliteConnection) -> Result<i64, Wrong> {
    const DUE: &str = "SELECT COUNT(*) FROM names_due";
    let row = sqlx::query(DUE).fetch_one(db).await.map_err(|error| error.to_string())?;
    Ok(row.get(0))
}

fn parsed<T: std::str::FromStr>(row: &SqliteRow, at: usize) -> T {
    let text: &str = row.get(at);
    text.parse().ok().expect("ids are stored as they are written")
}

/// Each call of every branch has one result, in its order, and each good result of an operation one
/// effect.
pub async fn every_call_is_answered(
    db: &mut SqliteConnection,
    ledger: &BTreeMap<OpId, u32>,
) -> Result<(), Wrong> {
    const MESSAGES: &str =
        "SELECT chat_id, content FROM messages WHERE role <> 'user' ORDER BY chat_id, seq";
    const OPERATIONS: &str = "SELECT op_id, is_error, sealed, result FROM operations \
         WHERE tool IN ('act', 'edit_files', 'execute')";
    let rows = sqlx::query(MESSAGES).fetch_all(&mut *db).await.map_err(|e| e.to_string())?;
    let mut open: BTreeMap<ChatId, Vec<String>> = BTreeMap::new();
    for row in &rows {
        let chat: ChatId = parsed(row, 0);
        let parts: Vec<StoredPart> =
            serde_json::from_str(row.get::<&str, _>(1)).map_err(|error| error.to_string())?;
        let waiting = open.entry(chat).or_default();
        for stored in parts {
            match stored.part {
                Part::ToolCall { tool_call_id, .. } => waiting.push(tool_call_id),
                Part::ToolResult { tool_call_id, .. } => {
                    if waiting.first() != Some(&tool_call_id) {
                        return Err(format!("{tool_call_id} is answered, {waiting:?} are open"));
                    }
                    waiting.remove(0);
                }
                _ => {}
            }
        }
    }
    if let Some((chat, left)) = open.iter().find(|(_, open)| !open.is_empty()) {
        return Err(format!("the calls {left:?} of {chat} have no answer"));
    }
    let rows = sqlx::query(OPERATIONS).fetch_all(db).await.map_err(|e| e.to_string())?;
    for row in &rows {
        let (op, is_error): (OpId, bool) = (parsed(row, 0), row.get(1));
        let times = ledger.get(&op).copied().unwrap_or(0);
        let result: String = row.get::<Option<String>, _>(3).unwrap_or_default();
        if !row.get::<bool, _>(2) || result.contains("outcome_unknown") {
            return Err(format!("{op} ended as {result:?}"));
        }
        if times > 1 || !is_error && times != 1 {
            return Err(format!("{op} had its effect {times} times and says {result}"));
        }
    }
    Ok(())
}
