//! Row B94 of the bad-input catalogue: a file that is not whole, not ours or in use is refused with
//! its cause, and not one byte of it is changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use controlplane::store::{DatabaseUrl, OpenError, Store};
use shared::clock::SystemClock;
use shared::ids::SystemIds;
use shared::testing::bad_input::BadInput;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

/// A folder with, perhaps, a database.
struct Place {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("holdfast.db");
        Self { folder, file }
    }

    /// With a database that was closed in order.
    async fn closed() -> Self {
        let place = Self::empty();
        place.open().await.unwrap().close().await;
        place
    }

    async fn open(&self) -> Result<Store, OpenError> {
        let url = DatabaseUrl::Sqlite(self.file.clone());
        Store::open(&url, Arc::new(SystemClock), Arc::new(SystemIds::new())).await
    }

    /// Runs statements on the file itself, as another program would.
    async fn meddle(&self, sql: &str) {
        let url = format!("sqlite:{}?mode=rwc", self.file.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn log(&self) -> PathBuf {
        beside(&self.file, "-wal")
    }

    fn lock(&self) -> PathBuf {
        beside(&self.file, ".lock")
    }

    /// Opening must fail with `code`, name the file, and leave every byte of it as it is.
    async fn refuses(&self, code: &str) -> OpenError {
        let mut report = BadInput::new();
        let before = (fingerprint(&self.file), fingerprint(&self.log()));
        let error = self.open().await.map(drop).expect_err(code);
        assert_eq!(error.code(), code, "{error}");
        let after = (fingerprint(&self.file), fingerprint(&self.log()));
        assert_eq!(after, before, "{code}: the file and its log must stay as they are");
        let text = error.to_string();
        assert!(text.contains(": ") && !text.contains('\n'), "no next step: {text}");
        report.check("B94", true);
        report.report("B94");
        error
    }
}

/// Length and hash; none: there is no such file.
fn fingerprint(path: &Path) -> Option<(usize, u64)> {
    let bytes = fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some((bytes.len(), hasher.finish()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[tokio::test]
async fn a_fresh_database_is_private_ours_and_opens_again() {
    let place = Place::closed().await;
    assert_eq!(fs::metadata(&place.file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&place.file).unwrap();
    assert_eq!(&bytes[68..72], b"HLDF");
    assert!(!place.log().exists(), "closing merges the log");
    let store = place.open().await.unwrap();
    assert_eq!(store.users.count().await.unwrap(), 0);
    store.close().await;
}

#[tokio::test]
async fn a_database_that_was_killed_opens_with_everything_in_its_log() {
    let place = Place::empty();
    let store = place.open().await.unwrap();
    store.settings.set("k", b"committed").await.unwrap();
    // What a kill leaves: file, log and note, copied while they are in use.
    let after = Place::empty();
    for suffix in ["", "-wal", ".lock"] {
        fs::copy(beside(&place.file, suffix), beside(&after.file, suffix)).unwrap();
    }
    assert_eq!(fs::read(after.lock()).unwrap(), b"open\n");
    let again = after.open().await.unwrap();
    assert_eq!(again.settings.value("k").await.unwrap().as_deref(), Some(&b"committed"[..]));
    again.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_half_made_database_of_a_killed_first_start_is_made_again() {
    let place = Place::empty();
    fs::write(beside(&place.file, ".new"), b"half").unwrap();
    place.open().await.unwrap().close().await;
}

#[tokio::test]
async fn what_is_not_a_database_is_refused() {
    let place = Place::empty();
    for content in [&b""[..], b"hello", &[0; 4096], b"SQLite format 3\0 and then it ends"] {
        fs::write(&place.file, content).unwrap();
        place.refuses("database_foreign").await;
    }
    fs::remove_file(&place.file).unwrap();
    fs::create_dir(&place.file).unwrap();
    assert_eq!(place.open().await.map(drop).unwrap_err().code(), "database_foreign");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let place = Place::empty();
    place.meddle("CREATE TABLE theirs (id INTEGER)").await;
    place.refuses("database_foreign").await;
    place.meddle("PRAGMA application_id = 77").await;
    place.refuses("database_foreign").await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_its_number() {
    let place = Place::closed().await;
    place.meddle("PRAGMA user_version = 9000").await;
    let error = place.refuses("database_schema_too_new").await;
    assert!(error.to_string().contains("9000"), "{error}");
}

#[tokio::test]
async fn a_migration_that_this_program_does_not_have_is_refused() {
    let place = Place::closed().await;
    place
        .meddle(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
             execution_time) VALUES (9000, 'later', 1, x'00', 0)",
        )
        .await;
    place.refuses("database_schema_too_new").await;
}

#[tokio::test]
async fn a_migration_in_another_form_is_refused() {
    let place = Place::closed().await;
    place.meddle("UPDATE _sqlx_migrations SET checksum = x'00'").await;
    place.refuses("database_schema_differs").await;
}

#[tokio::test]
async fn a_damaged_page_is_refused() {
    let place = Place::closed().await;
    let mut bytes = fs::read(&place.file).unwrap();
    // The header stays whole, so only a look at the pages finds it.
    for byte in &mut bytes[4096..12_288] {
        *byte ^= 0x5a;
    }
    fs::write(&place.file, bytes).unwrap();
    place.refuses("database_damaged").await;
}

#[tokio::test]
async fn a_cut_off_file_is_refused() {
    let place = Place::closed().await;
    let bytes = fs::read(&place.file).unwrap();
    fs::write(&place.file, &bytes[..bytes.len() / 2]).unwrap();
    place.refuses("database_damaged").await;
}

#[tokio::test]
async fn a_missing_log_after_a_kill_is_refused() {
    let place = Place::closed().await;
    fs::write(place.lock(), "open\n").unwrap();
    let error = place.refuses("database_log_missing").await;
    assert!(error.to_string().contains("holdfast.db-wal"), "{error}");
    // The way out that the text names.
    fs::remove_file(place.lock()).unwrap();
    place.open().await.unwrap().close().await;
}

#[tokio::test]
async fn a_log_of_something_else_is_refused() {
    let place = Place::closed().await;
    fs::write(place.log(), b"this is no log of SQLite").unwrap();
    place.refuses("database_log_foreign").await;
}

#[tokio::test]
async fn a_log_of_another_database_is_refused() {
    // Another program's database, left with a full log.
    let theirs = Place::empty();
    let url = format!("sqlite:{}?mode=rwc", theirs.file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let sql = "PRAGMA journal_mode = WAL; PRAGMA application_id = 77; CREATE TABLE t (a TEXT)";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    let place = Place::closed().await;
    fs::copy(theirs.log(), place.log()).unwrap();
    place.refuses("database_log_foreign").await;
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_file_in_use_is_refused_and_free_again_afterwards() {
    let place = Place::empty();
    let first = place.open().await.unwrap();
    let error = place.open().await.map(drop).unwrap_err();
    assert_eq!(error.code(), "database_locked");
    first.close().await;
    drop(first);
    place.open().await.unwrap().close().await;
}

#[tokio::test]
async fn a_symbolic_link_is_refused() {
    let real = Place::closed().await;
    let place = Place::empty();
    symlink(&real.file, &place.file).unwrap();
    place.refuses("database_foreign").await;
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let mut place = Place::empty();
    place.file = place.folder.path().join("missing/holdfast.db");
    place.refuses("database_file").await;
}

/// Only root may give files away, and root is not stopped by modes.
#[tokio::test]
async fn a_file_of_another_user_or_in_a_closed_folder_is_refused() {
    let place = Place::closed().await;
    if chown(&place.file, Some(65_534), None).is_ok() {
        let error = place.refuses("database_wrong_owner").await;
        assert!(error.to_string().contains("65534"), "{error}");
        return;
    }
    fs::set_permissions(&place.file, fs::Permissions::from_mode(0o400)).unwrap();
    place.refuses("database_file").await;
    fs::remove_file(place.lock()).unwrap();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    place.refuses("database_file").await;
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
