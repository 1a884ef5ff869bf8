//! B11 and B13 to B16: who asks, from where, and twice.

use serde_json::json;
use shared::ids::{ChatId, IdSource, SystemIds};

use super::rows::Rows;
use super::world::{Answer, World};

#[tokio::test]
async fn b11_what_is_not_there_and_what_is_not_yours_look_the_same() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(None).await;
    let said = json!({"content": [{"type": "text", "text": "hello"}]});
    let chat = world.post("/chats", &said).await.json()["chat"]["id"].as_str().unwrap().to_owned();
    let other = other_persons_key(&world).await;
    let ids: &dyn IdSource = &SystemIds::new();
    let unknown = ids.id::<ChatId>().to_string();
    let head = format!("Authorization: Bearer {other}\r\n");
    for (method, tail) in
        [("GET", ""), ("GET", "/messages"), ("POST", "/archive"), ("POST", "/interrupt")]
    {
        let path = |id: &str| format!("/api/v1/chats/{id}{tail}");
        let foreign = world.send(method, &path(&chat), &head, b"").await;
        let missing = world.send(method, &path(&unknown), &head, b"").await;
        rows.problem(&format!("B11 foreign {method} {tail}"), &foreign, 404, "not_found");
        rows.problem(&format!("B11 unknown {method} {tail}"), &missing, 404, "not_found");
        rows.fact("B11 same body", told(&foreign) == told(&missing), "the bodies differ");
    }
    let (title, path) = (json!({"title": "x"}), |id: &str| format!("/chats/{id}"));
    let foreign = world.json("PATCH", &path(&chat), &head, &title).await;
    let missing = world.json("PATCH", &path(&unknown), &head, &title).await;
    rows.problem("B11 foreign PATCH", &foreign, 404, "not_found");
    rows.fact("B11 same body", told(&foreign) == told(&missing), "the bodies differ");
    let kept = world.get(&format!("/chats/{chat}")).await.json();
    rows.fact("B11 nothing was changed", kept["title"] == "hello", &kept.to_string());
    rows.report("B11");
    world.end().await;
}

/// An answer without what is different for every request: its own id and the path that was asked.
fn told(answer: &Answer) -> serde_json::Value {
    let mut view = answer.json();
    view["request_id"] = serde_json::Value::Null;
    view["instance"] = serde_json::Value::Null;
    view
}

/// The key of a member who owns nothing.
pub async fn other_persons_key(world: &World) -> String {
    use controlplane::http::auth::{Scope, digest, new_secret, scopes_text};
    use controlplane::store::{NewApiKey, NewUser, UserRole};
    let store = &world.server.app.store;
    let new = NewUser {
        username: "noah".to_owned(),
        password_hash: "none".to_owned(),
        role: UserRole::Member,
    };
    let user = store.users.create(&new).await.unwrap();
    let key = format!("hf_{}", new_secret().unwrap());
    let new = NewApiKey {
        user_id: user.id,
        name: "k".to_owned(),
        token_hash: digest(&key),
        hint: "xxxx".to_owned(),
        scopes: scopes_text(&[Scope::Read, Scope::Write, Scope::Admin]),
        expires_at_ms: None,
    };
    store.api_keys.create(&new).await.unwrap();
    key
}

#[tokio::test]
async fn b13_a_repeated_create_makes_one_thing() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let create = async |key: &str, name: &str| {
        let head = format!("{}Idempotency-Key: {key}\r\n", world.bearer());
        world.json("POST", "/workspaces", &head, &json!({"name": name})).await
    };
    let (first, second) = tokio::join!(create("k1", "a"), create("k1", "a"));
    rows.fact("B13 parallel", first.status == 201 && second.status == 201, &second.head);
    rows.fact("B13 one result", first.json()["id"] == second.json()["id"], "two workspaces");
    let again = create("k1", "a").await;
    rows.fact("B13 replayed", again.header("idempotency-replayed").is_some(), &again.head);
    rows.fact("B13 same body", again.body == first.body, "another body");
    rows.problem("B13 other body", &create("k1", "b").await, 409, "idempotency_conflict");
    rows.problem("B13 long key", &create(&"k".repeat(10_000), "c").await, 400, "invalid_header");
    rows.problem("B13 empty key", &create("", "c").await, 400, "invalid_header");
    let failed = create("k2", "a").await;
    rows.problem("B13 failures are not kept", &failed, 409, "name_taken");
    rows.fact("B13 the key is free again", create("k2", "d").await.status == 201, "");
    let count = world.get("/workspaces").await.json()["items"].as_array().map_or(0, Vec::len);
    rows.fact("B13 two workspaces in all", count == 2, &count.to_string());
    rows.report("B13");
    world.end().await;
}

