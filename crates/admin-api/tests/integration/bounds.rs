//! What a caller may not do without end, and a random order that stays what was looked at.

use std::time::Duration;

use admin_api::ApiSettings;
use fleet_store::Rollouts;
use fleet_types::{HostOrder, Policy, Role, RolloutId};
use serde_json::{Value, json};

use crate::world::*;

const TRIGGER: &str = "/api/updates/trigger";

fn hosts_of(stage: &Value) -> Vec<String> {
    let hosts = stage["hosts"].as_array().unwrap();
    hosts
        .iter()
        .map(|host| host.as_str().unwrap().to_owned())
        .collect()
}

/// Stages and names of a plan, in the order of their turn.
fn planned(plan: &Value) -> Vec<Vec<String>> {
    plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(hosts_of)
        .collect()
}

/// Stages and names of a rollout.
async fn frozen(world: &World, id: RolloutId) -> Vec<Vec<String>> {
    let mut stages = Vec::new();
    for attempt in world.store.attempt_list(id).await.unwrap() {
        let stage = attempt.stage as usize;
        if stages.len() < stage {
            stages.resize(stage, Vec::new());
        }
        stages[stage - 1].push(attempt.name.to_string());
    }
    stages
}

/// Random order is what the file says; its seed was drawn when the server started.
async fn shuffling() -> World {
    let policy = Policy {
        order: HostOrder::Random(7),
        ..Policy::default()
    };
    let settings = ApiSettings {
        policy,
        ..ApiSettings::default()
    };
    World::with(40, settings).await
}

#[tokio::test]
async fn what_a_dry_run_showed_is_what_is_done() {
    let world = shuffling().await;
    let token = world.token(Role::Operator).await;
    let look = json!({ "all": true, "dry_run": true });
    let plan = world.post(TRIGGER, &token, look.clone()).await.expect(200)["plan"].clone();
    let other = world.post(TRIGGER, &token, look).await.expect(200)["plan"].clone();
    assert_ne!(
        plan["seed"], other["seed"],
        "each plan has an order of its own"
    );
    assert_ne!(planned(&plan), planned(&other));
    let seed = plan["seed"].as_str().unwrap();
    seed.parse::<u64>().unwrap();
    // Looked at again, it is the same.
    let body = json!({ "all": true, "dry_run": true, "order": "random", "seed": seed });
    let again = world.post(TRIGGER, &token, body).await.expect(200)["plan"].clone();
    assert_eq!(again, plan);
    let body = json!({ "all": true, "seed": seed });
    let begun = world.post(TRIGGER, &token, body).await.expect(202);
    let id: RolloutId = begun["rollout"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(frozen(&world, id).await, planned(&plan));
    // Tried again, they keep their order, unless another one is asked for.
    let path = format!("/api/updates/rollouts/{id}");
    let abort = world
        .post(&format!("{path}/abort"), &token, json!({}))
        .await;
    abort.expect(202);
    world.store.rollout_advance(id).await.unwrap();
    let retry = format!("{path}/retry");
    for (more, expected) in [
        (json!({}), seed),
        (json!({ "seed": "5" }), "5"),
        (json!({ "order": "random", "seed": "6" }), "6"),
    ] {
        let mut body = json!({ "dry_run": true });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let plan = world.post(&retry, &token, body).await.expect(200)["plan"].clone();
        assert_eq!(plan["seed"], expected, "{more}");
    }
}

#[tokio::test]
async fn seeds_that_are_none_are_named() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    for seed in [
        json!("x"),
        json!(""),
        json!("-1"),
        json!("+1"),
        json!("1e3"),
        json!("18446744073709551616"),
        json!(1),
    ] {
        let body = json!({ "all": true, "order": "random", "seed": seed });
        let problem = world
            .post(TRIGGER, &token, body)
            .await
            .problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], "seed", "{seed}");
    }
    // A seed for hosts that go by name is a mistake.
    let body = json!({ "all": true, "seed": "1" });
    let problem = world.post(TRIGGER, &token, body).await;
    assert_eq!(
        problem.problem(422, "invalid")["errors"][0]["field"],
        "seed"
    );
    let body = json!({ "all": true, "dry_run": true });
    let plan = world.post(TRIGGER, &token, body).await.expect(200);
    assert!(plan["plan"]["seed"].is_null(), "{plan}");
}

