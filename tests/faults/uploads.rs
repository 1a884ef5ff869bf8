//! The control plane is killed at every fault point of an upload: the file is there whole or not at
//! all, and sending it again makes one of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::gate::Gate;
use tests::postgres::Postgres;
use tests::programs::{Programs, Setting};

/// Three rows: one that begins the blob, one behind it, and one that comes with the attachment.
const FILE_BYTES: usize = 2 * 1024 * 1024 + 77;
/// Points that an upload of that length passes.
const PLACES: [(&str, usize); 5] =
    [("k1 begun", 1), ("k2 appended", 1), ("k2 appended", 2), ("k3 keep", 1), ("k4 kept", 1)];

fn content(run: usize) -> Vec<u8> {
    (0..FILE_BYTES).map(|at| (at / 7 + run) as u8).collect()
}

async fn crash_uploads(database: &str, database_url: Option<String>) -> Result<()> {
    let sockets = tempfile::tempdir()?;
    let mut gate = Gate::open(&sockets.path().join("server"))?;
    let setting = Setting { database_url, server_env: vec![gate.env()], ..Setting::default() };
    let mut programs = Programs::start(setting).await?;
    let provider = json!({"kind": "scripted", "name": "s"});
    let provider = programs.api.post("/providers", &provider).await?;
    let model = json!({"provider_id": provider["id"], "model": "m"});
    programs.api.post("/models", &model).await?;
    let chat = json!({"content": [{"type": "text", "text": "hello"}]});
    let chat = programs.api.post("/chats", &chat).await?["chat"]["id"].take();
    let place = format!("/chats/{}/attachments", chat.as_str().context("the chat has an id")?);

    for (run, (point, nth)) in PLACES.into_iter().enumerate() {
        let what = format!("{database}, killed at {point} #{nth}");
        let (api, bytes) = (programs.api.anew()?, content(run));
        let name = format!("{place}?name=file{run}");
        gate.begin(Some((point.to_owned(), nth)));
        {
            let mut sending = std::pin::pin!(api.upload(&name, bytes.clone()));
            let hit = tokio::select! {
                biased;
                hit = gate.held() => hit,
                ended = &mut sending => {
                    let ended = ended.map(|(status, _)| status);
                    anyhow::bail!("{what}: the upload ended before: {ended:?}")
                }
            };
            programs.kill_server()?;
            hit.release();
        }
        gate.begin(None);
        programs.start_server()?;
        let api = programs.api.anew()?;
        let there = listed(&api.get(&place).await?);
        let expected = run + usize::from(point == "k4 kept");
        ensure!(there == expected, "{what}: {there} files instead of {expected}");
        let (status, file) = api.upload(&name, bytes.clone()).await?;
        let is_new = point != "k4 kept";
        ensure!(status == if is_new { 201 } else { 200 }, "{what}: {status} {file}");
        let there = listed(&api.get(&place).await?);
        ensure!(there == run + 1, "{what}: {there} files after it was sent again");
        let id = file["attachment_id"].as_str().context("the file has an id")?;
        let got = api.download(&format!("{place}/{id}")).await?;
        ensure!(got == bytes, "{what}: {} bytes came back otherwise", got.len());
    }
    println!(
        "uploads on {database}: killed at {} places, 0 half files, 0 lost, 0 doubled",
        PLACES.len()
    );
    Ok(())
}

fn listed(page: &Value) -> usize {
    page["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_whole_or_not_there_wherever_the_control_plane_dies_on_sqlite() -> Result<()> {
    crash_uploads("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_whole_or_not_there_wherever_the_control_plane_dies_on_postgres() -> Result<()>
{
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    crash_uploads("Postgres", Some(postgres.database().await?)).await
}
