//! Who is let in: certificates (B38), ALPN and versions (B39).

use agentd::link::LinkState;
use rcgen::{CertificateParams, CustomExtension, SanType};
use rustls::pki_types::CertificateDer;
use shared::protocol::close::CloseCode;
use shared::protocol::hello::Hello;
use shared::protocol::{ALPN_ENROLL, ALPN_LINK, ErrorCode, MINOR_MAX, Reply};

use crate::Row;
use crate::stranger::{
    End, Papers, Stranger, device_papers, device_papers_at, forged, hello, new_key, private,
};
use crate::world::{World, within};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// TLS alerts.
const CERTIFICATE_EXPIRED: u8 = 45;
const UNKNOWN_CA: u8 = 48;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// How a link with these papers ends, before anything was said.
async fn refused(world: &World, papers: Option<Papers>) -> End {
    match Stranger::dial(world.address, &[ALPN_LINK], papers).await {
        Ok(stranger) => stranger.end().await,
        Err(end) => end,
    }
}

fn closed(end: &End, reason: &str) -> bool {
    let expected = format!("daemon_auth_failed: {reason}");
    matches!(end, End::Closed(CloseCode::AuthFailed, text) if *text == expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b38_only_the_certificate_of_an_enrolled_daemon_opens_a_link() {
    let mut row = Row::new("B38");
    let world = World::new().await;
    let now_ms = world.clock.now_ms();

    let end = refused(&world, None).await;
    row.check("no certificate", closed(&end, "no certificate"), &end);

    let user = forged(&world, CertificateParams::default()).await;
    let end = refused(&world, Some(user)).await;
    row.check("a person's", closed(&end, "the certificate names no workspace"), &end);

    let mut two = CertificateParams::default();
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    two.subject_alt_names = vec![uri("holdfast://workspace/x"), uri("holdfast://workspace/y")];
    let end = refused(&world, Some(forged(&world, two).await)).await;
    row.check("two names", closed(&end, "the certificate names no workspace"), &end);

    let elsewhere = World::new().await;
    let papers = device_papers(&elsewhere, "a").await;
    let end = refused(&world, Some(papers)).await;
    row.check("wrong CA", end == End::Alert(UNKNOWN_CA), &end);

    let key = new_key();
    let own = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let end = refused(&world, Some((vec![own], private(&key)))).await;
    row.check("self-signed", matches!(end, End::Alert(_)), &end);

    let expired = device_papers_at(&world, "expired", now_ms - 10 * DAY_MS, DAY_MS).await;
    let end = refused(&world, Some(expired)).await;
    row.check("expired", end == End::Alert(CERTIFICATE_EXPIRED), &end);

    let future = device_papers_at(&world, "future", now_ms + 10 * DAY_MS, DAY_MS).await;
    let end = refused(&world, Some(future)).await;
    row.check("future", end == End::Alert(CERTIFICATE_EXPIRED), &end);

    let end = refused(&world, Some(world.ca.sign_server(now_ms))).await;
    row.check("wrong key usage", matches!(end, End::Alert(_)), &end);

    let revoked = device_papers(&world, "revoked").await;
    let workspaces = world.store.workspaces.list(None, 100).await.unwrap();
    let workspace = workspaces.iter().find(|row| row.name == "revoked").unwrap();
    world.store.workspaces.set_device(workspace.id, None).await.unwrap();
    let end = refused(&world, Some(revoked)).await;
    row.check("revoked", closed(&end, "revoked"), &end);

    let deleted = device_papers(&world, "deleted").await;
    let workspaces = world.store.workspaces.list(None, 100).await.unwrap();
    let workspace = workspaces.iter().find(|row| row.name == "deleted").unwrap();
    world.store.workspaces.delete(workspace.id).await.unwrap();
    let end = refused(&world, Some(deleted)).await;
    row.check("of a deleted workspace", closed(&end, "revoked"), &end);

    let end = refused(&world, Some(deep_chain(100))).await;
    row.check("a chain of 100", matches!(end, End::Alert(_) | End::Transport(_)), &end);

    let mut large = CertificateParams::default();
    let megabyte = vec![0; 1024 * 1024];
    let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], megabyte);
    large.custom_extensions = vec![extension];
    let end = refused(&world, Some(forged(&world, large).await)).await;
    row.check("a certificate of 1 MB", !matches!(end, End::Closed(..)), &end);

    let garbage = (vec![CertificateDer::from(vec![0x30; 100])], private(&new_key()));
    let end = refused(&world, Some(garbage)).await;
    row.check("garbage", matches!(end, End::Alert(_)), &end);

    // After all of them an honest daemon is let in, and a revocation ends its link at once.
    let daemon = world.daemon("honest").await;
    daemon.connected().await;
    row.check("the honest one", true, ());
    world.store.workspaces.set_device(daemon.workspace.id, None).await.unwrap();
    world.fleet.revoke(daemon.workspace.id);
    let mut changed = daemon.link.changed();
    let told = changed.wait_for(|status| status.fault.is_some());
    let fault = within("it is told", told).await.unwrap().fault.clone().unwrap();
    row.check("revoked while linked", fault.name == "certificate", &fault);
    row.print(15);
}