#[tokio::test]
async fn what_a_page_showed_is_what_is_confirmed() {
    let world = shuffling().await;
    let token = world.token(Role::Operator).await;
    let call = Call::new("GET", "/admin/updates/start?which=all")
        .token(&token)
        .header("accept", "text/html");
    let page = world.send(call).await.text();
    let hidden = |name: &str| {
        let field = format!("type=\"hidden\" name=\"{name}\" value=\"");
        let rest = page.split(&field).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let body = format!("which=all&once={}&seed={}", hidden("once"), hidden("seed"));
    let call = Call::new("POST", "/admin/updates/start")
        .token(&token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let begun = world.send(call).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
    let id = begun.header("location").rsplit('/').next().unwrap();
    for stage in frozen(&world, id.parse().unwrap()).await {
        let first = stage[..stage.len().min(8)].join(", ");
        assert!(page.contains(&first), "{first} is not in {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_plans_without_end() {
    let world = World::new(3).await;
    let (vera, otto) = (
        world.token_as("vera", Role::Operator).await,
        world.token_as("otto", Role::Operator).await,
    );
    let look = json!({ "all": true, "dry_run": true });
    for _ in 0..30 {
        world.post(TRIGGER, &vera, look.clone()).await.expect(200);
    }
    let refused = world.post(TRIGGER, &vera, json!({ "all": true })).await;
    refused.problem(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let page = Call::new("POST", "/admin/updates/start")
        .token(&vera)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("which=all");
    assert_eq!(world.send(page).await.status.as_u16(), 429);
    let page = world.get("/admin/updates/start?which=all", &vera).await;
    assert_eq!(page.status.as_u16(), 429);
    assert!(world.store.rollout_latest().await.unwrap().is_none());
    // Others may, and after a while everybody.
    let key = || {
        Call::new("POST", TRIGGER)
            .token(&otto)
            .header("idempotency-key", "one")
            .json(&json!({ "all": true }))
    };
    let begun = world.send(key()).await.expect(202);
    let id = begun["rollout"]["id"].as_str().unwrap();
    // What was carried out is told however often it is asked for.
    for _ in 0..40 {
        assert_eq!(world.send(key()).await.expect(202)["rollout"]["id"], id);
    }
    for verb in ["retry", "rollback"] {
        let path = format!("/api/updates/rollouts/{id}/{verb}");
        let refused = world.post(&path, &vera, json!({})).await;
        refused.problem(429, "rate_limited");
        let page = Call::new("POST", &format!("/admin/updates/rollouts/{id}/{verb}"))
            .token(&vera)
            .header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(world.send(page).await.status.as_u16(), 429);
        let page = format!("/admin/updates/rollouts/{id}/{verb}");
        assert_eq!(world.get(&page, &vera).await.status.as_u16(), 429);
    }
    tokio::time::advance(Duration::from_secs(seconds)).await;
    world.post(TRIGGER, &vera, look).await.expect(200);
}

#[tokio::test]
async fn a_configured_number_in_flight_does_not_go_along_with_the_connections() {
    for (configured, in_flight) in [(None, 40), (Some(6), 6), (Some(20), 20)] {
        let policy = Policy {
            max_in_flight: configured.unwrap_or(20),
            ..Policy::default()
        };
        let settings = ApiSettings {
            policy,
            max_in_flight: configured,
            ..ApiSettings::default()
        };
        let world = World::with(3, settings).await;
        let token = world.token(Role::Operator).await;
        let asked = json!({ "all": true, "dry_run": true, "concurrency": 10 });
        let plan = world.post(TRIGGER, &token, asked).await.expect(200);
        assert_eq!(plan["plan"]["policy"]["max_in_flight"], in_flight, "{plan}");
    }
}
