//! Join tokens (B100): distinct texts for what the holder can mend, one text for strangers.

use agentd::link::{Fault, JoinError};
use controlplane::store::NewJoinToken;
use sha2::{Digest, Sha256};
use shared::protocol::join_token::JoinToken;

use crate::Row;
use crate::world::World;

fn token_fault(joined: Result<agentd::identity::Enrolment, JoinError>) -> String {
    match joined {
        Err(JoinError::Fault(Fault::Token { reason })) => reason,
        other => panic!("expected the token to be refused, saw {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b100_a_join_token_is_single_use_short_lived_and_says_what_is_wrong() {
    let mut row = Row::new("B100");
    let world = World::new().await;
    let port = world.address.port();
    let workspace = world.workspace("a").await;
    let token = world.token(&workspace, port).await;

    let wrapped = format!("  {}\n{}\r\n", &token[..30], &token[30..]);
    let joined = world.join("first", &wrapped).await.unwrap();
    row.check("with white space and a line break", joined.workspace_id == workspace.id, &joined);

    let again = world.join("first", &token).await;
    row.check("the same machine again", again.is_ok(), again.as_ref().err());

    let used = token_fault(world.join("second", &token).await);
    row.check("used, by another machine", used.contains("unknown or was used"), &used);

    let mut unknown: JoinToken = token.parse().unwrap();
    unknown.secret = [1; 16];
    let unknown = token_fault(world.join("second", &unknown.to_string()).await);
    row.check("unknown looks like used", unknown == used, &unknown);

    let mut old: JoinToken = token.parse().unwrap();
    old.secret = [2; 16];
    let new = NewJoinToken {
        workspace_id: workspace.id,
        secret_hash: sha256_hex(&old.secret_text()),
        created_by: None,
        expires_at_ms: world.clock.now_ms() - 1,
    };
    world.store.join_tokens.create(&new).await.unwrap();
    let expired = token_fault(world.join("second", &old.to_string()).await);
    row.check("expired", expired.contains("expired"), &expired);

    for (case, text) in [("a part", &token[..40]), ("an API key", "hf_abc"), ("nothing", "")] {
        let reason = token_fault(world.join("second", text).await);
        row.check(case, reason.contains("copy it whole"), &reason);
    }

    let elsewhere = World::new().await;
    let other = elsewhere.workspace("b").await;
    let stolen = elsewhere.token(&other, port).await;
    let joined = world.join("second", &stolen).await;
    let refused = matches!(&joined, Err(JoinError::Fault(Fault::ServerCertificate { .. })));
    row.check("of another deployment: the pin does not match", refused, &joined);

    let both = world.token(&workspace, port).await;
    let race = tokio::join!(world.join("one", &both), world.join("two", &both));
    let winners = usize::from(race.0.is_ok()) + usize::from(race.1.is_ok());
    row.check("two machines at once", winners == 1, winners);

    let nowhere = world.token(&workspace, 9).await;
    let joined = world.join("second", &nowhere).await;
    let silent = matches!(&joined, Err(JoinError::Fault(Fault::Silent { .. })));
    row.check("a port that is silent", silent, &joined);
    row.print(11);
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_takes_the_workspace_over_and_the_first_is_out() {
    let world = World::new().await;
    let first = world.daemon("first").await;
    first.connected().await;
    let token = world.token(&first.workspace, world.address.port()).await;
    world.join("second", &token).await.unwrap();
    first.lost().await;
    let second = world.start("second", first.workspace.clone());
    second.connected().await;
    assert!(first.way.presence().connected, "a way outlives the daemons of its workspace");
    let fault = first.link.status().fault.expect("the first was told");
    assert_eq!(fault.name, "certificate", "{}", fault.text);
}
