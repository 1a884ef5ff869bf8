//! A Postgres for tests: a private server from installed binaries, or one that is given.
//!
//! A private server lives in a temporary folder, listens on a Unix socket in it and nowhere else,
//! and runs as an unprivileged user (Postgres refuses to run as root). Making a cluster takes a
//! second or two, so it is made once per machine and copied. The server is stopped by its pid when
//! the handle is dropped. Every test has a database of its own, sorted by bytes.
//!
//! A run of many tests, each in a process of its own, does better with one server for all: the program
//! `with-postgres COMMAND…` starts it and tells them by `HOLDFAST_TEST_POSTGRES_FOLDER`.
//!
//! `HOLDFAST_TEST_POSTGRES_URL` names a server to use instead; its user must be allowed to make
//! databases. Where there is neither a server nor binaries the tests fail loudly, unless
//! `HOLDFAST_TEST_SKIP_POSTGRES=1` says that this is known.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::stream_relay::Place;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The superuser of a private server.
const SUPERUSER: &str = "holdfast";
/// A user of a private server who needs a password.
pub const GUARDED_USER: &str = "guarded";
/// The password of [`GUARDED_USER`].
pub const GUARDED_PASSWORD: &str = "open-sesame";

/// A server: of this handle, of a `with-postgres` around it, or given.
pub struct Postgres {
    origin: Origin,
    /// Of a database that is always there, with the rights to make others.
    admin_url: String,
    /// Whether the database that a private server comes with is still unused.
    first: AtomicBool,
    /// Databases that were made; a server that lives on gets rid of them again.
    made: Mutex<Vec<String>>,
}

/// Whose server it is.
enum Origin {
    /// Stopped when this is dropped.
    Private(Server),
    /// Stopped by somebody else; its socket is in the folder.
    Shared(PathBuf),
    /// Somebody's, with rights and passwords of its own.
    Given,
}

/// A private server.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

/// Where tests look for the socket of a shared server.
const SHARED_FOLDER: &str = "HOLDFAST_TEST_POSTGRES_FOLDER";

