//! The feed, as a stream and in pages.

use std::time::Duration;

use admin_api::ApiSettings;
use axum::body::{Body, BodyDataStream};
use fleet_store::{Access, Feed, Inventory, Lists, sample_host};
use fleet_types::{Role, Seq};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::world::*;

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    id: Option<i64>,
    event: String,
    data: Value,
}

/// A stream that is being read.
struct Reader {
    body: BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(world: &World, call: Call) -> Self {
        let response = world
            .router()
            .oneshot(call.header("accept", "text/event-stream").request())
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert!(response.headers().contains_key("content-security-policy"));
        Self {
            body: Body::into_data_stream(response.into_body()),
            text: String::new(),
        }
    }

    /// The next block, comments included; none at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = timeout(Duration::from_secs(120), self.body.next())
                .await
                .expect("silence")?;
            self.text
                .push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// The next message with data.
    async fn message(&mut self) -> Option<Message> {
        loop {
            let block = self.block().await?;
            let mut message = Message::default();
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => message.id = Some(id.parse().unwrap()),
                    Some(("event", event)) => message.event = event.to_owned(),
                    Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                    _ => {}
                }
            }
            if !message.data.is_null() {
                return Some(message);
            }
        }
    }

    async fn ids(&mut self, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.message().await.unwrap().id.unwrap());
        }
        ids
    }
}

fn stream(token: &str, query: &str) -> Call {
    Call::new("GET", &format!("/api/updates/events{query}")).token(token)
}

