//! What is said on a link: frames (B40), messages (B41), order (B42), streams (B43), the hello's
//! fields (B47).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn::crypto::rustls::QuicServerConfig;
use shared::ids::CallId;
use shared::limits::{MESSAGE_FRAME_MAX_BYTES, RAW_FRAME_MAX_BYTES, STREAMS_PER_PEER};
use shared::protocol::call::CallHeader;
use shared::protocol::close::CloseCode;
use shared::protocol::enroll::{Certificate, RenewCertificate};
use shared::protocol::hello::{Hello, Welcome};
use shared::protocol::notice::DaemonNotice;
use shared::protocol::{ALPN_LINK, ErrorCode, Method, Reply, WireError};
use shared::wire::{Frame, FrameReader, FrameWriter};

use crate::Row;
use crate::stranger::{End, Stranger, device_papers, hello, new_key};
use crate::world::{World, within};

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.write_to(&mut bytes).unwrap();
    }
    bytes.to_vec()
}

fn header(world: &World, method: &str) -> CallHeader {
    CallHeader {
        method: method.to_owned(),
        id: world.ids.id::<CallId>().to_string(),
        deadline_ms: None,
        fence: None,
        traceparent: None,
        resume_from: None,
        read_only: false,
    }
}

fn renew() -> RenewCertificate {
    let request = rcgen::CertificateParams::default().serialize_request(&new_key()).unwrap();
    RenewCertificate { csr_der: request.der().to_vec() }
}

