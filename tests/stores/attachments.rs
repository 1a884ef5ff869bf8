//! Files of chats: whole or not at all, once per person and content, and gone with their chat.

use controlplane::chat::attachments::{Announced, Attachments, UploadError};
use controlplane::chat::content::{FileRef, Part};
use controlplane::chat::machine::{Busy, Refusal, UserMessage};
use controlplane::store::attachments::{AttachmentRow, CHUNK_BYTES, Kept};
use controlplane::store::chats::{Delivery, NewChat, SendMessage};
use controlplane::store::db::Seam;
use controlplane::store::{NewUser, StoreError, UserRole};
use futures_util::{StreamExt, stream};
use serde_json::json;
use shared::clock::Clock;
use shared::ids::{ChatId, UserId};
use shared::limits::{ATTACHMENT_MAX_BYTES, ATTACHMENTS_PER_CHAT};
use sqlx::AssertSqlSafe;

use crate::scene::{Scene, answer, text};
use crate::schema::execute;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

type Uploaded = Result<Kept, UploadError<&'static str>>;

async fn upload(
    scene: &Scene,
    place: (UserId, Option<ChatId>),
    name: &str,
    bytes: &[u8],
) -> Uploaded {
    let pieces = bytes.chunks(60_000).map(|piece| Ok(piece.to_vec().into()));
    let announced = Announced { name: name.into(), digest: None };
    let pieces: Vec<_> = pieces.collect();
    Attachments::new(&scene.store).upload(place, announced, stream::iter(pieces)).await
}

async fn kept(scene: &Scene, chat: Option<ChatId>, name: &str, bytes: &[u8]) -> AttachmentRow {
    upload(scene, (scene.owner, chat), name, bytes).await.unwrap().row().clone()
}

async fn bytes_of(scene: &Scene, row: &AttachmentRow) -> Vec<u8> {
    let pieces: Vec<_> = Attachments::new(&scene.store).bytes(row.blob_id).collect().await;
    pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect()
}

fn with(file: &FileRef) -> UserMessage {
    let file = Part::File { file: file.clone() }.into();
    UserMessage { content: vec![text("look"), file], model_id: None, effort: None }
}

fn sending(message: UserMessage) -> SendMessage {
    SendMessage { message, busy: Busy::Queue, claim: None, key: None }
}

async fn count(scene: &Scene, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    match scene.store.db().reader() {
        Seam::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        Seam::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
    }
}

async fn another_person(scene: &Scene) -> UserId {
    let user = NewUser {
        username: "noah".into(),
        password_hash: "$argon2id$".into(),
        role: UserRole::Member,
    };
    scene.store.users.create(&user).await.unwrap().id
}

fn is_missing<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::NotFound))
}

fn is_unknown<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused(Refusal::AttachmentNotFound)))
}

