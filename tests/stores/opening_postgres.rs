//! Row B95 of the bad-input catalogue: each cause has its name and a next step.

use std::sync::Arc;

use controlplane::store::{OpenError, Store};
use shared::clock::SystemClock;
use shared::ids::SystemIds;
use shared::testing::bad_input::BadInput;
use tests::postgres::{GUARDED_PASSWORD, GUARDED_USER, Postgres};

async fn open(url: &str) -> Result<Store, OpenError> {
    let url = url.parse().unwrap();
    Store::open(&url, Arc::new(SystemClock), Arc::new(SystemIds::new())).await
}

/// Opening must fail with `code`, with a next step and without the password.
async fn refuses(url: &str, code: &str) -> OpenError {
    let mut report = BadInput::new();
    let error = open(url).await.map(drop).expect_err(code);
    assert_eq!(error.code(), code, "{error}: {error:?}");
    let text = error.to_string();
    assert!(text.contains(": ") && !text.contains('\n'), "no next step: {text}");
    assert!(!text.contains(GUARDED_PASSWORD), "the password is shown: {text}");
    report.check("B95", true);
    report.report("B95");
    error
}

/// A user with a password and no rights. On a shared server another test may have made them.
async fn make_guarded(server: &Postgres) {
    let sql = format!(
        "DO $$ BEGIN CREATE ROLE {GUARDED_USER} LOGIN PASSWORD '{GUARDED_PASSWORD}'; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    server.admin(&sql).await.unwrap();
}

#[tokio::test]
async fn a_database_opens_twice_and_is_migrated_once() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let first = open(&url).await.unwrap();
    let second = open(&url).await.unwrap();
    first.settings.set("k", b"v").await.unwrap();
    assert_eq!(second.settings.value("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn two_replicas_that_begin_at_once_migrate_once() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let (one, two) = tokio::join!(open(&url), open(&url));
    one.unwrap().close().await;
    two.unwrap().close().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unreachable_and_worth_another_try() {
    // A port that was free a moment ago, and a socket folder without a socket.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().display().to_string().replace('/', "%2F");
    for url in [
        format!("postgres://guarded:{GUARDED_PASSWORD}@127.0.0.1:{port}/x"),
        format!("postgres://guarded:{GUARDED_PASSWORD}@localhost/x?host={socket}"),
    ] {
        assert!(refuses(&url, "database_unreachable").await.is_temporary());
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_worth_another_try() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let Some(wrong) = server.as_user(&url, GUARDED_USER, "wrong") else { return };
    make_guarded(&server).await;
    assert!(!refuses(&wrong, "database_wrong_password").await.is_temporary());
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_named() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let Some(guarded) = server.as_user(&url, GUARDED_USER, GUARDED_PASSWORD) else { return };
    make_guarded(&server).await;
    refuses(&guarded, "database_no_rights").await;
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let name = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    refuses(&url.replace(&format!("/{name}"), "/missing"), "database_missing").await;
}

#[tokio::test]
async fn another_encoding_is_refused_before_a_table_is_made() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let latin = server.database_with("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let error = refuses(&latin.unwrap(), "database_encoding").await;
    assert!(error.to_string().contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_named() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let name = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    server
        .admin(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await
        .unwrap();
    assert!(refuses(&url, "database_read_only").await.is_temporary());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(server) = Postgres::start().unwrap() else { return };
    let url = server.database().await.unwrap();
    let store = open(&url).await.unwrap();
    if let controlplane::store::db::Seam::Postgres(pool) = store.db().writer() {
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
             execution_time) VALUES (9000, 'later', TRUE, '', 0)",
        )
        .execute(pool)
        .await
        .unwrap();
    }
    store.close().await;
    let error = refuses(&url, "database_schema_too_new").await;
    assert!(error.to_string().contains("9000"), "{error}");
}