#[tokio::test]
async fn b14_and_b15_credentials_are_needed_and_limited() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let me = async |head: &str| world.send("GET", "/api/v1/me", head, b"").await;
    for (row, head) in [
        ("B14 none", String::new()),
        ("B14 garbage", "Authorization: garbage\r\n".to_owned()),
        ("B14 unknown key", "Authorization: Bearer hf_nobody\r\n".to_owned()),
        ("B14 other scheme", format!("Authorization: Basic {}\r\n", world.key)),
        ("B14 unknown cookie", "Cookie: holdfast=nobody\r\n".to_owned()),
    ] {
        let answer = me(&head).await;
        rows.problem(row, &answer, 401, "invalid_credentials");
        rows.fact(row, answer.header("www-authenticate").is_some(), "no WWW-Authenticate");
    }
    for query in ["key=hf_x", "access_token=x", "x=hf_abc", "password=p"] {
        let answer = world.get(&format!("/me?{query}")).await;
        rows.problem(&format!("B14 {query}"), &answer, 400, "credential_in_url");
    }
    let made = world.post("/api-keys", &json!({"name": "r", "scopes": ["read"]})).await.json();
    let bearer = format!("Authorization: Bearer {}\r\n", made["key"].as_str().unwrap());
    rows.fact("B15 may read", me(&bearer).await.status == 200, "");
    let write = world.json("POST", "/chats", &bearer, &json!({})).await;
    rows.problem("B15 may not write", &write, 403, "missing_scope");
    rows.fact("B15 names the scope", write.json()["details"]["scope"] == "write", "");
    let admin = world.json("POST", "/workspaces", &bearer, &json!({"name": "x"})).await;
    rows.problem("B15 may not administer", &admin, 403, "missing_scope");
    let path = format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap());
    assert_eq!(world.send("DELETE", &path, &world.bearer(), b"").await.status, 204);
    rows.problem("B14 revoked", &me(&bearer).await, 401, "invalid_credentials");
    let expired = expired_key(&world).await;
    rows.problem("B14 expired", &me(&expired).await, 401, "expired");

    let cookie = format!("Cookie: {}\r\n", world.cookie);
    let logout = world.send("POST", "/api/v1/logout", &cookie, b"").await;
    rows.problem("B14 write with a cookie alone", &logout, 403, "csrf_header_missing");
    let with_header = format!("{cookie}X-Holdfast-CSRF: 1\r\n");
    let foreign = format!("{with_header}Origin: http://evil.example\r\n");
    let answer = world.send("POST", "/api/v1/logout", &foreign, b"").await;
    rows.problem("B14 write from a foreign page", &answer, 403, "origin_not_allowed");
    let own = format!("{with_header}Origin: http://{}\r\n", world.address());
    rows.fact(
        "B14 own page",
        world.send("POST", "/api/v1/logout", &own, b"").await.status == 204,
        "",
    );
    rows.problem("B14 logged out", &me(&cookie).await, 401, "invalid_credentials");
    rows.report("B14 B15");
    world.end().await;
}

async fn expired_key(world: &World) -> String {
    use controlplane::http::auth::{digest, new_secret};
    use controlplane::store::NewApiKey;
    let store = &world.server.app.store;
    let user = store.users.by_username("mira").await.unwrap().unwrap();
    let key = format!("hf_{}", new_secret().unwrap());
    let new = NewApiKey {
        user_id: user.id,
        name: "old".to_owned(),
        token_hash: digest(&key),
        hint: "xxxx".to_owned(),
        scopes: "read".to_owned(),
        expires_at_ms: Some(1),
    };
    store.api_keys.create(&new).await.unwrap();
    format!("Authorization: Bearer {key}\r\n")
}

#[tokio::test]
async fn b14_log_in_is_slow_to_guess_and_set_up_happens_once() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let login = async |name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        world.json("POST", "/login", "", &body).await
    };
    let wrong = login("mira", "wrong password").await;
    rows.problem("B14 wrong password", &wrong, 401, "invalid_credentials");
    let nobody = login("nobody", "wrong password").await;
    rows.problem("B14 unknown name", &nobody, 401, "invalid_credentials");
    rows.fact("B14 same text", wrong.json()["detail"] == nobody.json()["detail"], "texts differ");
    for _ in 0..4 {
        login("mira", "wrong password").await;
    }
    let limited = login("mira", "correct horse").await;
    rows.problem("B14 throttled", &limited, 429, "rate_limited");
    rows.fact("B14 says when", limited.header("retry-after").is_some(), &limited.head);
    let body = json!({"setup_token": "x", "username": "eve", "password": "long enough"});
    let again = world.json("POST", "/setup", "", &body).await;
    rows.problem("set-up twice", &again, 409, "setup_done");
    rows.report("B14 log-in");
    world.end().await;
}

#[tokio::test]
async fn b16_only_our_own_names_are_answered() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let port = world.address().port();
    let ask = async |head: String| {
        world.raw(format!("GET /healthz HTTP/1.1\r\n{head}\r\n").as_bytes()).await
    };
    for (row, head) in [
        ("B16 missing", String::new()),
        ("B16 doubled", format!("Host: localhost:{port}\r\nHost: localhost:{port}\r\n")),
        ("B16 other name", "Host: evil.example\r\n".to_owned()),
        ("B16 short IP", "Host: 127.1\r\n".to_owned()),
        ("B16 decimal IP", "Host: 2130706433\r\n".to_owned()),
        ("B16 forwarded", "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n".to_owned()),
    ] {
        rows.problem(row, &ask(head).await, 421, "host_not_allowed");
    }
    rows.fact("B16 localhost", ask(format!("Host: localhost:{port}\r\n")).await.status == 200, "");
    let forwarded = format!("Host: localhost:{port}\r\nX-Forwarded-Host: evil.example\r\n");
    rows.fact("B16 headers of strangers are ignored", ask(forwarded).await.status == 200, "");
    rows.report("B16");
    world.end().await;
}
