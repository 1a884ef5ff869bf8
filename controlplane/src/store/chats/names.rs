//! Titles and turn labels that a model writes: what is due, and what came of it.
//!
//! ```text
//! end of a turn ─► names_due (same transaction) ─► taken away ─► model ─► named: title, label, usage
//! ```
//!
//! What is due is taken away before a model is asked, so nobody asks twice for the same state,
//! whatever dies. What it was made from is compared when it is written: a newer state stays.

use shared::ids::ChatId;

use super::ChatStore;
use super::asked::Finished;
use super::guard::Held;
use super::rows::{ChatRow, TitleSource, WorkerFence};
use crate::chat::content::Usage;
use crate::chat::machine::Event;
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::store::text::clean;
use crate::store::usage::{self, UsageEntry, UsagePurpose};

const ADD: &str = "INSERT INTO names_due \
     (chat_id, made_from, history_version, title, label, due_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (chat_id) DO UPDATE SET \
     made_from = excluded.made_from, history_version = excluded.history_version, \
     title = excluded.title OR names_due.title, label = excluded.label, \
     due_at_ms = excluded.due_at_ms \
     WHERE names_due.history_version <= excluded.history_version";
const DUE: &str = "SELECT chat_id, made_from, history_version, title, label FROM names_due \
     ORDER BY due_at_ms, chat_id LIMIT $1";
const TAKE: &str = "DELETE FROM names_due \
     WHERE chat_id = $1 AND made_from = $2 AND history_version = $3 AND label = $4";
const LABEL: &str = "UPDATE messages SET label = $3, revision = $4 \
     WHERE chat_id = $1 AND seq = $2 AND role = 'user' AND removed = FALSE";
const NAME: &str = "UPDATE chats SET title = $2, title_source = $3, label = $4, \
     labelled_version = $5 WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[ADD, DUE, TAKE, LABEL, NAME];

/// Something of a chat that is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameDue {
    /// Which chat.
    pub chat_id: ChatId,
    /// The `seq` of the message that began the turn.
    pub made_from: i64,
    /// The history from which the names are made.
    pub history_version: i64,
    /// Whether the chat's title is due.
    pub title: bool,
    /// Whether the turn's label is due.
    pub label: bool,
}

/// What a model wrote; none: nothing of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// A title of the chat.
    pub title: Option<String>,
    /// A label of the turn.
    pub label: Option<String>,
}

impl Held<'_> {
    async fn add_due(&mut self, due: NameDue) -> Result<(), StoreError> {
        let now_ms = self.now_ms;
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(ADD)
                .bind(due.chat_id.to_string())
                .bind(due.made_from)
                .bind(due.history_version)
                .bind(due.title)
                .bind(due.label)
                .bind(now_ms)
                .execute(conn)
                .await?;
        });
        Ok(())
    }
}

impl ChatStore {
    /// Ends the turn as [`finish_turn`](Self::finish_turn) does, and notes in the same transaction
    /// that the turn that began with the message `made_from` wants a label, and the chat a title if
    /// it still has its first words.
    pub async fn finish_turn_to_name(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        made_from: i64,
    ) -> Result<Finished, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            let due = NameDue {
                chat_id: id,
                made_from,
                history_version: held.chat.history_version,
                title: held.chat.title_source == TitleSource::FirstWords,
                label: true,
            };
            held.apply(Event::FinishTurn, None).await?;
            held.save().await?;
            held.add_due(due).await?;
            let messages = std::mem::take(&mut held.written.messages);
            Finished { next: held.chat.fence(), messages, parent: None, chat: held.chat }
        })
    }

    /// Notes that the chat wants a title already, before its first turn is over. One statement.
    pub async fn title_due(&self, due: &NameDue) -> Result<(), StoreError> {
        let now_ms = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(ADD)
                .bind(due.chat_id.to_string())
                .bind(due.made_from)
                .bind(due.history_version)
                .bind(true)
                .bind(false)
                .bind(now_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// What is to be named, longest due first, at most `limit`.
    pub async fn names_due(&self, limit: u32) -> Result<Vec<NameDue>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(DUE).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Takes it, so that nobody else asks a model for it. False: it is gone, or something newer is
    /// due.
    pub async fn take_name_due(&self, due: &NameDue) -> Result<bool, StoreError> {
        let taken = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(TAKE)
                .bind(due.chat_id.to_string())
                .bind(due.made_from)
                .bind(due.history_version)
                .bind(due.label)
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(taken == 1)
    }

    /// Keeps what a model wrote, and what the call used. The title only while the chat has the
    /// first words `was` for one; the label of the turn only while its message is shown, and as the
    /// chat's own only while no newer turn has begun.
    pub async fn named(
        &self,
        due: &NameDue,
        was: &str,
        names: &Names,
        used: Option<(&str, &Usage)>,
    ) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, due.chat_id).await?;
            held.spend(used.map(|(_, usage)| usage), 0);
            held.save().await?;
            held.keep_names(due, was, names).await?;
            if let Some((model, usage)) = used {
                let entry = UsageEntry {
                    id: format!("names-{}-{}", due.chat_id, due.history_version),
                    owner: held.chat.owner_id,
                    chat: due.chat_id,
                    purpose: if due.label { UsagePurpose::Label } else { UsagePurpose::Title },
                    model,
                    usage,
                    at_ms: held.now_ms,
                };
                usage::enter(held.tx, &entry).await?;
            }
            held.chat
        })
    }
}

impl Held<'_> {
    async fn keep_names(
        &mut self,
        due: &NameDue,
        was: &str,
        names: &Names,
    ) -> Result<(), StoreError> {
        let chat = &mut self.chat;
        if let Some(title) = &names.title
            && chat.title_source == TitleSource::FirstWords
            && chat.title == was
        {
            chat.title = clean(title).into_owned();
            chat.title_source = TitleSource::Generated;
        }
        if let Some(label) = &names.label {
            let labelled = on_pool!(self.tx.conn(), |conn| {
                sqlx::query(LABEL)
                    .bind(chat.id.to_string())
                    .bind(due.made_from)
                    .bind(clean(label))
                    .bind(chat.snapshot_version)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if labelled > 0 {
                chat.labelled_version = chat.snapshot_version;
            }
            if labelled > 0 && chat.history_version == due.history_version {
                chat.label = Some(clean(label).into_owned());
            }
        }
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(NAME)
                .bind(chat.id.to_string())
                .bind(&chat.title)
                .bind(chat.title_source.as_str())
                .bind(chat.label.as_deref())
                .bind(chat.labelled_version)
                .execute(conn)
                .await?;
        });
        Ok(())
    }
}

fn read<R: Columns>(row: &R) -> Result<NameDue, StoreError> {
    let row = Reader::of(row, "names_due", "chat_id");
    Ok(NameDue {
        chat_id: row.parsed("chat_id")?,
        made_from: row.int("made_from")?,
        history_version: row.int("history_version")?,
        title: row.bool("title")?,
        label: row.bool("label")?,
    })
}
