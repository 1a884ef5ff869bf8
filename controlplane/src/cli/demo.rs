//! `demo`: a throw-away server, daemon and scripted model, ready within ten seconds.
//!
//! ```text
//! temp dir ─► server (port 0) ─► person, provider, model, workspace ─► agentd joins ─► one-time link
//! Ctrl-C ─► agentd ends ─► server ends ─► temp dir removed
//! ```

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use shared::ids::{IdSource, SystemIds, WorkspaceId};
use shared::lifecycle::{Ending, Lifecycle};
use tokio::process::{Child, Command};

use super::args::{Common, DemoFlags};
use super::exit::Failure;
use super::output::{line, print};
use super::serve::server;
use super::{logging, sources};
use crate::app::App;
use crate::http::auth;
use crate::http::json::Hidden;
use crate::http::problem::Problem;
use crate::options;
use crate::store::{NewModel, NewProvider, NewUser, NewWorkspace, ProviderKind, UserRole};

/// How long the daemon may take to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the daemon may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long running work may take to end; nothing here is worth more.
const GRACE: Duration = Duration::from_secs(3);

const SAMPLES: &[(&str, &str)] = &[
    (
        "README.md",
        "# Sample\n\nA small project for the demonstration. Try: *what does this project do?*\n",
    ),
    (
        "hello.sh",
        "#!/bin/sh\n# Greets whoever is named, or the world.\necho \"Hello, ${1:-world}!\"\n",
    ),
    (
        "src/shapes.py",
        "\"\"\"Areas of simple shapes.\"\"\"\n\n\ndef rectangle(width, height):\n    return width * height\n\n\ndef triangle(base, height):\n    return base * height / 2\n",
    ),
    (
        "src/test_shapes.py",
        "from shapes import rectangle, triangle\n\n\ndef test_areas():\n    assert rectangle(2, 3) == 6\n    assert triangle(4, 5) == 10\n",
    ),
];

/// What the daemon says, shown only if it does not join.
const DAEMON_LOG: &str = "agentd.log";

/// Runs until Ctrl-C, and leaves nothing behind.
pub async fn run(common: Common, flags: DemoFlags) -> Result<ExitCode, Failure> {
    let place = Place::make()?;
    let ended = in_place(&place, common, flags).await;
    place.remove();
    ended
}

async fn in_place(place: &Place, common: Common, flags: DemoFlags) -> Result<ExitCode, Failure> {
    let agentd = agentd_program()?;
    let root = match flags.root {
        Some(root) => root,
        None => samples(&place.path)?,
    };
    let common = Common {
        data_dir: Some(place.path.join("server").display().to_string()),
        // A demonstration touches no database that exists.
        database_url: Some(format!("sqlite:{}", place.path.join("server/holdfast.db").display())),
        ..common
    };
    let mut sources = sources::of(&common, None)?;
    sources.flags.push(("http.listen", "--http", flags.http.to_string()));
    sources.flags.push(("quic.listen", "--quic", flags.quic.to_string()));
    let (mut options, _) = options::load(&sources)?;
    if options.log.filter == "info" {
        options.log.filter = "warn".to_owned();
    }
    logging::start(&options.log)?;

    let lifecycle = Lifecycle::new();
    let app = server(options, &lifecycle, true).await?.app;
    let (token, workspace) = furnish(&app).await.map_err(told)?;
    let mut daemon = join(&agentd, &app, &token, &root, &place.path)?;
    let joined = tokio::select! {
        () = connected(&app, workspace) => Ok(()),
        () = tokio::time::sleep(JOIN_PATIENCE) => Err("the daemon did not join in time".to_owned()),
        status = daemon.wait() => Err(match status {
            Ok(status) => format!("the daemon ended: {status}"),
            Err(error) => format!("the daemon ended: {error}"),
        }),
    };
    if let Err(reason) = joined {
        end(daemon).await;
        lifecycle.shut_down(GRACE).await;
        let log = std::fs::read_to_string(place.path.join(DAEMON_LOG)).unwrap_or_default();
        return Err(Failure::failed(format!("{reason}\n{log}")));
    }
    announce(&app, &root).await?;
    let ending = lifecycle.run_until_stopped(GRACE).await;
    end(daemon).await;
    app.store.close().await;
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::FAILURE,
    })
}

