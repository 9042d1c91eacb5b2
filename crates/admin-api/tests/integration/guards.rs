//! What is refused before a handler sees it.

use admin_api::{AllowedHosts, ApiSettings, RULES};
use axum::body::Body;
use fleet_types::Role;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::world::*;

const TRIGGER: &str = "/api/updates/trigger";

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let world = World::new(2).await;
    let cookie = world.session("anna", Role::Admin).await;
    let call = || {
        Call::new("POST", TRIGGER)
            .header("cookie", &cookie)
            .json(&json!({ "all": true }))
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:9999"),
        ("x-nothing", "said"),
    ] {
        world
            .send(call().header(name, value))
            .await
            .problem(403, "cross_site");
    }
    // The forms that a page of another site can send without asking.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let form = Call::new("POST", TRIGGER)
            .header("cookie", &cookie)
            .header("content-type", kind)
            .body("{\"all\":true}");
        world
            .send(form.header("origin", "https://evil.example"))
            .await
            .problem(403, "cross_site");
    }
    assert!(world.store.rollout_latest_id().await.is_none());
    world
        .send(call().header("sec-fetch-site", "same-origin"))
        .await
        .expect(202);
    // A stream is not for pages of other sites either; a token is sent by nobody unasked.
    let look = Call::new("GET", "/api/updates/status").header("sec-fetch-site", "cross-site");
    world
        .send(look.header("cookie", &cookie))
        .await
        .problem(403, "cross_site");
    let token = world.token(Role::Viewer).await;
    let look = Call::new("GET", "/api/updates/status").header("sec-fetch-site", "cross-site");
    world.send(look.token(&token)).await.expect(200);
}

#[tokio::test]
async fn only_its_own_names_are_answered() {
    let settings = ApiSettings {
        allowed_hosts: AllowedHosts::Named(vec!["rollout.example".into()]),
        ..ApiSettings::default()
    };
    let world = World::with(0, settings).await;
    let token = world.token(Role::Admin).await;
    for (host, good) in [
        ("rollout.example", true),
        ("rollout.example:443", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("evil.example", false),
        ("rollout.example.evil.example", false),
        ("10.0.0.1", false),
    ] {
        let answer = world
            .send(
                Call::new("GET", "/api/me")
                    .token(&token)
                    .header("host", host),
            )
            .await;
        if good {
            answer.expect(200);
        } else {
            answer.problem(421, "wrong_host");
        }
    }
}

#[tokio::test]
async fn a_secret_in_a_url_is_refused() {
    let world = World::new(0).await;
    let token = world.token(Role::Admin).await;
    for query in [
        format!("token={token}"),
        format!("access_token={token}"),
        format!("x={token}"),
        "TOKEN=1".to_owned(),
    ] {
        let path = format!("/api/me?{query}");
        let answer = world.send(Call::new("GET", &path)).await;
        let body = answer.problem(400, "secret_in_url");
        assert!(!body.to_string().contains(&token));
    }
}

#[tokio::test]
async fn bodies_are_json_of_a_bounded_size_and_depth() {
    let world = World::new(2).await;
    let token = world.token(Role::Admin).await;
    let call = || Call::new("POST", TRIGGER).token(&token);
    for kind in [
        "text/plain",
        "text/plain; charset=application/json",
        "application/jsonp",
        "application/x-www-form-urlencoded",
    ] {
        let answer = world
            .send(call().header("content-type", kind).body("{\"all\":true}"))
            .await;
        answer.problem(415, "unsupported_media_type");
    }
    world
        .send(call().body("{\"all\":true}"))
        .await
        .problem(415, "unsupported_media_type");
    let json = || call().header("content-type", "application/json; charset=utf-8");
    let deep = format!("{{\"on\":{}", "[".repeat(10_000));
    world
        .send(json().body(deep))
        .await
        .problem(400, "invalid_json");
    let closed = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    world
        .send(json().body(closed))
        .await
        .problem(400, "invalid_json");
    for text in ["{", "[]", "\"all\"", "null", "{\"all\":true}x", "\u{0}"] {
        world
            .send(json().body(text))
            .await
            .problem(400, "invalid_json");
    }
    // Nothing at all is an object with no fields: it says no hosts.
    world
        .send(json().body(""))
        .await
        .problem(422, "no_selection");
    // Too large: as it says itself, and as it turns out.
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(65 * 1024));
    let length = large.len().to_string();
    world
        .send(json().header("content-length", &length).body(large.clone()))
        .await
        .problem(413, "too_large");
    let chunks = stream::iter((0..100_000).map(|_| Ok::<_, std::io::Error>(vec![b' '; 8192])));
    world
        .send(json().body(Body::from_stream(chunks)))
        .await
        .problem(413, "too_large");
    assert!(world.store.rollout_latest_id().await.is_none());
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let settings = ApiSettings {
        secure_cookies: true,
        ..ApiSettings::default()
    };
    let world = World::with(1, settings).await;
    let token = world.token(Role::Viewer).await;
    let calls = [
        (200, Call::new("GET", "/healthz")),
        (200, Call::new("GET", "/api/me").token(&token)),
        (401, Call::new("GET", "/api/me")),
        (403, Call::new("GET", "/api/users").token(&token)),
        (404, Call::new("GET", "/nothing")),
        (404, Call::new("GET", "/api/hosts/nobody").token(&token)),
        (405, Call::new("DELETE", "/api/me").token(&token)),
        (
            421,
            Call::new("GET", "/api/me").header("host", "evil.example"),
        ),
        (400, Call::new("GET", "/api/me?token=x")),
        (
            414,
            Call::new("GET", &format!("/api/me?x={}", "y".repeat(5000))),
        ),
    ];
    for (status, call) in calls {
        let what = format!("{call:?}");
        let answer = world.send(call).await;
        assert_eq!(answer.status.as_u16(), status, "{what}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
        ] {
            assert_eq!(answer.header(name), value, "{what}");
        }
        assert_eq!(answer.header("x-request-id").len(), 36, "{what}");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
        if what.contains("/api/me") {
            assert_eq!(answer.header("cache-control"), "no-store", "{what}");
        }
    }
}

