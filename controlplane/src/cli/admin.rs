//! `admin`: people, keys, workspaces and join tokens, straight in the database.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;

use shared::lifecycle::Lifecycle;

use super::args::{AdminCommand, KeyCommand, TokenCommand, UserCommand, WorkspaceCommand};
use super::exit::Failure;
use super::offline::Offline;
use super::output::line;
use crate::app::{HTTP_URL_SETTING, QUIC_PORT_SETTING};
use crate::fleet::{CertificateAuthority, JoinTokens};
use crate::http::auth::{self, KEY_PREFIX, Scope};
use crate::http::json::Hidden;
use crate::http::passwords::Passwords;
use crate::http::problem::Problem;
use crate::options::Sources;
use crate::store::{NewApiKey, NewUser, NewWorkspace, StoreError, UserRole, UserRow, WorkspaceRow};

/// Workspaces that are looked through for a name.
const PAGE: u32 = 500;

/// Runs one of them.
pub async fn run(sources: Sources, command: AdminCommand) -> Result<ExitCode, Failure> {
    let offline = Offline::open(&sources).await?;
    match command {
        AdminCommand::User(command) => user(&offline, command).await?,
        AdminCommand::Key(KeyCommand::Create { user, name }) => {
            key(&offline, &user, name).await?;
        }
        AdminCommand::Workspace(WorkspaceCommand::List) => {
            for row in workspaces(&offline).await? {
                line(&format!("{}  {}", row.id, row.name))?;
            }
        }
        AdminCommand::Workspace(WorkspaceCommand::Create { name }) => {
            line(&create_workspace(&offline, name).await?.id.to_string())?;
        }
        AdminCommand::Token(TokenCommand::Create { workspace, command }) => {
            token(&offline, workspace, command).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn user(offline: &Offline, command: UserCommand) -> Result<(), Failure> {
    let users = &offline.store.users;
    match command {
        UserCommand::List => {
            for row in users.list(PAGE).await? {
                line(&format!("{}  {}  {}", row.id, row.role.as_str(), row.username))?;
            }
        }
        UserCommand::Create { username, admin } => {
            let role = if admin { UserRole::Admin } else { UserRole::Member };
            let password_hash = password_hash().await?;
            let row = users.create(&NewUser { username, password_hash, role }).await;
            line(&row.map_err(|error| taken(error, "person"))?.id.to_string())?;
        }
        UserCommand::SetPassword { username } => {
            let row = person(offline, &username).await?;
            users.set_password(row.id, &password_hash().await?).await?;
            offline.store.sessions.delete_of_user(row.id).await?;
        }
    }
    Ok(())
}

async fn key(offline: &Offline, user: &str, name: String) -> Result<(), Failure> {
    let row = person(offline, user).await?;
    let key = format!("{KEY_PREFIX}{}", auth::new_secret().map_err(told)?);
    let new = NewApiKey {
        user_id: row.id,
        name,
        token_hash: auth::digest(&key),
        hint: key[key.len() - 4..].to_owned(),
        scopes: auth::scopes_text(&[Scope::Read, Scope::Write, Scope::Admin]),
        expires_at_ms: None,
    };
    offline.store.api_keys.create(&new).await?;
    line(&key)
}

async fn token(offline: &Offline, name: String, command: bool) -> Result<(), Failure> {
    let found = workspaces(offline).await?.into_iter().find(|row| row.name == name);
    let workspace = match found {
        Some(row) => row,
        None => create_workspace(offline, name).await?,
    };
    let secrets = offline.secrets()?;
    let settings = &offline.store.settings;
    let now_ms = offline.clock.now_ms();
    let ca = CertificateAuthority::open_or_create(settings, &secrets, now_ms)
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;
    // The port that the running server last had; it may have been chosen by a flag of its own.
    let port = settings.value(QUIC_PORT_SETTING).await?;
    let port = port.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    let port = port.unwrap_or(offline.options.quic_listen.port());
    let store = offline.store.join_tokens.clone();
    let tokens = JoinTokens::new(store, std::sync::Arc::clone(&offline.clock), ca.pin(), port);
    let issued = tokens.issue(workspace.id, None).await?;
    if command {
        let url = settings.value(HTTP_URL_SETTING).await?;
        let url = url.and_then(|url| String::from_utf8(url).ok()).unwrap_or_else(|| offline.url());
        return line(&format!("agentd join {url} --token {}", issued.token));
    }
    line(&issued.token)
}

async fn create_workspace(offline: &Offline, name: String) -> Result<WorkspaceRow, Failure> {
    let new = NewWorkspace { name, labels: BTreeMap::new() };
    offline.store.workspaces.create(&new).await.map_err(|error| taken(error, "workspace"))
}

async fn workspaces(offline: &Offline) -> Result<Vec<WorkspaceRow>, Failure> {
    let mut all: Vec<WorkspaceRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.id);
        let page = offline.store.workspaces.list(after, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn person(offline: &Offline, username: &str) -> Result<UserRow, Failure> {
    let found = offline.store.users.by_username(username).await?;
    found.ok_or_else(|| Failure::failed(format!("there is no person called {username}")))
}

async fn password_hash() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4_096).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    let password = Hidden::new(text.trim_end_matches(['\r', '\n']).to_owned());
    Passwords::new(Lifecycle::new()).hash(&password).await.map_err(told)
}

fn told(problem: Problem) -> Failure {
    Failure::failed(problem.detail().to_owned())
}

fn taken(error: StoreError, what: &str) -> Failure {
    match error {
        StoreError::Conflict => Failure::failed(format!("another {what} has this name")),
        other => other.into(),
    }
}
