//! The two migration sets are one schema, and every statement is understood by both databases.

use std::collections::{BTreeMap, BTreeSet};

use controlplane::store::db::Seam;
use controlplane::store::{DatabaseUrl, statements};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};

use crate::scene::Scene;

/// A connection of the test's own.
enum Direct {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

async fn direct(scene: &Scene) -> Direct {
    match &scene.url {
        DatabaseUrl::Sqlite(path) => {
            let url = format!("sqlite:{}", path.display());
            Direct::Sqlite(SqliteConnection::connect(&url).await.unwrap())
        }
        DatabaseUrl::Postgres(url) => Direct::Postgres(PgConnection::connect(url).await.unwrap()),
    }
}

/// Runs a statement of a test on the store's own writer.
pub async fn execute(scene: &Scene, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match scene.store.db().writer() {
        Seam::Sqlite(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
        Seam::Postgres(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
    }
}

/// One column: name, type in the portable words, and whether it may be null.
type Column = (String, String, bool);

/// A table as both catalogues describe it.
#[derive(Debug, Default, PartialEq)]
struct Table {
    columns: Vec<Column>,
    primary_key: Vec<String>,
    /// Columns of each unique constraint but the primary key.
    unique: BTreeSet<Vec<String>>,
    /// Name and columns of each plain index.
    indexes: BTreeMap<String, Vec<String>>,
    /// Column, table, column, what happens on delete.
    foreign_keys: BTreeSet<(String, String, String, String)>,
    /// How many `CHECK`s; their text is compared in the files.
    checks: usize,
}

fn portable(kind: &str) -> String {
    match kind {
        "BIGINT" | "BOOLEAN" | "INTEGER" => "integer",
        "TEXT" => "text",
        "BYTEA" | "BLOB" => "bytes",
        "DOUBLE PRECISION" | "REAL" => "real",
        other => panic!("{other} is not one of the five column types"),
    }
    .to_owned()
}

async fn sqlite_schema(conn: &mut SqliteConnection) -> BTreeMap<String, Table> {
    let names: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut tables = BTreeMap::new();
    for (name, sql) in names {
        assert!(sql.ends_with("STRICT"), "{name} is not STRICT");
        let mut table = Table { checks: sql.matches("CHECK (").count(), ..Table::default() };
        let mut key = vec![];
        let rows = sqlx::query("SELECT name, type, \"notnull\", pk FROM pragma_table_info($1)")
            .bind(&name)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
        for row in rows {
            let column: String = row.get(0);
            let (kind, not_null, place): (String, bool, i64) = (row.get(1), row.get(2), row.get(3));
            if place > 0 {
                key.push((place, column.clone()));
            }
            table.columns.push((column, portable(&kind), !not_null));
        }
        key.sort();
        table.primary_key = key.into_iter().map(|(_, column)| column).collect();
        let lists = sqlx::query("SELECT name, \"unique\", origin FROM pragma_index_list($1)")
            .bind(&name)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
        for list in lists {
            let (index, unique, origin): (String, bool, String) =
                (list.get(0), list.get(1), list.get(2));
            let columns: Vec<String> =
                sqlx::query_scalar("SELECT name FROM pragma_index_info($1) ORDER BY seqno")
                    .bind(&index)
                    .fetch_all(&mut *conn)
                    .await
                    .unwrap();
            match (origin.as_str(), unique) {
                ("pk", _) => {}
                (_, true) => drop(table.unique.insert(columns)),
                (_, false) => drop(table.indexes.insert(index, columns)),
            }
        }
        let keys = sqlx::query(
            "SELECT \"from\", \"table\", \"to\", on_delete FROM pragma_foreign_key_list($1)",
        )
        .bind(&name)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        let keys = keys.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)));
        table.foreign_keys = keys.collect();
        tables.insert(name, table);
    }
    tables
}