/// Numbers the databases of this process.
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// A running server. None: there is none to be had, and that is known.
    pub fn start() -> Result<Option<Self>> {
        if let Ok(url) = std::env::var("HOLDFAST_TEST_POSTGRES_URL") {
            return Ok(Some(Self::at(Origin::Given, url)));
        }
        if let Some(folder) = std::env::var_os(SHARED_FOLDER) {
            let folder = PathBuf::from(folder);
            let url = socket_url(&folder, SUPERUSER, "", "postgres");
            return Ok(Some(Self::at(Origin::Shared(folder), url)));
        }
        let Some(binaries) = binaries() else {
            if std::env::var("HOLDFAST_TEST_SKIP_POSTGRES").is_ok_and(|value| value == "1") {
                eprintln!("SKIPPED on Postgres: no binaries, and HOLDFAST_TEST_SKIP_POSTGRES=1");
                return Ok(None);
            }
            bail!(
                "Postgres is not installed (looked for `initdb` and `postgres` in PATH and in \
                 /usr/lib/postgresql/*/bin): install it, set HOLDFAST_TEST_POSTGRES_URL, or set \
                 HOLDFAST_TEST_SKIP_POSTGRES=1 to go without"
            )
        };
        let server = Server::start(&binaries)?;
        let url = socket_url(server.folder.path(), SUPERUSER, "", "postgres");
        Ok(Some(Self::at(Origin::Private(server), url)))
    }

    fn at(origin: Origin, admin_url: String) -> Self {
        let first = AtomicBool::new(matches!(origin, Origin::Private(_)));
        Self { origin, admin_url, first, made: Mutex::default() }
    }

    /// What a command needs in its environment to use this server too.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        match &self.origin {
            Origin::Private(server) => vec![(SHARED_FOLDER, server.folder.path().into())],
            Origin::Shared(_) | Origin::Given => vec![], // it inherits it
        }
    }

    /// An empty database; answers its URL. The first one costs nothing.
    pub async fn database(&self) -> Result<String> {
        if self.first.swap(false, Ordering::SeqCst) {
            return Ok(self.admin_url.clone());
        }
        self.database_with("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'").await
    }

    /// Makes an empty database with these options of `CREATE DATABASE`.
    pub async fn database_with(&self, options: &str) -> Result<String> {
        let number = DATABASES.fetch_add(1, Ordering::SeqCst);
        let name = format!("holdfast_{}_{number}", std::process::id());
        self.admin(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        self.admin(&format!("CREATE DATABASE {name} {options} TEMPLATE template0")).await?;
        let url = with_database(&self.admin_url, &name)?;
        self.made.lock().expect("no test panics while it holds this").push(name);
        Ok(url)
    }

    /// Runs a statement as the superuser.
    pub async fn admin(&self, sql: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.admin_url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// Where the server of `url` listens.
    pub fn place(&self, url: &str) -> Result<Place> {
        Ok(match &self.origin {
            Origin::Private(server) => Place::Unix(socket_in(server.folder.path())),
            Origin::Shared(folder) => Place::Unix(socket_in(folder)),
            Origin::Given => {
                let rest = url.split_once("://").context("a URL")?.1;
                let place = rest.split(['/', '?']).next().unwrap_or_default();
                let address = place.rsplit_once('@').map_or(place, |(_, address)| address);
                let has_port = address.rsplit_once(':').is_some();
                Place::Tcp(if has_port { address.to_owned() } else { format!("{address}:5432") })
            }
        })
    }

    /// `url` by way of a relay on loopback.
    pub fn through(&self, url: &str, port: u16) -> Result<String> {
        let name =
            url.split('?').next().and_then(|url| url.rsplit('/').next()).context("a name")?;
        Ok(match &self.origin {
            Origin::Given => {
                let rest = url.split_once("://").context("a URL")?.1;
                let place = rest.split(['/', '?']).next().unwrap_or_default();
                let user = place.rsplit_once('@').map(|(user, _)| format!("{user}@"));
                let user = user.unwrap_or_default();
                format!("postgres://{user}127.0.0.1:{port}/{name}?sslmode=disable")
            }
            Origin::Private(_) | Origin::Shared(_) => {
                format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{name}?sslmode=disable")
            }
        })
    }

    /// Runs a statement on `url`'s database; the first column of the first row, if it is a text.
    pub async fn ask(&self, url: &str, sql: &str) -> Result<Option<String>> {
        let mut connection = PgConnection::connect(url).await?;
        let answer: Option<(Option<String>,)> =
            sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_optional(&mut connection).await?;
        connection.close().await?;
        Ok(answer.and_then(|(text,)| text))
    }

    /// `url` with another user, whom the server lets in by password; none if it was given.
    #[must_use]
    pub fn as_user(&self, url: &str, user: &str, password: &str) -> Option<String> {
        let name = url.split('?').next()?.rsplit('/').next()?;
        match &self.origin {
            Origin::Private(server) => Some(socket_url(server.folder.path(), user, password, name)),
            Origin::Shared(folder) => Some(socket_url(folder, user, password, name)),
            Origin::Given => None,
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let names = std::mem::take(self.made.get_mut().unwrap_or_else(|held| held.into_inner()));
        if matches!(self.origin, Origin::Private(_)) || names.is_empty() {
            return; // a private server goes with all it has
        }
        let url = self.admin_url.clone();
        // A test's runtime cannot be waited for from within; this thread has its own.
        let dropping = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                for name in names {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                }
                Ok(())
            })
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("a test database was left on the server");
        }
    }
}

impl Server {
    fn start(binaries: &Path) -> Result<Self> {
        let user = unprivileged()?;
        let template = template(binaries, user.as_ref())?;
        let folder = tempfile::Builder::new().prefix("holdfast-pg-").tempdir()?;
        give(folder.path(), user.as_ref())?;
        let data = folder.path().join("data");
        let copied = as_user("cp", user.as_ref())
            .args(["-a", "--reflink=auto"])
            .arg(&template)
            .arg(&data)
            .status()
            .context("could not run cp")?;
        ensure!(copied.success(), "could not copy {}", template.display());

        let mut child = as_user(binaries.join("postgres"), user.as_ref())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "synchronous_commit=off", "-c", "max_connections=200"])
            .args(["-c", "shared_buffers=16MB", "-c", "max_wal_size=64MB", "-c", "jit=off"])
            .args(["-c", "autovacuum=off", "-c", "max_logical_replication_workers=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start postgres")?;
        let log = child.stderr.take().context("the log is piped")?;
        let server = Self { child, folder };
        wait_until_ready(log)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // "Immediate": nothing of the cluster is kept.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = self.child.wait();
    }
}