/// Waits until the daemon's link is there. Enrolment may replace what the fleet knows of a
/// workspace, so the fleet is asked anew after every change.
async fn connected(app: &App, workspace: WorkspaceId) {
    let mut changes = app.fleet.changes();
    while !app.fleet.presence(workspace).connected {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A person, a scripted provider with its model, and a workspace with a token to join it.
async fn furnish(app: &App) -> Result<(String, WorkspaceId), Problem> {
    let password_hash = app.http.passwords.hash(&Hidden::new(auth::new_secret()?)).await?;
    let new = NewUser { username: "demo".to_owned(), password_hash, role: UserRole::Admin };
    let user = app.store.users.create(&new).await?;
    let provider = NewProvider {
        id: app.ids.id(),
        kind: ProviderKind::Scripted,
        name: "Scripted".to_owned(),
        base_url: None,
        api_key: None,
    };
    let provider = app.store.providers.create(&provider).await?;
    let model = NewModel {
        provider_id: provider.id,
        model: "scripted".to_owned(),
        display_name: "Scripted demonstration".to_owned(),
        context_limit: 128_000,
        max_output_tokens: None,
        price: None,
        options: serde_json::Map::new(),
        enabled: true,
        hidden: false,
        fallback_model_id: None,
    };
    let model = app.store.models.create(&model).await?;
    app.store.models.set_default(model.id).await?;
    let new = NewWorkspace { name: "demo".to_owned(), labels: std::collections::BTreeMap::new() };
    let workspace = app.store.workspaces.create(&new).await?;
    let Some(tokens) = app.join_tokens() else {
        return Err(Problem::internal("the listener for daemons is not up"));
    };
    let issued = tokens.issue(workspace.id, Some(user.id)).await?;
    Ok((issued.token, workspace.id))
}

fn join(
    agentd: &Path,
    app: &App,
    token: &str,
    root: &Path,
    place: &Path,
) -> Result<Child, Failure> {
    let told = |error| Failure::failed(format!("{DAEMON_LOG}: {error}"));
    let log = std::fs::File::create(place.join(DAEMON_LOG)).map_err(told)?;
    Command::new(agentd)
        .args(["join", &format!("http://{}", app.http.address), "--token", token])
        .arg("--root")
        .arg(root)
        .arg("--state-dir")
        .arg(place.join("agentd"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Its own group: Ctrl-C ends it after the server, in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::failed(format!("{}: {error}", agentd.display())))
}

async fn announce(app: &App, root: &Path) -> Result<(), Failure> {
    let user = app.store.users.by_username("demo").await?;
    let user = user.ok_or_else(|| Failure::failed("the demonstration's person is gone"))?;
    let secret = app.http.login_link.make(user).map_err(told)?;
    let url = format!("{}/enter/{secret}", app.http.url());
    if app.options.log.json {
        let http = app.http.url();
        let ready = serde_json::json!({"event": "ready", "http": http, "login_url": url});
        return line(&ready.to_string());
    }
    print(&format!(
        "\nHoldfast demonstration: a scripted model, a real daemon, nothing leaves this machine.\n\n  \
         open   {url}\n  folder {}\n\nThe link logs you in once. Ctrl-C ends and removes everything.\n",
        root.display()
    ))
}

async fn end(mut daemon: Child) {
    if let Some(pid) = daemon.id() {
        let polite = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        let waited = tokio::time::timeout(END_PATIENCE, daemon.wait()).await;
        if polite.is_err() || waited.is_err() {
            let _ = daemon.kill().await;
        }
    }
}

/// Beside our own program, or where the environment says.
fn agentd_program() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os("HOLDFAST_AGENTD") {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().map_err(|error| Failure::failed(error.to_string()))?;
    let beside = own.with_file_name("agentd");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Failure::unavailable(format!(
        "{} is not there; build it (cargo build -p agentd) or set HOLDFAST_AGENTD",
        beside.display()
    )))
}

fn samples(place: &Path) -> Result<PathBuf, Failure> {
    let root = place.join("sample");
    let write = || -> std::io::Result<()> {
        for (name, text) in SAMPLES {
            let path = root.join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, text)?;
        }
        Ok(())
    };
    write().map_err(|error| Failure::failed(format!("{}: {error}", root.display())))?;
    Ok(root)
}

/// A directory of our own below the system's temporary one.
struct Place {
    path: PathBuf,
}

impl Place {
    fn make() -> Result<Self, Failure> {
        let name = format!("holdfast-demo-{}", SystemIds::new().ulid());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok(Self { path })
    }

    fn remove(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the directory");
        }
    }
}

fn told(problem: Problem) -> Failure {
    Failure::failed(problem.detail().to_owned())
}