/// The code that a call of these bytes is answered with.
async fn answer(stranger: &Stranger, bytes: &[u8]) -> Option<ErrorCode> {
    let frame = stranger.exchange(bytes).await?;
    match shared::wire::decode::<Reply<Certificate>>(&frame.body).unwrap() {
        Reply::Ok(_) => None,
        Reply::Err(error) => error.known_code(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b40_frames_of_any_length_and_split_are_judged_alone() {
    let mut row = Row::new("B40");
    let world = World::new().await;
    let (stranger, _greeted) = Stranger::honest(&world, "a").await;
    let head = |len: u32, kind: u8| [len.to_be_bytes().as_slice(), &[kind]].concat();
    let limit = u32::try_from(MESSAGE_FRAME_MAX_BYTES).unwrap();
    let raw_limit = u32::try_from(RAW_FRAME_MAX_BYTES).unwrap();
    let cases: [(&str, Vec<u8>, ErrorCode); 9] = [
        ("length 0", head(0, 0), ErrorCode::UnknownMessage),
        ("length 1", head(1, 0), ErrorCode::UnknownMessage),
        ("limit + 1", head(limit + 2, 0), ErrorCode::FrameTooLarge),
        ("raw limit + 1", head(raw_limit + 2, 1), ErrorCode::FrameTooLarge),
        ("2^32 - 1", head(u32::MAX, 0), ErrorCode::FrameTooLarge),
        ("unknown kind", head(5, 9), ErrorCode::UnknownMessage),
        ("truncated header", vec![0, 0], ErrorCode::TruncatedFrame),
        ("truncated body", [head(100, 0), vec![0x80; 9]].concat(), ErrorCode::TruncatedFrame),
        ("raw first", head(1, 1), ErrorCode::ProtocolViolation),
    ];
    for (case, bytes, code) in cases {
        let seen = answer(&stranger, &bytes).await;
        row.check(case, seen == Some(code), seen);
    }
    // The request of exactly the limit is decoded, and refused for its content alone.
    let mut filled = shared::wire::encode(&header(&world, RenewCertificate::NAME));
    filled = bytes_of(&[Frame { kind: shared::wire::FrameKind::Message, body: filled.into() }]);
    filled.extend(head(limit + 1, 0));
    filled.extend(vec![0xc0; MESSAGE_FRAME_MAX_BYTES]);
    let seen = answer(&stranger, &filled).await;
    row.check("limit", seen == Some(ErrorCode::InvalidRequest), seen);

    let call = [Frame::message(&header(&world, RenewCertificate::NAME)), Frame::message(&renew())];
    let whole = answer(&stranger, &bytes_of(&call)).await;
    row.check("two frames at once", whole == Some(ErrorCode::DaemonAuthFailed), whole);

    let (mut send, receive) = stranger.connection.open_bi().await.unwrap();
    for byte in bytes_of(&call) {
        send.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    send.finish().unwrap();
    let reply = within("an answer", FrameReader::new(receive).next()).await.unwrap().unwrap();
    let reply: Reply<Certificate> = shared::wire::decode(&reply.body).unwrap();
    row.check("one byte at a time", matches!(reply, Reply::Err(_)), &reply);
    let alive = stranger.connection.close_reason().is_none();
    row.check("the link stays", alive, stranger.connection.close_reason());
    row.print(13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b41_unknown_messages_are_answered_by_name_and_unknown_fields_ignored() {
    let mut row = Row::new("B41");
    let world = World::new().await;
    let (stranger, mut greeted) = Stranger::honest(&world, "a").await;

    let unknown = [Frame::message(&header(&world, "moon/land")), Frame::message(&renew())];
    let frame = stranger.exchange(&bytes_of(&unknown)).await.unwrap();
    let reply: Reply<Certificate> = shared::wire::decode(&frame.body).unwrap();
    let Reply::Err(error) = reply else { panic!("{reply:?}") };
    let named =
        error.known_code() == Some(ErrorCode::Unsupported) && error.message.contains("moon");
    row.check("unknown method", named, &error);

    #[derive(serde::Serialize)]
    struct Newer {
        #[serde(with = "shared::wire::bytes")]
        csr_der: Vec<u8>,
        colour: &'static str,
    }
    let newer = Newer { csr_der: renew().csr_der, colour: "green" };
    let call = [Frame::message(&header(&world, RenewCertificate::NAME)), Frame::message(&newer)];
    let seen = answer(&stranger, &bytes_of(&call)).await;
    row.check("unknown field", seen == Some(ErrorCode::DaemonAuthFailed), seen);

    let missing = [
        Frame::message(&header(&world, RenewCertificate::NAME)),
        Frame::message(&serde_json::json!({})),
    ];
    let frame = stranger.exchange(&bytes_of(&missing)).await.unwrap();
    let reply: Reply<Certificate> = shared::wire::decode(&frame.body).unwrap();
    let Reply::Err(error) = reply else { panic!("{reply:?}") };
    let named =
        error.known_code() == Some(ErrorCode::InvalidRequest) && error.message.contains("csr_der");
    row.check("missing field", named, &error);

    let wrong = [
        Frame::message(&header(&world, RenewCertificate::NAME)),
        Frame::message(&serde_json::json!({ "csr_der": 7 })),
    ];
    let seen = answer(&stranger, &bytes_of(&wrong)).await;
    row.check("wrong type", seen == Some(ErrorCode::InvalidRequest), seen);

    let no_header = [Frame::message(&serde_json::json!([1, 2])), Frame::message(&renew())];
    let seen = answer(&stranger, &bytes_of(&no_header)).await;
    row.check("no header", seen == Some(ErrorCode::UnknownMessage), seen);

    let long = [Frame::message(&header(&world, &"m".repeat(600))), Frame::message(&renew())];
    let seen = answer(&stranger, &bytes_of(&long)).await;
    row.check("a method of 600 bytes", seen == Some(ErrorCode::InvalidRequest), seen);

    let future = serde_json::json!({ "notice": "tide_turned", "height": 3 });
    greeted.writer.write(&Frame::message(&future)).await.unwrap();
    let call = [Frame::message(&header(&world, RenewCertificate::NAME)), Frame::message(&renew())];
    let seen = answer(&stranger, &bytes_of(&call)).await;
    let alive = stranger.connection.close_reason().is_none();
    row.check("unknown notice", seen.is_some() && alive, stranger.connection.close_reason());
    row.print(7);
}

/// Says hello, then something that does not belong there.
async fn violate(world: &World, name: &str, frame: Frame) -> End {
    let (stranger, mut greeted) = Stranger::honest(world, name).await;
    let _ = greeted.writer.write(&frame).await;
    stranger.end().await
}

fn violation(end: &End) -> bool {
    matches!(end, End::Closed(CloseCode::ProtocolViolation, text)
        if text.starts_with(ErrorCode::ProtocolViolation.as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b42_a_message_in_the_wrong_state_closes_the_link_with_a_code() {
    let mut row = Row::new("B42");
    let world = World::new().await;
    let end = violate(&world, "second hello", Frame::message(&hello(&world))).await;
    row.check("a second hello", violation(&end), &end);
    let reply = Reply::<u8>::Ok(1);
    let end = violate(&world, "answer", Frame::message(&reply)).await;
    row.check("an answer without a question", violation(&end), &end);
    let end = violate(&world, "raw", Frame::raw(vec![1])).await;
    row.check("raw bytes among notices", violation(&end), &end);

    for (case, frame) in [
        ("a notice first", Frame::message(&DaemonNotice::Stopping)),
        ("raw bytes first", Frame::raw(vec![1])),
    ] {
        let papers = device_papers(&world, case).await;
        let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
        let (mut writer, mut reader) = stranger.open().await;
        writer.write(&frame).await.unwrap();
        let reply = within("an answer", reader.next()).await.unwrap().unwrap();
        let reply: Reply<Welcome> = shared::wire::decode(&reply.body).unwrap();
        row.check(case, matches!(reply, Reply::Err(_)), &reply);
        let end = stranger.end().await;
        row.check(
            "its close",
            matches!(end, End::Closed(code, _) if code != CloseCode::Done),
            &end,
        );
    }

    let papers = device_papers(&world, "silent").await;
    let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
    let (mut writer, _reader) = stranger.open().await;
    // A stream exists for the peer once something was sent on it: an empty piece is not enough.
    let started = shared::clock::Clock::now(&shared::clock::SystemClock);
    let _ = writer.write_together(&[]).await;
    let end = stranger.end().await;
    let waited = started.elapsed();
    row.check("no hello within 30 s", violation(&end), &end);
    row.check("the wait", (29..35).contains(&waited.as_secs()), waited);
    row.print(9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b43_streams_are_limited_and_given_back() {
    let mut row = Row::new("B43");
    let world = World::new().await;
    let (stranger, _greeted) = Stranger::honest(&world, "a").await;
    let call = bytes_of(&[
        Frame::message(&header(&world, RenewCertificate::NAME)),
        Frame::message(&renew()),
    ]);

    // One of the allowed streams is that of the hello.
    let mut opened = Vec::new();
    while let Ok(Ok(mut stream)) =
        tokio::time::timeout(Duration::from_millis(300), stranger.connection.open_bi()).await
    {
        stream.0.write_all(&[0]).await.unwrap();
        opened.push(stream);
        assert!(opened.len() < 10_000);
    }
    let limit = STREAMS_PER_PEER as usize - 1;
    row.check("opened and held", opened.len() == limit, opened.len());

    // Reset at once: they are free again, and ten thousand of them harm nobody.
    for (send, receive) in &mut opened {
        let _ = send.reset(1_u32.into());
        let _ = receive.stop(1_u32.into());
    }
    drop(opened);
    for _ in 0..10_000 {
        let opening = stranger.connection.open_bi();
        let (mut send, mut receive) = within("a stream is free", opening).await.unwrap();
        let _ = send.write(&[0]).await;
        let _ = send.reset(1_u32.into());
        let _ = receive.stop(1_u32.into());
    }
    let seen = within("an answer after them", answer(&stranger, &call)).await;
    row.check("10,000 reset at once", seen == Some(ErrorCode::DaemonAuthFailed), seen);

    // The answer is refused before it comes.
    for _ in 0..200 {
        let (mut send, mut receive) =
            within("a stream", stranger.connection.open_bi()).await.unwrap();
        send.write_all(&call).await.unwrap();
        let _ = send.finish();
        let _ = receive.stop(1_u32.into());
    }
    let seen = within("an answer after them", answer(&stranger, &call)).await;
    row.check("answers refused", seen == Some(ErrorCode::DaemonAuthFailed), seen);

    // Opened and never used: given back within 30 s. The transport tells of free streams only when more
    // than an eighth of them are free, so that many may be missing here.
    let mut unused = Vec::new();
    while let Ok(Ok((mut send, receive))) =
        tokio::time::timeout(Duration::from_secs(1), stranger.connection.open_bi()).await
    {
        send.write_all(&[0]).await.unwrap();
        unused.push((send, receive));
    }
    let untold = STREAMS_PER_PEER as usize / 8;
    assert!((limit - untold..=limit).contains(&unused.len()), "{} of {limit}", unused.len());
    for (send, _receive) in &unused {
        let told = within("given back within 30 s", send.stopped()).await;
        assert!(matches!(told, Ok(Some(_))), "{told:?}");
    }
    row.check("opened and never used", true, ());
    drop(unused);
    let seen = within("an answer after them", answer(&stranger, &call)).await;
    row.check("a call after them", seen == Some(ErrorCode::DaemonAuthFailed), seen);

    let uni = tokio::time::timeout(Duration::from_millis(300), stranger.connection.open_uni());
    row.check("one-way streams", uni.await.is_err(), ());
    let alive = stranger.connection.close_reason().is_none();
    row.check("the link stays", alive, stranger.connection.close_reason());
    row.print(7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b47_a_hello_is_bounded_field_by_field_and_a_wrong_clock_is_only_noted() {
    let mut row = Row::new("B47");
    let world = World::new().await;
    let honest = hello(&world);
    let cases: [(&str, Hello); 4] = [
        ("hostname", Hello { hostname: "h".repeat(65_536), ..honest.clone() }),
        ("features", Hello { features: vec!["f".to_owned(); 10_000], ..honest.clone() }),
        ("root", Hello { root: "/a\0b".to_owned(), ..honest.clone() }),
        ("version", Hello { version: "v".repeat(65), ..honest.clone() }),
    ];
    for (field, hello) in cases {
        let papers = device_papers(&world, field).await;
        let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
        let (_greeted, reply) = stranger.greet(&hello).await;
        let Some(Reply::Err(error)) = reply else { panic!("{field}: {reply:?}") };
        let named = error.known_code() == Some(ErrorCode::InvalidHello)
            && error.details.get("field").is_some_and(|named| named == field);
        row.check(field, named, &error);
        let end = stranger.end().await;
        row.check("its close", matches!(end, End::Closed(CloseCode::InvalidHello, _)), &end);
    }
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
    for (case, skew_ms) in [("10 years ahead", TEN_YEARS_MS), ("10 years behind", -TEN_YEARS_MS)] {
        let papers = device_papers(&world, case).await;
        let stranger = Stranger::dial(world.address, &[ALPN_LINK], Some(papers)).await.unwrap();
        let skewed = Hello { now_ms: world.clock.now_ms() + skew_ms, ..honest.clone() };
        let (_greeted, reply) = stranger.greet(&skewed).await;
        let Some(Reply::Ok(welcome)) = reply else { panic!("{case}: {reply:?}") };
        let way = world.fleet.workspace(welcome.workspace_id);
        within("it is connected", way.connected()).await;
        let noted = way.presence().noted_skew_ms();
        let right = noted.is_some_and(|noted| (noted - skew_ms).abs() < 60_000);
        row.check(case, right, noted);
    }
    row.print(10);
}

/// A server with our CA's papers that speaks a version that does not exist yet.
pub struct OtherVersion {
    pub port: u16,
}

/// Starts one; it ends with the world.
pub fn server_of_another_version(world: &World) -> OtherVersion {
    let (chain, key) = world.ca.sign_server(world.clock.now_ms());
    let mut tls = rustls::ServerConfig::builder_with_provider(controlplane::fleet::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let port = endpoint.local_addr().unwrap().port();
    world.lifecycle.spawn_serving("other-version", async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            let (send, receive) = connection.accept_bi().await.unwrap();
            let hello = FrameReader::new(receive).next().await.unwrap().unwrap();
            let _: Hello = shared::wire::decode(&hello.body).unwrap();
            let text = "this control plane speaks 1.7 to 1.9, the daemon 1.0 to 1.0";
            let error = WireError::refused(ErrorCode::VersionUnsupported, text);
            let mut writer = FrameWriter::new(send);
            let _ = writer.write(&Frame::message(&Reply::<Welcome>::Err(error))).await;
            let _ = writer.finish().await;
            connection.closed().await;
        }
    });
    OtherVersion { port }
}