async fn add(world: &World, name: &str) {
    world
        .store
        .host_add(vec![sample_host(name)], &actor())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::new(20).await;
    let token = world.token(Role::Viewer).await;
    let operator = world.token(Role::Operator).await;
    let _worker = world.worker().await;
    world
        .post("/api/updates/trigger", &operator, json!({ "all": true }))
        .await
        .expect(202);
    let mut seen = Vec::new();
    // Cut after 1, 2, 3 ... messages, each time going on from the last id.
    for cut in 1.. {
        let call = stream(&token, "?after=0");
        let call = match seen.last() {
            Some(last) => call.header("last-event-id", &format!("{last}")),
            None => call,
        };
        let mut reader = Reader::open(&world, call).await;
        for _ in 0..cut {
            let message = reader.message().await.unwrap();
            seen.push(message.id.unwrap());
            if message.data["type"] == "rollout.finished" {
                break;
            }
        }
        let head = world.store.last_seq().await.unwrap();
        let over = fleet_store::Rollouts::rollout_active(world.store.as_ref())
            .await
            .unwrap()
            .is_none();
        if over && seen.last() == Some(&head.0) {
            break;
        }
    }
    let all: Vec<i64> = world
        .store
        .events_after(Seq(0), None, 10_000)
        .await
        .unwrap()
        .iter()
        .map(|e| e.seq.0)
        .collect();
    assert!(all.len() > 100, "{}", all.len());
    assert_eq!(seen, all);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_where_it_is_told() {
    let world = World::new(3).await;
    let token = world.token(Role::Viewer).await;
    // From the beginning; from now on.
    let mut whole = Reader::open(&world, stream(&token, "?after=0")).await;
    assert_eq!(whole.block().await.unwrap(), "retry: 3000\n: hello");
    assert_eq!(whole.ids(3).await, [1, 2, 3]);
    let mut fresh = Reader::open(&world, stream(&token, "")).await;
    add(&world, "later").await;
    assert_eq!((whole.ids(1).await, fresh.ids(1).await), (vec![4], vec![4]));
    // The header is newer than the address.
    let mut resumed = Reader::open(
        &world,
        stream(&token, "?after=1").header("last-event-id", "3"),
    )
    .await;
    assert_eq!(resumed.ids(1).await, [4]);
    // A feed that does not reach that far is another one.
    let mut ahead = Reader::open(&world, stream(&token, "?after=99")).await;
    let reset = ahead.message().await.unwrap();
    assert_eq!((reset.event.as_str(), reset.id), ("reset", Some(4)));
    add(&world, "latest").await;
    assert_eq!(ahead.ids(1).await, [5]);
    // A silent stream says that it is alive.
    assert_eq!(ahead.block().await.unwrap(), ": keep-alive");
    for bad in [
        "x",
        "-1",
        "1.5",
        "9223372036854775808",
        "1; DROP TABLE events",
    ] {
        let call = Call::new("GET", "/api/updates/events")
            .token(&token)
            .header("accept", "text/event-stream");
        world
            .send(call.header("last-event-id", bad))
            .await
            .problem(422, "invalid");
    }
    world
        .get("/api/updates/events?after=x", &token)
        .await
        .problem(422, "invalid");
}

#[tokio::test(start_paused = true)]
async fn one_rollout_is_followed_alone() {
    let world = World::new(2).await;
    let token = world.token(Role::Operator).await;
    let body = world
        .post("/api/updates/trigger", &token, json!({ "all": true }))
        .await
        .expect(202);
    let id = body["rollout"]["id"].as_str().unwrap().to_owned();
    let mut reader = Reader::open(&world, stream(&token, &format!("?after=0&rollout={id}"))).await;
    let first = reader.message().await.unwrap();
    assert_eq!(
        (first.id, &first.data["type"]),
        (Some(3), &json!("rollout.started"))
    );
    while first.data["rollout"] == id && reader.text.contains("\n\n") {
        assert_eq!(reader.message().await.unwrap().data["rollout"], id.as_str());
    }
    add(&world, "other").await;
    world
        .post(
            &format!("/api/updates/rollouts/{id}/pause"),
            &token,
            json!({}),
        )
        .await
        .expect(202);
    loop {
        let message = reader.message().await.unwrap();
        assert_eq!(message.data["rollout"], id.as_str());
        if message.data["type"] == "rollout.paused" {
            break;
        }
    }
    world
        .get("/api/updates/events?rollout=nonsense", &token)
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn pages_of_the_feed() {
    let world = World::new(5).await;
    let token = world.token(Role::Viewer).await;
    let ids = |body: &Value| -> Vec<i64> {
        body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["seq"].as_i64().unwrap())
            .collect()
    };
    let first = world
        .get("/api/updates/events?limit=3", &token)
        .await
        .expect(200);
    assert_eq!((ids(&first), &first["next"]), (vec![1, 2, 3], &json!(3)));
    let second = world
        .get("/api/updates/events?limit=3&after=3", &token)
        .await
        .expect(200);
    assert_eq!((ids(&second), &second["next"]), (vec![4, 5], &json!(5)));
    let none = world
        .get("/api/updates/events?after=5", &token)
        .await
        .expect(200);
    assert_eq!(none, json!({ "events": [], "next": 5 }));
    let ahead = world
        .get("/api/updates/events?after=77", &token)
        .await
        .expect(200);
    assert_eq!(ahead, json!({ "events": [], "next": 5, "reset": true }));
    world
        .get("/api/updates/events?limit=0", &token)
        .await
        .problem(422, "invalid");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_right_to_see_it() {
    let world = World::new(1).await;
    let token = world.token(Role::Viewer).await;
    let cookie = world.session("anna", Role::Viewer).await;
    let mut by_token = Reader::open(&world, stream(&token, "")).await;
    let person = Call::new("GET", "/api/updates/events").header("cookie", &cookie);
    let mut by_cookie = Reader::open(&world, person).await;
    add(&world, "a").await;
    assert_eq!(
        (by_token.ids(1).await, by_cookie.ids(1).await),
        (vec![2], vec![2])
    );
    let made = world.store.token_list().await.unwrap();
    world
        .store
        .token_revoke(made[0].id, &actor())
        .await
        .unwrap();
    world
        .store
        .user_disable(&"anna".parse().unwrap(), true, &actor())
        .await
        .unwrap();
    let since = tokio::time::Instant::now();
    for reader in [&mut by_token, &mut by_cookie] {
        let bye = reader.message().await.unwrap();
        assert_eq!(
            (bye.event.as_str(), &bye.data["reason"]),
            ("bye", &json!("revoked"))
        );
        assert_eq!(reader.message().await, None);
    }
    assert!(
        since.elapsed() <= Duration::from_secs(15),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_a_session_that_is_ended_from_elsewhere() {
    let world = World::new(1).await;
    let here = world.session("anna", Role::Viewer).await;
    let follow = |cookie: &str| Call::new("GET", "/api/updates/events").header("cookie", cookie);
    let end = async |method: &'static str, path: &str| {
        let call = Call::new(method, path)
            .header("cookie", &here)
            .header("sec-fetch-site", "same-origin");
        let status = world.send(call).await.status.as_u16();
        assert!(matches!(status, 200 | 204), "{path}: {status}");
    };
    for others in [false, true] {
        let (id, there) = world.one_more_session("anna", "192.0.2.1").await;
        let mut readers = [
            Reader::open(&world, follow(&here)).await,
            Reader::open(&world, follow(&there)).await,
        ];
        add(&world, &format!("host-{others}")).await;
        for reader in &mut readers {
            reader.ids(1).await;
        }
        let [mut kept, mut ended] = readers;
        if others {
            end("DELETE", "/api/sessions").await;
        } else {
            end("DELETE", &format!("/api/sessions/{}", id.0)).await;
        }
        let since = tokio::time::Instant::now();
        let bye = ended.message().await.unwrap();
        let took = since.elapsed();
        assert_eq!(bye.event, "bye");
        assert_eq!(bye.data["reason"], "revoked");
        assert!(took <= Duration::from_secs(5), "{took:?}");
        assert_eq!(ended.message().await, None);
        // The one that asked goes on.
        add(&world, &format!("after-{others}")).await;
        kept.ids(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_process_does_and_are_bounded() {
    let settings = ApiSettings {
        max_streams: 2,
        ..ApiSettings::default()
    };
    let world = World::with(1, settings).await;
    let token = world.token(Role::Viewer).await;
    let mut one = Reader::open(&world, stream(&token, "")).await;
    let two = Reader::open(&world, stream(&token, "")).await;
    let third = || stream(&token, "").header("accept", "text/event-stream");
    world.send(third()).await.problem(503, "too_many_streams");
    drop(two);
    let mut again = Reader::open(&world, stream(&token, "")).await;
    world.api.stop().cancel();
    for reader in [&mut one, &mut again] {
        let bye = reader.message().await.unwrap();
        assert_eq!(
            (bye.event.as_str(), &bye.data["reason"]),
            ("bye", &json!("shutdown"))
        );
        assert_eq!(reader.message().await, None);
    }
}
