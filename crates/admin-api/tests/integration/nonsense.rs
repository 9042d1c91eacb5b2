//! Whatever is sent, it is an error of whoever sent it.

use admin_api::{Method, RULES};
use fleet_types::Role;
use serde_json::{Value, json};

use crate::world::*;

/// Parts of a path that no rollout, host or person is called by.
const NAMES: [&str; 9] = [
    "%00",
    "%ff%fe",
    "..%2f..%2fetc%2fpasswd",
    "%27%20OR%201=1--",
    "%F0%9F%92%A5",
    "%1b%5B2J",
    "-",
    "null",
    "00000000-0000-0000-0000-000000000000%00",
];

fn bodies() -> Vec<Value> {
    let names = [
        "all",
        "on",
        "to",
        "stages",
        "name",
        "address",
        "role",
        "password",
        "keys",
        "hosts",
        "expires_at",
        "message",
    ];
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!(9_223_372_036_854_775_807_i64),
        json!(""),
        json!("\0"),
        json!("\u{1b}[2J\u{202e}"),
        json!("x".repeat(10_000)),
        json!([]),
        json!([[], {}, null, "\0", "!", "@", "*"]),
        json!({ "a": { "b": [1, 2, { "c": null }] } }),
        json!([{ "name": "\0", "address": "\0", "labels": { "\0": "\0" }, "timeouts": { "pull": -1 } }]),
    ];
    let one = names
        .iter()
        .flat_map(|name| values.iter().map(move |value| json!({ *name: value })));
    let all = values.iter().map(|value| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
    });
    one.chain(all.map(Value::Object)).collect()
}

#[track_caller]
fn check(answer: &Answer, what: &str) {
    let status = answer.status.as_u16();
    assert!(
        status < 500 || status == 503,
        "{what}: {status} {}",
        answer.text()
    );
    if answer.status.is_client_error()
        && answer.header("content-type") == "application/problem+json"
    {
        assert!(
            !answer.text().contains(['\u{1b}', '\u{202e}', '\0']),
            "{what}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn in_paths_and_queries() {
    let world = World::new(2).await;
    let token = world.token(Role::Admin).await;
    for rule in RULES.iter().filter(|rule| rule.path.starts_with("/api/")) {
        for name in NAMES {
            let path = rule.path.replace("{id}", name).replace("{name}", name);
            if path != rule.path {
                let call = Call::new(rule.method.as_str(), &path).token(&token);
                let answer = world.send(call).await;
                check(&answer, &path);
                assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
            }
        }
        if rule.method == Method::Get && !rule.path.contains('{') {
            for name in NAMES
                .iter()
                .chain(&["-9223372036854775809", "1e9", "true", ",,,"])
            {
                for field in [
                    "after", "cursor", "limit", "status", "health", "version", "owner", "search",
                    "rollout", "since", "actor", "action", "stage",
                ] {
                    let path = format!("{}?{field}={name}", rule.path);
                    check(&world.get(&path, &token).await, &path);
                }
            }
        }
    }
}

#[tokio::test]
async fn in_bodies() {
    let world = World::new(2).await;
    let token = world.token(Role::Admin).await;
    let writes = RULES.iter().filter(|rule| {
        rule.path.starts_with("/api/") && matches!(rule.method, Method::Post | Method::Put)
    });
    for rule in writes {
        let path = rule
            .path
            .replace("{id}", "00000000-0000-7000-8000-000000000000")
            .replace("{name}", "web-001");
        for body in bodies() {
            let call = Call::new(rule.method.as_str(), &path)
                .token(&token)
                .json(&body);
            let shown: String = body.to_string().chars().take(200).collect();
            check(&world.send(call).await, &format!("{path} {shown}"));
        }
    }
    // And the fleet is as it was, but for what was well-formed.
    assert_eq!(
        world
            .get("/api/hosts?search=web-0", &token)
            .await
            .expect(200)["total"],
        2
    );
}