fn socket_url(folder: &Path, user: &str, password: &str, database: &str) -> String {
    let folder = folder.display().to_string().replace('/', "%2F");
    let password = if password.is_empty() { String::new() } else { format!(":{password}") };
    format!("postgres://{user}{password}@localhost/{database}?host={folder}")
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join(".s.PGSQL.5432")
}

/// Reads the log until the server says that it accepts connections; then drains it.
fn wait_until_ready(log: ChildStderr) -> Result<()> {
    let mut seen = String::new();
    let mut log = BufReader::new(log);
    loop {
        let before = seen.len();
        if log.read_line(&mut seen)? == 0 {
            bail!("postgres ended before it was ready:\n{seen}");
        }
        if seen[before..].contains("database system is ready to accept connections") {
            break;
        }
    }
    std::thread::spawn(move || {
        let keep = std::env::var_os("HOLDFAST_TEST_POSTGRES_LOG").is_some();
        for line in log.lines().map_while(Result::ok).filter(|_| keep) {
            eprintln!("postgres: {line}");
        }
    });
    Ok(())
}

/// The folder with `initdb` and `postgres`; the newest version where there are several.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    let complete = |folder: &PathBuf| {
        let there = |name: &str| fs::canonicalize(folder.join(name)).is_ok_and(|at| at.is_file());
        there("initdb") && there("postgres")
    };
    folders.into_iter().find(complete)
}

/// Whom to become; none: this process is not root and stays who it is.
fn unprivileged() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!("Postgres does not run as root, and there is no user `postgres` or `nobody`")
}

fn as_user(program: impl AsRef<std::ffi::OsStr>, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn give(path: &Path, user: Option<&User>) -> Result<()> {
    if let Some(user) = user {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// A cluster to copy, made once per machine, user and version.
fn template(binaries: &Path, user: Option<&User>) -> Result<PathBuf> {
    let version = Command::new(binaries.join("postgres")).arg("--version").output()?;
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|sign| sign.is_ascii_digit() || *sign == '.')
        .collect();
    let owner = user.map_or(geteuid().as_raw(), |user| user.uid.as_raw());
    let home = std::env::temp_dir().join(format!("holdfast-pg-template-{version}-{owner}-v2"));
    match fs::create_dir(&home) {
        Ok(()) => give(&home, user)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context("could not make the template's folder"),
    }
    let meta = fs::symlink_metadata(&home)?;
    ensure!(meta.is_dir() && meta.uid() == owner, "{} belongs to another user", home.display());

    let lock = File::open(&home)?;
    lock.lock()?; // of several tests that come first, one makes it
    let done = home.join("data");
    if done.exists() {
        return Ok(done);
    }
    let half = home.join("half");
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    let made = as_user(binaries.join("initdb"), user)
        .arg("-D")
        .arg(&half)
        .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C"])
        .args(["--no-sync", "--no-instructions", "--wal-segsize=1"])
        .output()?;
    ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    slim(binaries, user, &half)?;
    let rules = half.join("pg_hba.conf");
    let trust = fs::read_to_string(&rules)?;
    fs::write(&rules, format!("local all {GUARDED_USER} scram-sha-256\n{trust}"))?;
    fs::rename(&half, &done)?;
    Ok(done)
}

/// Drops what no test needs: a cluster is copied file by file, and a third of them is `template1`.
fn slim(binaries: &Path, user: Option<&User>, data: &Path) -> Result<()> {
    const STATEMENTS: &str = "UPDATE pg_database SET datistemplate = false \
         WHERE datname = 'template1'\nDROP DATABASE template1\n";
    let mut single = as_user(binaries.join("postgres"), user)
        .args(["--single", "-D"])
        .arg(data)
        .args(["-c", "fsync=off", "postgres"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    single.stdin.take().context("stdin is piped")?.write_all(STATEMENTS.as_bytes())?;
    ensure!(single.wait()?.success(), "could not slim the template");
    Ok(())
}

/// `url` with another database.
fn with_database(url: &str, name: &str) -> Result<String> {
    let (place, options) = url.split_once('?').map_or((url, ""), |(place, rest)| (place, rest));
    let (server, _) = place.rsplit_once('/').context("the URL names no database")?;
    let question = if options.is_empty() { "" } else { "?" };
    Ok(format!("{server}/{name}{question}{options}"))
}
