//! The OpenAPI document says what there is, and nothing else.

use std::collections::BTreeSet;

use admin_api::{RULES, openapi_json};
use fleet_types::Role;
use serde_json::Value;

use crate::world::*;

#[test]
fn the_committed_document_is_the_one_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == openapi_json(),
        "docs/openapi.json is old: cargo run -p admin-api --example openapi > docs/openapi.json"
    );
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert((path.clone(), method.to_uppercase()));
            let open = operation["security"] == serde_json::json!([{}]);
            let rule = RULES
                .iter()
                .find(|rule| rule.path == path && rule.method.as_str() == method.to_uppercase());
            assert_eq!(open, rule.unwrap().needs.is_none(), "{method} {path}");
        }
    }
    let programs = RULES.iter().filter(|rule| {
        rule.path.starts_with("/api/") || ["/healthz", "/readyz", "/metrics"].contains(&rule.path)
    });
    let routes: BTreeSet<(String, String)> = programs
        .map(|rule| (rule.path.to_owned(), rule.method.as_str().to_owned()))
        .collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let world = World::new(0).await;
    let answer = world.send(Call::new("GET", "/api/openapi.json")).await;
    answer.expect(200);
    assert_eq!(answer.text(), openapi_json());
}

#[tokio::test]
async fn a_real_answer_has_the_fields_of_its_schema() {
    let world = World::new(3).await;
    let token = world.token(Role::Admin).await;
    let rollout = world
        .post(
            "/api/updates/trigger",
            &token,
            serde_json::json!({ "all": true }),
        )
        .await
        .expect(202);
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let schema = &document["components"]["schemas"]["Rollout"]["properties"];
    for field in rollout["rollout"].as_object().unwrap().keys() {
        assert!(!schema[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn the_process_tells_how_it_is() {
    let world = World::new(0).await;
    assert_eq!(
        world
            .send(Call::new("GET", "/healthz").header("host", "10.1.2.3"))
            .await
            .status,
        200
    );
    assert_eq!(world.send(Call::new("GET", "/readyz")).await.status, 200);
    world
        .process
        .down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    world
        .send(Call::new("GET", "/readyz"))
        .await
        .problem(503, "not_ready");
    let token = world.token(Role::Viewer).await;
    assert_eq!(
        world.get("/metrics", &token).await.text(),
        "rollout_hosts 3\n"
    );
}

/// Every `code` that the source makes a problem with. What only pages say is for people.
fn codes_made(folder: &std::path::Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("pages") {
            continue;
        }
        if path.is_dir() {
            codes_made(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text: String = text.split_whitespace().collect();
        for maker in [
            "conflict(\"",
            "unprocessable(\"",
            "Problem::field(\"",
            "Self::field(\"",
        ] {
            for rest in text.split(maker).skip(1) {
                codes.extend(rest.split('"').next().map(str::to_owned));
            }
        }
        for rest in text.split("StatusCode::").skip(1) {
            let made = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
            if let Some(code) = made.strip_prefix(",\"") {
                codes.extend(code.split('"').next().map(str::to_owned));
            }
        }
    }
}

#[test]
fn the_table_of_codes_has_every_code_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut made = BTreeSet::new();
    codes_made(&root.join("src"), &mut made);
    assert!(made.len() > 40, "{made:?}");
    let page = std::fs::read_to_string(root.join("../../docs/http-api.md")).unwrap();
    let table = page.split("| status | `code` |").nth(1).unwrap();
    let rows = table.split("\n\n").next().unwrap();
    let mut told = BTreeSet::new();
    for cells in rows.lines().filter_map(|row| row.split('|').nth(2)) {
        let words = cells.split('`').skip(1).step_by(2);
        // What a problem holds beside its code.
        let beside = ["needs", "active", "Retry-After", "request_id"];
        let codes = words.filter(|word| !beside.contains(word));
        told.extend(codes.map(str::to_owned));
    }
    assert_eq!(made, told, "in the code, and in docs/http-api.md");
}
