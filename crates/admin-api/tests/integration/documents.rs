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