on_both! {
    async fn a_file_comes_back_byte_for_byte_whatever_its_length(scene: &Scene) {
        let chat = scene.chat().await.chat;
        for length in [1, 59_999, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            let row = kept(scene, Some(chat.id), &format!("{length}"), &bytes).await;
            assert_eq!(row.file.size, length as u64);
            assert!(bytes_of(scene, &row).await == bytes, "{length} bytes came back otherwise");
            assert_eq!(scene.store.attachments.find(row.file.attachment_id).await.unwrap(), Some(row));
        }
        let all = Attachments::new(&scene.store).list(scene.owner, chat.id).await.unwrap();
        assert_eq!(all.len(), 6);
    }

    async fn the_same_bytes_under_the_same_name_are_the_same_file_and_are_kept_once(scene: &Scene) {
        let (one, two) = (scene.chat().await.chat.id, scene.chat().await.chat.id);
        let bytes = vec![b'x'; CHUNK_BYTES + 5];
        let first = kept(scene, Some(one), "a.txt", &bytes).await;
        let again = upload(scene, (scene.owner, Some(one)), "a.txt", &bytes).await.unwrap();
        assert_eq!(again, Kept::Again(first.clone()));
        let renamed = kept(scene, Some(one), "b.txt", &bytes).await;
        let elsewhere = kept(scene, Some(two), "a.txt", &bytes).await;
        let waiting = kept(scene, None, "a.txt", &bytes).await;
        for row in [&renamed, &elsewhere, &waiting] {
            assert_ne!(row.file.attachment_id, first.file.attachment_id);
            assert_eq!(row.blob_id, first.blob_id, "the bytes were kept twice");
        }
        // Another person's are their own: how long an upload takes tells nothing of others.
        let noah = another_person(scene).await;
        let theirs = upload(scene, (noah, None), "a.txt", &bytes).await.unwrap().row().clone();
        assert_ne!(theirs.blob_id, first.blob_id);
        assert_eq!((count(scene, "blobs").await, count(scene, "blob_chunks").await), (2, 4));
    }

    async fn an_upload_that_fails_leaves_nothing(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let files = Attachments::new(&scene.store);
        let place = (scene.owner, Some(chat));
        let piece = || Ok(vec![1_u8; CHUNK_BYTES].into());
        let empty = files.upload(place, Announced::default(), stream::iter(vec![Ok::<_, &str>(vec![].into())])).await;
        assert!(matches!(empty, Err(UploadError::Empty)));
        let cut = vec![piece(), piece(), piece(), Err("cut")];
        let cut = files.upload(place, Announced::default(), stream::iter(cut)).await;
        assert!(matches!(cut, Err(UploadError::Body("cut"))));
        let pieces = (ATTACHMENT_MAX_BYTES as usize).div_ceil(CHUNK_BYTES) + 1;
        let long = stream::iter((0..pieces).map(|_| piece()));
        let long = files.upload(place, Announced::default(), long).await;
        assert!(matches!(long, Err(UploadError::TooLarge { limit: ATTACHMENT_MAX_BYTES })));
        let other = Announced { name: "x".into(), digest: Some([7; 32]) };
        let other = files.upload(place, other, stream::iter(vec![piece(), piece()])).await;
        assert!(matches!(other, Err(UploadError::Digest { .. })));
        for table in ["attachments", "blobs", "blob_chunks"] {
            assert_eq!(count(scene, table).await, 0, "{table}");
        }
    }

    async fn a_chat_takes_fifty_files_and_a_person_fifty_that_wait(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        for place in [Some(chat), None] {
            for number in 0..ATTACHMENTS_PER_CHAT {
                kept(scene, place, &number.to_string(), b"x").await;
            }
            let over = upload(scene, (scene.owner, place), "one more", b"x").await;
            let full = |error: &Uploaded| matches!(error, Err(UploadError::Store(StoreError::Refused(Refusal::TooManyAttachments { max: 50 }))));
            assert!(full(&over), "{over:?}");
            let again = upload(scene, (scene.owner, place), "7", b"x").await.unwrap();
            assert!(matches!(again, Kept::Again(_)), "a repeat needs no room");
        }
        // A message cannot bring one that waits into a full chat either.
        let waiting = kept(scene, None, "3", b"x").await;
        let sent = scene.store.chats.send(chat, &sending(with(&waiting.file))).await;
        assert!(matches!(sent, Err(StoreError::Refused(Refusal::TooManyAttachments { .. }))));
        let found = scene.store.attachments.find(waiting.file.attachment_id).await.unwrap().unwrap();
        assert_eq!((found.chat_id, found.sent_at_ms), (None, None), "the refusal took it back");
    }

    async fn two_uploads_at_once_of_the_last_place_or_of_one_file_make_one(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        for number in 1..ATTACHMENTS_PER_CHAT {
            kept(scene, Some(chat), &number.to_string(), b"x").await;
        }
        let place = (scene.owner, Some(chat));
        let (one, two) = tokio::join!(upload(scene, place, "a", b"a"), upload(scene, place, "b", b"b"));
        assert_eq!([&one, &two].iter().filter(|kept| kept.is_ok()).count(), 1, "{one:?} {two:?}");
        let other = scene.chat().await.chat.id;
        let bytes = vec![3; CHUNK_BYTES + 1];
        let (one, two) = tokio::join!(
            upload(scene, (scene.owner, Some(other)), "same", &bytes),
            upload(scene, (scene.owner, Some(other)), "same", &bytes)
        );
        assert_eq!(one.unwrap().row(), two.unwrap().row());
        let bytes = vec![4; CHUNK_BYTES + 1];
        let (one, two) = tokio::join!(
            upload(scene, (scene.owner, Some(other)), "here", &bytes),
            upload(scene, (scene.owner, None), "there", &bytes)
        );
        assert_eq!(one.unwrap().row().blob_id, two.unwrap().row().blob_id);
    }

    async fn nobody_else_can_find_use_or_remove_a_file(scene: &Scene) {
        let files = Attachments::new(&scene.store);
        let (chat, other) = (scene.chat().await.chat.id, scene.chat().await.chat.id);
        let noah = another_person(scene).await;
        let row = kept(scene, Some(chat), "a", b"a").await;
        let waiting = kept(scene, None, "b", b"b").await;
        let id = row.file.attachment_id;
        assert!(is_missing(&files.find(noah, chat, id).await));
        assert!(is_missing(&files.find(scene.owner, other, id).await), "it is another chat's");
        assert!(is_missing(&files.find(scene.owner, chat, waiting.file.attachment_id).await));
        assert!(is_missing(&files.list(noah, chat).await));
        assert!(is_missing(&files.remove((noah, Some(chat)), id).await));
        assert!(is_missing(&files.remove((noah, None), waiting.file.attachment_id).await));
        assert!(is_missing(&files.remove((scene.owner, None), id).await));
        assert!(is_missing(&files.named(noah, Some(chat), &[id]).await));
        assert!(is_unknown(&files.named(noah, None, &[waiting.file.attachment_id]).await));
        assert!(is_unknown(&files.named(scene.owner, Some(other), &[id]).await));
        let upload = upload(scene, (noah, Some(chat)), "x", b"x").await;
        assert!(matches!(upload, Err(UploadError::Store(StoreError::NotFound))));
        // And the store itself refuses, whatever its caller looked up.
        assert!(is_unknown(&scene.store.chats.send(other, &sending(with(&row.file))).await));
        let theirs = NewChat { owner_id: noah, message: with(&waiting.file), ..scene.new_chat() };
        assert!(is_unknown(&scene.store.chats.create(&theirs).await));
    }

    async fn a_message_keeps_its_files_through_queue_edit_and_copy(scene: &Scene) {
        let chats = &scene.store.chats;
        let files = Attachments::new(&scene.store);
        let first = kept(scene, None, "first", b"first").await;
        let new = NewChat { message: with(&first.file), claim: Some(scene.replica), ..scene.new_chat() };
        let made = chats.create(&new).await.unwrap();
        let chat = made.chat.id;
        let found = files.find(scene.owner, chat, first.file.attachment_id).await.unwrap();
        assert!(found.sent_at_ms.is_some(), "the first message took it along");

        let second = kept(scene, Some(chat), "second", b"second").await;
        let third = kept(scene, Some(chat), "third", b"third").await;
        let sent = chats.send(chat, &sending(with(&second.file))).await.unwrap();
        let Delivery::Queued(queued) = sent.delivery else { panic!("it is running") };
        assert_eq!(json!(queued.content), json!(with(&second.file).content));
        let edited = chats.edit_queued(chat, queued.id, &with(&third.file)).await.unwrap();
        assert_eq!(json!(edited.content), json!(with(&third.file).content));
        let fence = made.acquired.unwrap().fence;
        let step = chats.commit_step(chat, &fence, &answer("yes"), &[]).await.unwrap();
        chats.finish_turn(chat, &step.fence).await.unwrap();
        let history = chats.history(chat).await.unwrap();
        assert_eq!(json!(history[2].content), json!(with(&third.file).content), "delivered as it was edited");

        let edited = chats.edit_message(chat, history[2].id, &with(&second.file), None).await.unwrap();
        assert_eq!(json!(edited.message.content), json!(with(&second.file).content));
        for row in [&first, &second, &third] {
            let id = row.file.attachment_id;
            let refused = files.remove((scene.owner, Some(chat)), id).await;
            assert!(matches!(refused, Err(StoreError::Refused(Refusal::AttachmentSent))));
        }

        let copy = chats.copy(chat, None, "copy").await.unwrap();
        let history = chats.history(copy.id).await.unwrap();
        let named: Vec<FileRef> = history.iter().flat_map(|row| &row.content).filter_map(|stored| {
            let Part::File { file } = &stored.part else { return None };
            Some(file.clone())
        }).collect();
        assert_eq!(named.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        for file in &named {
            let row = files.find(scene.owner, copy.id, file.attachment_id).await.unwrap();
            assert_eq!(bytes_of(scene, &row).await, file.name.as_bytes());
            assert!(is_missing(&files.find(scene.owner, chat, file.attachment_id).await));
        }
    }

    async fn a_file_that_was_removed_before_it_was_sent_is_refused_and_changes_nothing(scene: &Scene) {
        let files = Attachments::new(&scene.store);
        let chat = scene.chat().await.chat;
        let row = kept(scene, Some(chat.id), "a", b"a").await;
        files.remove((scene.owner, Some(chat.id)), row.file.attachment_id).await.unwrap();
        assert!(is_missing(&files.remove((scene.owner, Some(chat.id)), row.file.attachment_id).await));
        assert!(is_unknown(&scene.store.chats.send(chat.id, &sending(with(&row.file))).await));
        assert_eq!(scene.head(&chat).await.queue_length, 0);
    }

    async fn what_nobody_names_is_swept_and_what_a_message_names_stays(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let sent = kept(scene, Some(chat), "sent", b"sent").await;
        scene.store.chats.send(chat, &sending(with(&sent.file))).await.unwrap();
        let unsent = kept(scene, Some(chat), "unsent", b"unsent").await;
        let waiting = kept(scene, None, "waiting", b"waiting").await;
        // An upload that died: rows without a name.
        let blob = scene.store.attachments.begin(scene.owner).await.unwrap();
        scene.store.attachments.append(blob, 0, b"half").await.unwrap();
        let sweep = async || {
            let now = scene.clock.now_ms();
            scene.store.attachments.sweep(now - DAY_MS, now - HOUR_MS).await.unwrap()
        };
        assert_eq!(sweep().await, 0, "all of it is new");
        scene.clock.advance(std::time::Duration::from_millis(HOUR_MS as u64 + 1));
        assert_eq!(sweep().await, 1, "the upload that died");
        assert!(scene.store.attachments.chunk(blob, 0).await.unwrap().is_none());
        scene.clock.advance(std::time::Duration::from_millis(DAY_MS as u64));
        assert_eq!(sweep().await, 4, "two files that nobody sent, and their bytes");
        for gone in [&unsent, &waiting] {
            assert_eq!(scene.store.attachments.find(gone.file.attachment_id).await.unwrap(), None);
        }
        assert_eq!(bytes_of(scene, &sent).await, b"sent");
        assert_eq!((count(scene, "blobs").await, count(scene, "blob_chunks").await), (1, 1));
        assert_eq!(sweep().await, 0);
    }

    async fn files_go_with_their_chat_and_their_bytes_with_the_last_file(scene: &Scene) {
        let (one, two) = (scene.chat().await.chat.id, scene.chat().await.chat.id);
        let here = kept(scene, Some(one), "a", b"same").await;
        let there = kept(scene, Some(two), "a", b"same").await;
        execute(scene, &format!("DELETE FROM chats WHERE id = '{one}'")).await;
        assert_eq!(scene.store.attachments.find(here.file.attachment_id).await.unwrap(), None);
        scene.clock.advance(std::time::Duration::from_millis(2 * HOUR_MS as u64));
        let now = scene.clock.now_ms();
        assert_eq!(scene.store.attachments.sweep(now - DAY_MS, now - HOUR_MS).await.unwrap(), 0);
        assert_eq!(bytes_of(scene, &there).await, b"same");
        execute(scene, &format!("DELETE FROM chats WHERE id = '{two}'")).await;
        assert_eq!(scene.store.attachments.sweep(now - DAY_MS, now - HOUR_MS).await.unwrap(), 1);
        assert_eq!(count(scene, "blob_chunks").await, 0);
    }
}