async fn postgres_schema(conn: &mut PgConnection) -> BTreeMap<String, Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let rows = sqlx::query(
        "SELECT table_name::text, column_name::text, upper(data_type)::text, is_nullable = 'YES' \
         FROM information_schema.columns WHERE table_schema = 'public' \
         AND table_name <> '_sqlx_migrations' ORDER BY table_name, ordinal_position",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    for row in rows {
        let (table, column, kind, null): (String, String, String, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        tables.entry(table).or_default().columns.push((column, portable(&kind), null));
    }
    let rows = sqlx::query(
        "SELECT c.relname::text, i.relname::text, x.indisprimary, x.indisunique, \
         array_to_string(ARRAY(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS k(n, o) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n ORDER BY k.o), ',') \
         FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
         JOIN pg_namespace s ON s.oid = c.relnamespace \
         WHERE s.nspname = 'public' AND c.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    for row in rows {
        let (table, index, primary, unique, columns): (String, String, bool, bool, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        let columns: Vec<String> = columns.split(',').map(str::to_owned).collect();
        let table = tables.get_mut(&table).unwrap();
        if primary {
            table.primary_key = columns;
        } else if unique {
            table.unique.insert(columns);
        } else {
            table.indexes.insert(index, columns);
        }
    }
    let rows = sqlx::query(
        "SELECT c.relname::text, a.attname::text, f.relname::text, b.attname::text, \
         CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'NO ACTION' END, \
         k.contype = 'c' FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
         LEFT JOIN pg_class f ON f.oid = k.confrelid \
         LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] \
         LEFT JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1] \
         WHERE k.contype IN ('f', 'c') AND k.connamespace = 'public'::regnamespace",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    for row in rows {
        let name: String = row.get(0);
        let Some(table) = tables.get_mut(&name) else { continue };
        if row.get::<bool, _>(5) {
            table.checks += 1;
        } else {
            table.foreign_keys.insert((row.get(1), row.get(2), row.get(3), row.get(4)));
        }
    }
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_two_migration_sets_make_the_same_tables() {
    let Some(postgres) = Scene::on_postgres().await else { return };
    let sqlite = Scene::on_sqlite().await;
    let (Direct::Sqlite(mut one), Direct::Postgres(mut two)) =
        (direct(&sqlite).await, direct(&postgres).await)
    else {
        unreachable!("each scene has its own database")
    };
    let (one, two) = (sqlite_schema(&mut one).await, postgres_schema(&mut two).await);
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    assert!(one.len() >= 17, "{:?}", one.keys());
    for (name, table) in &one {
        assert_eq!(table, &two[name], "{name}");
        assert!(!table.primary_key.is_empty(), "{name} has no key");
    }
}

#[test]
fn the_two_migration_files_differ_in_types_only() {
    let read = |database: &str, file: &str| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        std::fs::read_to_string(format!("{root}/{database}/{file}")).unwrap()
    };
    let list = |database: &str| -> BTreeSet<String> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let entries = std::fs::read_dir(format!("{root}/{database}")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(list("sqlite"), list("postgres"));
    for file in list("sqlite") {
        let as_sqlite = read("postgres", &file)
            .replace("BIGINT", "INTEGER")
            .replace("BOOLEAN", "INTEGER")
            .replace("BYTEA", "BLOB")
            .replace("DOUBLE PRECISION", "REAL")
            .replace("\n);", "\n) STRICT;");
        assert_eq!(read("sqlite", &file), as_sqlite, "{file}");
    }
}

/// A released file never changes: databases out there have run it. `released.txt` has a line
/// `FOLDER/FILE CHECKSUM` for each; a release adds lines and nothing else ever does.
#[test]
fn released_migrations_are_what_they_were() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let released = std::fs::read_to_string(format!("{root}/released.txt")).unwrap();
    for line in released.lines().filter(|line| !line.starts_with('#')) {
        let (file, sum) = line.split_once(' ').expect("a file and its checksum");
        let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
        assert_eq!(checksum(&text), sum, "{file} was released: add a new file instead");
    }
}

/// FNV-1a: enough to notice an edit.
fn checksum(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

on_both! {
    async fn every_statement_is_prepared(scene: &Scene) {
        let all = statements();
        let distinct: BTreeSet<&str> = all.iter().copied().collect();
        assert!(distinct.len() > 90, "only {} statements", distinct.len());
        let mut connection = direct(scene).await;
        for sql in distinct {
            let prepared = match &mut connection {
                Direct::Sqlite(conn) => {
                    conn.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await.map(drop)
                }
                Direct::Postgres(conn) => {
                    conn.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await.map(drop)
                }
            };
            prepared.unwrap_or_else(|error| panic!("{error}\n{sql}"));
            let banned = [" OFFSET ", " LIKE ", "NOW()", "RANDOM()", "SELECT *", "INSERT OR"];
            for word in banned {
                assert!(!sql.to_uppercase().contains(word), "{word} is not portable: {sql}");
            }
        }
    }
}