/// Also what is refused: by role, by name, for want of a name.
#[tokio::test]
async fn every_route_carries_the_headers_and_answers_to_its_own_names_only() {
    let world = World::new(1).await;
    let token = world.token(Role::Viewer).await;
    for rule in RULES {
        let path = rule
            .path
            .replace("{id}", "00000000-0000-7000-8000-000000000000")
            .replace("{name}", "nobody")
            .replace("{*path}", "nothing");
        let call = || Call::new(rule.method.as_str(), &path);
        let foreign = || call().header("host", "rebound.example:8080");
        let answers = [
            world.send(call()).await,
            world.send(call().token(&token)).await,
            world.send(foreign()).await,
            world.send(foreign().token(&token)).await,
        ];
        let probe = ["/healthz", "/readyz"].contains(&rule.path);
        for answer in &answers[2..] {
            assert_eq!(answer.status.as_u16() == 421, !probe, "{rule:?}");
        }
        for answer in answers {
            let what = format!("{rule:?}: {}", answer.status);
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
            assert_eq!(answer.header("referrer-policy"), "same-origin", "{what}");
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; "), "{what}");
            assert_eq!(answer.header("cache-control"), "no-store", "{what}");
            assert_eq!(answer.header("x-request-id").len(), 36, "{what}");
        }
    }
}