fn deep_chain(depth: usize) -> Papers {
    use rcgen::{BasicConstraints, IsCa, Issuer};
    let ca = |n: usize| {
        let mut params = CertificateParams::default();
        let name = format!("CA {n}");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = new_key();
    let root = ca(0).self_signed(&key).unwrap();
    let mut chain = vec![root.der().clone()];
    let mut issuer = Issuer::new(ca(0), key);
    for n in 1..depth {
        let key = new_key();
        chain.push(ca(n).signed_by(&key, &issuer).unwrap().der().clone());
        issuer = Issuer::new(ca(n), key);
    }
    let key = new_key();
    chain.push(CertificateParams::default().signed_by(&key, &issuer).unwrap().der().clone());
    chain.reverse();
    (chain, private(&key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b39_another_protocol_or_version_is_refused_with_what_is_supported() {
    let mut row = Row::new("B39");
    let world = World::new().await;
    for (case, alpn) in [("other ALPN", b"h3".as_slice()), ("agentd/2", b"agentd/2")] {
        let papers = device_papers(&world, case).await;
        let end = match Stranger::dial(world.address, &[alpn], Some(papers)).await {
            Ok(stranger) => stranger.end().await,
            Err(end) => end,
        };
        row.check(case, end == End::Alert(NO_APPLICATION_PROTOCOL), &end);
    }
    let papers = device_papers(&world, "no ALPN").await;
    let end = match Stranger::dial(world.address, &[], Some(papers)).await {
        Ok(stranger) => stranger.end().await,
        Err(end) => end,
    };
    row.check("no ALPN", matches!(end, End::Alert(_)), &end);

    let honest = hello(&world);
    let newer = Hello { minor_min: MINOR_MAX + 1, minor_max: MINOR_MAX + 9, ..honest.clone() };
    let largest = Hello { minor_min: u32::MAX, minor_max: u32::MAX, ..honest.clone() };
    let reversed = Hello { minor_min: MINOR_MAX + 1, minor_max: 0, ..honest.clone() };
    for (case, hello) in [("N+1", newer), ("2^32-1", largest), ("reversed", reversed)] {
        let papers = device_papers(&world, case).await;
        let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
        let (_greeted, reply) = stranger.greet(&hello).await;
        let Some(Reply::Err(error)) = reply else { panic!("{case}: {reply:?}") };
        let told = error.details.contains_key("supported_min");
        let code = error.known_code() == Some(ErrorCode::VersionUnsupported);
        row.check(case, code && told, &error);
        let end = stranger.end().await;
        let right = matches!(end, End::Closed(CloseCode::VersionUnsupported, _));
        row.check("its close code", right, &end);
    }

    let papers = device_papers(&world, "wide").await;
    let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
    let wide = Hello { minor_max: u32::MAX, ..honest };
    let (_greeted, reply) = stranger.greet(&wide).await;
    let Some(Reply::Ok(welcome)) = reply else { panic!("{reply:?}") };
    row.check("a newer daemon that knows ours", welcome.minor == MINOR_MAX, &welcome);
    row.print(10);
}

/// The other half of B39: what our daemon does with that answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b39_a_daemon_of_another_version_waits_long_and_says_why() {
    let mut row = Row::new("B39 daemon");
    let world = World::new().await;
    let server = crate::frames::server_of_another_version(&world);
    let workspace = world.workspace("a").await;
    let token = world.token(&workspace, world.address.port()).await;
    world.join("a", &token).await.unwrap();
    world.redirect("a", server.port);
    let daemon = world.start("a", workspace);
    let mut changed = daemon.link.changed();
    let waiting = changed.wait_for(|status| status.state == LinkState::Waiting);
    let status = within("it waits", waiting).await.unwrap().clone();
    let fault = status.fault.unwrap();
    row.check("the reason", fault.name == "version" && fault.text.contains("1.7"), &fault);
    let pause_ms = status.next_try_ms.unwrap() - status.since_ms;
    row.check("no hot loop", pause_ms >= 60_000, pause_ms);
    row.print(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_is_not_a_way_around_the_certificate() {
    let world = World::new().await;
    let stranger = Stranger::dial(world.address, &[ALPN_ENROLL], None).await.unwrap();
    let (_greeted, reply) = stranger.greet(&hello(&world)).await;
    assert!(!matches!(reply, Some(Reply::Ok(_))), "{reply:?}");
    assert_eq!(world.fleet.connected_count(), 0);
}
