//! Rollouts by HTTP: started, followed, steered, looked at.

use std::time::Duration;

use fleet_store::{Inventory, LeftToOthers, NewWorker, Rollouts, Workers};
use fleet_types::{Role, RolloutId, RolloutState, WorkerId};
use serde_json::{Value, json};
use update_engine::testing::SimRelease;
use uuid::Uuid;

use crate::world::*;

const TRIGGER: &str = "/api/updates/trigger";

fn id(body: &Value) -> String {
    body["rollout"]["id"].as_str().unwrap().to_owned()
}

/// Waits until the rollout is over, by the API's own long poll.
async fn until_over(world: &World, token: &str) -> Value {
    let mut after = 0;
    loop {
        let status = world
            .get(&format!("/api/updates/status?wait=60&after={after}"), token)
            .await
            .expect(200);
        let state: RolloutState =
            serde_json::from_value(status["rollout"]["state"].clone()).unwrap();
        if !state.is_active() {
            return status;
        }
        after = status["seq"].as_i64().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_updated_by_the_worker_of_the_server() {
    let world = World::new(10).await;
    let token = world.token_as("ci", Role::Operator).await;
    let _worker = world.worker().await;
    let answer = world
        .post(
            TRIGGER,
            &token,
            json!({ "all": true, "message": "fix the login page" }),
        )
        .await;
    let started = answer.expect(202);
    let id = id(&started);
    assert_eq!(
        answer.header("location"),
        format!("/api/updates/rollouts/{id}")
    );
    assert_eq!(started["rollout"]["started_by"], "ci");
    assert_eq!(started["rollout"]["message"], "fix the login page");
    let status = until_over(&world, &token).await;
    assert_eq!(status["rollout"]["state"], "completed");
    assert_eq!(status["rollout"]["target"]["version"], world.new.as_str());
    assert_eq!(status["rollout"]["counts"]["success"], 10);
    // The drill-down: rollout, hosts, one host, its output; also by the short id.
    let short = &id[28..];
    let shown = world
        .get(&format!("/api/updates/rollouts/{short}"), &token)
        .await
        .expect(200);
    assert_eq!(shown["rollout"]["id"], id.as_str());
    let page = world
        .get(
            &format!("/api/updates/rollouts/{id}/hosts?status=success&limit=4"),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(
        (
            page["hosts"].as_array().unwrap().len(),
            page["total"].as_u64()
        ),
        (4, Some(10))
    );
    let cursor = page["next"].as_str().unwrap();
    let rest = world
        .get(
            &format!("/api/updates/rollouts/{id}/hosts?limit=100&cursor={cursor}"),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(
        (rest["hosts"].as_array().unwrap().len(), &rest["next"]),
        (6, &Value::Null)
    );
    let host = world
        .get(&format!("/api/updates/rollouts/{id}/hosts/web-001"), &token)
        .await
        .expect(200);
    assert_eq!(host["host"]["attempt"]["status"], "success");
    let steps: Vec<&str> = host["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert!(
        steps.contains(&"pull") && steps.contains(&"restart"),
        "{steps:?}"
    );
    let output = world
        .get(
            &format!("/api/updates/rollouts/{id}/hosts/web-001/output?step=pull"),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(output["steps"].as_array().unwrap().len(), 1);
    // Hosts of no part in it, steps that are none.
    for (path, status) in [
        ("hosts/nobody", 404),
        ("hosts/nobody/output", 404),
        ("hosts/web-001/output?step=dance", 422),
    ] {
        world
            .get(&format!("/api/updates/rollouts/{id}/{path}"), &token)
            .await
            .expect(status);
    }
    let history = world
        .get("/api/hosts/web-001/history", &token)
        .await
        .expect(200);
    assert_eq!(history["attempts"][0]["attempt"]["rollout"], id.as_str());
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_halts_is_retried_and_taken_back() {
    let world = World::new(4).await;
    let new = world.new.clone();
    world.fleet.change("web-001", |host| {
        host.releases.insert(new, SimRelease::InstallFails);
    });
    let token = world.token(Role::Operator).await;
    let _worker = world.worker().await;
    let first = id(&world
        .post(
            TRIGGER,
            &token,
            json!({ "all": true, "max_failure_percent": 0 }),
        )
        .await
        .expect(202));
    let verb = |id: &str, verb: &str| format!("/api/updates/rollouts/{id}/{verb}");
    assert_eq!(
        until_over(&world, &token).await["rollout"]["state"],
        "halted"
    );
    world
        .post(&verb(&first, "pause"), &token, json!({}))
        .await
        .problem(409, "wrong_state");
    world
        .post(&verb(&first, "rollback"), &token, json!({}))
        .await
        .problem(409, "nothing_left");
    // The commit is remembered; a retry is the consent.
    let bad = world
        .post(
            TRIGGER,
            &token,
            json!({ "all": true, "to": world.new.as_str() }),
        )
        .await;
    assert_eq!(bad.problem(422, "known_bad")["rollout"], first.as_str());
    world.fleet.change("web-001", |host| host.releases.clear());
    let retried = world
        .post(
            &verb(&first, "retry"),
            &token,
            json!({ "message": "again" }),
        )
        .await
        .expect(202);
    assert_eq!(
        (&retried["rollout"]["kind"], &retried["rollout"]["source"]),
        (&json!("retry"), &json!(first))
    );
    assert_eq!(
        until_over(&world, &token).await["rollout"]["state"],
        "completed"
    );
    let back = world
        .post(&verb(&id(&retried), "rollback"), &token, json!({}))
        .await
        .expect(202);
    assert_eq!(back["rollout"]["kind"], "rollback");
    assert_eq!(
        until_over(&world, &token).await["rollout"]["state"],
        "completed"
    );
    let list = world
        .get("/api/updates/rollouts?limit=2", &token)
        .await
        .expect(200);
    let kinds: Vec<&str> = list["rollouts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["rollback", "retry"]);
    let next = list["next"].as_str().unwrap();
    let rest = world
        .get(
            &format!("/api/updates/rollouts?limit=2&cursor={next}"),
            &token,
        )
        .await
        .expect(200);
    assert_eq!(
        (rest["rollouts"][0]["id"].as_str(), &rest["next"]),
        (Some(first.as_str()), &Value::Null)
    );
}

#[tokio::test]
async fn one_rollout_at_a_time_and_the_verbs() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    let first = id(&world
        .post(TRIGGER, &token, json!({ "on": ["web-*", "!web-003"] }))
        .await
        .expect(202));
    let conflict = world
        .post(TRIGGER, &token, json!({ "all": true }))
        .await
        .problem(409, "rollout_active");
    assert_eq!(
        (conflict["active"].as_str(), &conflict["paused"]),
        (Some(first.as_str()), &json!(false))
    );
    for (verb, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("abort", "abort"),
    ] {
        let answer = world
            .post(
                &format!("/api/updates/rollouts/{first}/{verb}"),
                &token,
                json!({}),
            )
            .await
            .expect(202);
        let now = answer["rollout"]["state"].as_str().unwrap();
        assert!(now.starts_with(state), "{verb}: {now}");
    }
    // A verb needs no body at all.
    let nobody = format!("/api/updates/rollouts/{first}/abort");
    world
        .send(Call::new("POST", &nobody).token(&token))
        .await
        .expect(202);
    for path in [
        "nonsense",
        "00000000-0000-7000-8000-000000000000",
        "ffffffff",
    ] {
        world
            .post(
                &format!("/api/updates/rollouts/{path}/pause"),
                &token,
                json!({}),
            )
            .await
            .problem(404, "not_found");
        world
            .get(&format!("/api/updates/rollouts/{path}"), &token)
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test]
async fn nothing_ever_means_all_by_accident() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    for (body, code, field) in [
        (json!({}), "no_selection", "all"),
        (json!({ "all": false }), "no_selection", "all"),
        (json!({ "on": [] }), "no_selection", "all"),
        (json!({ "all": true, "on": ["web-001"] }), "invalid", "on"),
        (json!({ "all": "yes" }), "invalid", "all"),
        (json!({ "on": "web-001" }), "invalid", "on"),
        (json!({ "on": ["web-001", "a b"] }), "invalid", "on.1"),
        (json!({ "on": ["nobody"] }), "no_hosts", "on"),
        (json!({ "on": ["web-001", "!web-001"] }), "no_hosts", "on"),
        (
            json!({ "all": true, "to": "--upload-pack=x" }),
            "invalid",
            "to",
        ),
        (json!({ "all": true, "to": "abc1234" }), "invalid", "to"),
        (
            json!({ "all": true, "stages": [50, 10] }),
            "invalid",
            "stages",
        ),
        (
            json!({ "all": true, "stages": [10, 50] }),
            "invalid",
            "stages",
        ),
        (
            json!({ "all": true, "stages": "10,x" }),
            "invalid",
            "stages",
        ),
        (
            json!({ "all": true, "max_failure_percent": "30%" }),
            "invalid",
            "max_failure_percent",
        ),
        (
            json!({ "all": true, "max_failure_percent": 101 }),
            "invalid",
            "max_failure_percent",
        ),
        (
            json!({ "all": true, "max_failure_percent": -1 }),
            "invalid",
            "max_failure_percent",
        ),
        (
            json!({ "all": true, "concurrency": 0 }),
            "invalid",
            "concurrency",
        ),
        (
            json!({ "all": true, "max_in_flight": 0 }),
            "invalid",
            "max_in_flight",
        ),
        (
            json!({ "all": true, "settle_seconds": -1 }),
            "invalid",
            "settle_seconds",
        ),
        (
            json!({ "all": true, "settle_seconds": 1e300 }),
            "invalid",
            "settle_seconds",
        ),
        (
            json!({ "all": true, "settle_seconds": 7200 }),
            "invalid",
            "settle_seconds",
        ),
        (
            json!({ "all": true, "order": "alphabet" }),
            "invalid",
            "order",
        ),
        (
            json!({ "all": true, "message": "x".repeat(501) }),
            "invalid",
            "message",
        ),
        (json!({ "all": true, "dry_run": 1 }), "invalid", "dry_run"),
    ] {
        let problem = world
            .post(TRIGGER, &token, body.clone())
            .await
            .problem(422, code);
        let fields: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["field"].as_str().unwrap())
            .collect();
        assert!(fields.contains(&field), "{body}: {fields:?}");
    }
    assert!(world.store.rollout_latest().await.unwrap().is_none());
    // Fields that nobody knows are ignored.
    let body = json!({ "all": true, "shoes": 7, "dry_run": true });
    world.post(TRIGGER, &token, body).await.expect(200);
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let world = World::new(11).await;
    let token = world.token(Role::Operator).await;
    let body = json!({ "all": true, "dry_run": true, "concurrency": 3 });
    let plan = world.post(TRIGGER, &token, body).await.expect(200)["plan"].clone();
    let stages: Vec<usize> = plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["hosts"].as_array().unwrap().len())
        .collect();
    assert_eq!((stages, &plan["hosts"]), (vec![2, 4, 5], &json!(11)));
    assert_eq!(
        (
            &plan["policy"]["concurrency"],
            &plan["policy"]["max_in_flight"]
        ),
        (&json!(3), &json!(12))
    );
    assert!(world.store.rollout_latest().await.unwrap().is_none());
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_carried_out_once() {
    let world = World::new(3).await;
    let (ann, bob) = (
        world.token(Role::Operator).await,
        world.token(Role::Operator).await,
    );
    let call = |token: &str, key: &str, body: Value| {
        Call::new("POST", TRIGGER)
            .token(token)
            .header("idempotency-key", key)
            .json(&body)
    };
    let all = || json!({ "all": true, "message": "x" });
    let first = world.send(call(&ann, "k1", all())).await;
    let id = id(&first.expect(202));
    // Again, in another order of fields, while it is active and after it is over.
    for _ in 0..2 {
        let again = world
            .send(call(&ann, "k1", json!({ "message": "x", "all": true })))
            .await;
        assert_eq!(again.expect(202)["rollout"]["id"], id.as_str());
        assert_eq!(again.header("location"), first.header("location"));
        world
            .post(
                &format!("/api/updates/rollouts/{id}/abort"),
                &ann,
                json!({}),
            )
            .await;
    }
    let other = call(&ann, "k1", json!({ "all": true, "message": "y" }));
    world.send(other).await.problem(422, "idempotency_mismatch");
    // Also when the request would be refused by now.
    world
        .store
        .host_remove(&"web-003".parse().unwrap(), &actor())
        .await
        .unwrap();
    assert_eq!(
        world.send(call(&ann, "k1", all())).await.expect(202)["rollout"]["id"],
        id.as_str()
    );
    // Somebody else's key is their own.
    let theirs = world.send(call(&bob, "k1", all())).await;
    assert!([202, 409].contains(&theirs.status.as_u16()));
    assert_ne!(theirs.json()["rollout"]["id"], id.as_str());
    for key in ["", &"k".repeat(201)] {
        world
            .send(call(&ann, key, all()))
            .await
            .problem(422, "invalid");
    }
}

#[tokio::test]
async fn many_clients_at_once_start_one_rollout() {
    let world = std::sync::Arc::new(World::new(3).await);
    let token = world.token(Role::Operator).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (world, token) = (std::sync::Arc::clone(&world), token.clone());
        asking.spawn(async move {
            let key = if n % 2 == 0 {
                "same".to_owned()
            } else {
                format!("own-{n}")
            };
            let call = Call::new("POST", TRIGGER)
                .token(&token)
                .header("idempotency-key", &key);
            world
                .send(call.json(&json!({ "all": true })))
                .await
                .status
                .as_u16()
        });
    }
    let answers = asking.join_all().await;
    assert!(
        answers.iter().all(|status| [202, 409].contains(status)),
        "{answers:?}"
    );
    assert!(answers.contains(&202));
    assert_eq!(world.store.rollout_list(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn status_is_of_one_size_and_says_when_nothing_is_new() {
    let mut sizes = Vec::new();
    for hosts in [50, 5_000] {
        let world = World::new(hosts).await;
        let token = world.token(Role::Operator).await;
        world
            .post(TRIGGER, &token, json!({ "all": true }))
            .await
            .expect(202);
        let answer = world.get("/api/updates/status", &token).await;
        assert_eq!(answer.expect(200)["fleet"]["hosts"], hosts);
        sizes.push(answer.body.len());
        let tag = answer.header("etag").to_owned();
        assert!(
            tag.starts_with(&format!("\"{}-", answer.json()["seq"])),
            "{tag}"
        );
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"1-0\", {tag}"),
            "*".to_owned(),
        ] {
            let again = world
                .send(
                    Call::new("GET", "/api/updates/status")
                        .token(&token)
                        .header("if-none-match", &known),
                )
                .await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
        }
        let older = Call::new("GET", "/api/updates/status")
            .token(&token)
            .header("if-none-match", "\"1\"");
        world.send(older).await.expect(200);
    }
    assert!(
        sizes[1] < sizes[0] + 100,
        "{sizes:?} bytes for 50 and 5,000 hosts"
    );
}

#[tokio::test]
async fn what_changes_without_an_event_changes_the_tag() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    world
        .post(TRIGGER, &token, json!({ "all": true }))
        .await
        .expect(202);
    let before = world.get("/api/updates/status", &token).await;
    let tag = before.header("etag").to_owned();
    assert_eq!(before.expect(200)["rollout"]["attended"], false);
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: "test".into(),
        serves: true,
        process: None,
    };
    world.store.worker_register(worker).await.unwrap();
    let call = Call::new("GET", "/api/updates/status")
        .token(&token)
        .header("if-none-match", &tag);
    let after = world.send(call).await;
    let status = after.expect(200);
    assert_eq!(status["rollout"]["attended"], true);
    assert_eq!(status["seq"], before.json()["seq"], "no event tells of it");
    assert_ne!(after.header("etag"), tag);
}

#[tokio::test]
async fn what_a_process_leaves_to_others_is_shown() {
    let world = World::new(12).await;
    let token = world.token(Role::Viewer).await;
    let operator = world.token_as("ci", Role::Operator).await;
    let all = json!({ "all": true });
    let started = world.post(TRIGGER, &operator, all).await.expect(202);
    let id: RolloutId = id(&started).parse().unwrap();
    let status = world.get("/api/updates/status", &token).await;
    let tag = status.header("etag").to_owned();
    assert_eq!(status.expect(200)["rollout"].get("left_to_others"), None);
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: "rollout-server on <one>".into(),
        serves: true,
        process: None,
    };
    let worker = world.store.worker_register(worker).await.unwrap();
    world.store.rollout_attend(id, worker).await.unwrap();
    let hosts = world.store.host_list().await.unwrap();
    let left = LeftToOthers::of(hosts.into_iter().map(|host| host.name));
    world.store.rollout_leaves(id, worker, left).await.unwrap();
    let status = world.get("/api/updates/status", &token).await;
    let shown = &status.expect(200)["rollout"]["left_to_others"];
    assert_eq!(shown[0]["process"], "rollout-server on <one>");
    assert_eq!(shown[0]["hosts"], 12);
    assert_eq!(shown[0]["first"].as_array().unwrap().len(), 10);
    assert_ne!(status.header("etag"), tag);
    let path = format!("/admin/updates/rollouts/{id}");
    let page = crate::forms::page(&world, &path, &token).await;
    let words = "rollout-server on &#60;one&#62; leaves 12 hosts to other processes, because it cannot load the key; its log says why: web-001, ";
    assert!(page.contains(words), "{page}");
    assert!(page.contains(" and 2 more"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn status_waits_for_news() {
    let world = World::new(1).await;
    let token = world.token(Role::Operator).await;
    let answer = world.get("/api/updates/status", &token).await;
    let seq = answer.expect(200)["seq"].as_i64().unwrap();
    let since = tokio::time::Instant::now();
    let path = format!("/api/updates/status?wait=30&after={seq}");
    world.get(&path, &token).await.expect(200);
    assert_eq!(since.elapsed().as_secs(), 30, "nothing happened");
    let since = tokio::time::Instant::now();
    let tagged = Call::new("GET", "/api/updates/status?wait=2")
        .token(&token)
        .header("if-none-match", answer.header("etag"));
    assert_eq!(world.send(tagged).await.status.as_u16(), 304);
    assert_eq!(
        since.elapsed().as_secs(),
        2,
        "a tag says what is known, too"
    );
    let since = tokio::time::Instant::now();
    let started = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        world
            .post(TRIGGER, &token, json!({ "all": true }))
            .await
            .expect(202);
    };
    let (news, ()) = tokio::join!(world.get(&path, &token), started);
    assert!(news.expect(200)["seq"].as_i64().unwrap() > seq);
    assert!(
        since.elapsed() < Duration::from_secs(8),
        "{:?}",
        since.elapsed()
    );
    // From an older or a newer feed than ours it does not wait; nonsense is named.
    let since = tokio::time::Instant::now();
    world
        .get("/api/updates/status?wait=60&after=0", &token)
        .await
        .expect(200);
    world
        .get("/api/updates/status?wait=60&after=999999", &token)
        .await
        .expect(200);
    assert!(since.elapsed() < Duration::from_secs(1));
    world
        .get("/api/updates/status?wait=soon&after=0", &token)
        .await
        .problem(422, "invalid");
    // Who is shut out while waiting gets nothing.
    let cookie = world.session("anna", Role::Viewer).await;
    let seq = world.get("/api/updates/status", &token).await.expect(200)["seq"]
        .as_i64()
        .unwrap();
    let path = format!("/api/updates/status?wait=30&after={seq}");
    let waiting = world.send(Call::new("GET", &path).header("cookie", &cookie));
    let out = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let name = "anna".parse().unwrap();
        fleet_store::Access::user_disable(world.store.as_ref(), &name, true, &actor())
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(waiting, out);
    answer.problem(401, "unauthenticated");
}