#[tokio::test]
async fn a_wrong_name_and_asking_too_often_are_on_record() {
    let world = World::new(1).await;
    let token = world.token_as("vera", Role::Operator).await;
    let rebound = Call::new("POST", TRIGGER).header("host", "rebound.example");
    world
        .send(rebound.token(&token))
        .await
        .problem(421, "wrong_host");
    let denials = world.denials().await;
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].actor.name, "unknown", "no token was looked at");
    assert_eq!(denials[0].actor.source, "203.0.113.9");
    let subject = denials[0].subject.as_deref();
    assert_eq!(subject, Some("POST /api/updates/trigger"));

    let plan = json!({ "all": true, "dry_run": true });
    for _ in 0..30 {
        world.post(TRIGGER, &token, plan.clone()).await.expect(200);
    }
    for _ in 0..40 {
        world
            .post(TRIGGER, &token, plan.clone())
            .await
            .problem(429, "rate_limited");
    }
    let denials = world.denials().await;
    assert_eq!(denials.len(), 1 + 20, "the others get a row together");
    assert_eq!(denials[0].actor.name, "vera");
    assert_eq!(denials[0].detail.as_deref(), Some("asked too often"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_is_the_fault_of_who_sends_it() {
    let world = World::new(1).await;
    let token = world.token(Role::Admin).await;
    let never = || {
        let begun = stream::iter([Ok::<_, std::io::Error>("{\"all\":")]);
        Body::from_stream(begun.chain(stream::pending()))
    };
    let json = Call::new("POST", TRIGGER).header("content-type", "application/json");
    let began = tokio::time::Instant::now();
    world
        .send(json.token(&token).body(never()))
        .await
        .problem(408, "slow_body");
    assert_eq!(began.elapsed().as_secs(), 20);
    let form = Call::new("POST", "/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(never());
    world.send(form).await.problem(408, "slow_body");
}

#[tokio::test]
async fn the_audit_names_the_address_behind_a_trusted_proxy_only() {
    for (trusted, seen) in [
        (vec![], "203.0.113.9"),
        (vec!["203.0.113.0/24".parse().unwrap()], "198.51.100.7"),
    ] {
        let world = World::with(
            0,
            ApiSettings {
                trusted_proxies: trusted,
                ..ApiSettings::default()
            },
        )
        .await;
        let viewer = world.token(Role::Viewer).await;
        let call = Call::new("GET", "/api/audit").token(&viewer);
        world
            .send(call.header("x-forwarded-for", "1.2.3.4, 198.51.100.7"))
            .await
            .expect(403);
        assert_eq!(world.denials().await[0].actor.source, seen);
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_it() {
    let world = World::new(200).await;
    let token = world.token(Role::Viewer).await;
    let plain = world.get("/api/hosts?limit=200", &token).await;
    let call = Call::new("GET", "/api/hosts?limit=200").token(&token);
    let packed = world.send(call.header("accept-encoding", "gzip")).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(
        packed.body.len() * 5 < plain.body.len(),
        "{} of {}",
        packed.body.len(),
        plain.body.len()
    );
    assert_eq!(packed.header("x-content-type-options"), "nosniff");
    // An event stream is not: it must arrive as it happens.
    let stream = Call::new("GET", "/api/updates/events").token(&token);
    let stream = stream
        .header("accept", "text/event-stream")
        .header("accept-encoding", "gzip");
    let response = tower::ServiceExt::oneshot(world.router(), stream.request())
        .await
        .unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn refusals_can_be_read_by_those_who_take_compressed_answers() {
    let world = World::new(1).await;
    let viewer = world.token(Role::Viewer).await;
    for (call, status) in [
        (Call::new("GET", "/api/hosts"), 401),
        (Call::new("GET", "/api/users").token(&viewer), 403),
        (Call::new("GET", "/api/nothing").token(&viewer), 404),
        (
            Call::new("GET", "/admin/users")
                .token(&viewer)
                .header("accept", "text/html"),
            403,
        ),
    ] {
        let answer = world.send(call.header("accept-encoding", "gzip")).await;
        assert_eq!(answer.status, status);
        assert!(!answer.headers.contains_key("content-encoding"));
        let readable = std::str::from_utf8(&answer.body).is_ok();
        assert!(readable, "{status}");
    }
}

trait LatestId {
    async fn rollout_latest_id(&self) -> Option<fleet_types::RolloutId>;
}

impl LatestId for fleet_store::DieselStore {
    async fn rollout_latest_id(&self) -> Option<fleet_types::RolloutId> {
        fleet_store::Rollouts::rollout_latest(self)
            .await
            .unwrap()
            .map(|record| record.id)
    }
}
