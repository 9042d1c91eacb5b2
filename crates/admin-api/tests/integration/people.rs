//! People, tokens and the audit trail by HTTP.

use fleet_types::Role;
use serde_json::{Value, json};

use crate::world::*;

#[tokio::test]
async fn people_are_added_and_locked_out() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    let anna = json!({ "name": "anna", "role": "admin", "password": "correct horse" });
    let added = world.post("/api/users", &admin, anna.clone()).await;
    assert_eq!(added.expect(201)["user"]["has_password"], true);
    assert!(!added.text().contains("argon2"), "no hash goes out");
    world
        .post("/api/users", &admin, anna)
        .await
        .problem(409, "duplicate_name");
    for (body, code, field) in [
        (json!({ "role": "admin" }), "invalid", "name"),
        (json!({ "name": "bob" }), "invalid", "role"),
        (json!({ "name": "a b", "role": "admin" }), "invalid", "name"),
        (json!({ "name": "bob", "role": "king" }), "invalid", "role"),
        (
            json!({ "name": "bob", "role": "viewer", "password": "short" }),
            "weak_password",
            "password",
        ),
        (
            json!({ "name": "bob", "role": "viewer", "password": "password123" }),
            "weak_password",
            "password",
        ),
        (
            json!({ "name": "bob", "role": "viewer", "password": "x".repeat(1025) }),
            "weak_password",
            "password",
        ),
    ] {
        let problem = world
            .post("/api/users", &admin, body)
            .await
            .problem(422, code);
        assert_eq!(problem["errors"][0]["field"], field);
        assert!(
            !problem.to_string().contains("password123"),
            "no secret in an error"
        );
    }
    world
        .post("/api/users/anna/disable", &admin, json!({}))
        .await
        .problem(409, "last_admin");
    world
        .post(
            "/api/users",
            &admin,
            json!({ "name": "bob", "role": "viewer", "password": "long enough" }),
        )
        .await
        .expect(201);
    world
        .post("/api/users/bob/disable", &admin, json!({}))
        .await
        .expect(204);
    let list = world.get("/api/users", &admin).await.expect(200);
    assert_eq!(
        (
            list["users"].as_array().unwrap().len(),
            list["users"][1]["disabled_at"].is_string()
        ),
        (2, true)
    );
    world
        .post("/api/users/bob/enable", &admin, json!({}))
        .await
        .expect(204);
    for name in ["nobody", "a%20b", "%00"] {
        world
            .post(&format!("/api/users/{name}/disable"), &admin, json!({}))
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    let made = world
        .post(
            "/api/tokens",
            &admin,
            json!({ "name": "ci", "role": "operator", "expires_in_days": 90 }),
        )
        .await
        .expect(201);
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("rlt_") && made["expires_at"].is_string());
    assert_eq!(world.get("/api/me", token).await.expect(200)["name"], "ci");
    let list = world.get("/api/tokens", &admin).await;
    list.expect(200);
    assert!(!list.text().contains(token), "not shown again");
    world
        .post(
            "/api/tokens",
            &admin,
            json!({ "name": "ci", "role": "operator" }),
        )
        .await
        .problem(409, "duplicate_name");
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "role": "viewer", "expires_in_days": 0 }),
        json!({ "name": "x", "role": "viewer", "expires_in_days": 99999 }),
        json!({ "name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z" }),
        json!({ "name": "x", "role": "viewer", "expires_at": "tomorrow" }),
        json!({ "name": "x", "role": "viewer", "expires_at": "2999-01-01T00:00:00Z", "expires_in_days": 1 }),
    ] {
        world
            .post("/api/tokens", &admin, body)
            .await
            .problem(422, "invalid");
    }
    let path = format!("/api/tokens/{}", made["id"].as_str().unwrap());
    world
        .send(Call::new("DELETE", &path).token(&admin))
        .await
        .expect(204);
    world
        .get("/api/me", token)
        .await
        .problem(401, "unauthenticated");
    world
        .send(Call::new("DELETE", &path).token(&admin))
        .await
        .expect(204);
    for id in ["nonsense", "00000000-0000-7000-8000-000000000000"] {
        let call = Call::new("DELETE", &format!("/api/tokens/{id}")).token(&admin);
        world.send(call).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn the_tokens_of_somebody_who_is_locked_out_are_so_too() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    let other = json!({ "name": "root", "role": "admin", "password": "correct horse" });
    world.post("/api/users", &admin, other).await.expect(201);
    let cookie = world.session("anna", Role::Admin).await;
    let make = Call::new("POST", "/api/tokens")
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin");
    let made = world
        .send(make.json(&json!({ "name": "hers", "role": "admin" })))
        .await
        .expect(201);
    let token = made["token"].as_str().unwrap();
    world.get("/api/me", token).await.expect(200);
    world
        .post("/api/users/anna/disable", &admin, json!({}))
        .await
        .expect(204);
    world
        .get("/api/me", token)
        .await
        .problem(401, "unauthenticated");
    world
        .post("/api/users/anna/enable", &admin, json!({}))
        .await
        .expect(204);
    world.get("/api/me", token).await.expect(200);
}

#[tokio::test]
async fn each_act_is_one_row_of_the_trail() {
    let world = World::new(2).await;
    let admin = world.token_as("root", Role::Admin).await;
    let before = rows(&world, &admin, "").await.len();
    let id = world
        .post("/api/updates/trigger", &admin, json!({ "all": true }))
        .await
        .expect(202)["rollout"]["id"]
        .clone();
    let id = id.as_str().unwrap().to_owned();
    for verb in ["pause", "resume", "abort"] {
        world
            .post(
                &format!("/api/updates/rollouts/{id}/{verb}"),
                &admin,
                json!({}),
            )
            .await
            .expect(202);
    }
    world
        .post(
            "/api/hosts",
            &admin,
            json!({ "name": "x", "address": "10.0.0.7" }),
        )
        .await
        .expect(201);
    let all = rows(&world, &admin, "").await;
    let actions: Vec<&str> = all
        .iter()
        .take(all.len() - before)
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "host.add",
            "rollout.abort",
            "rollout.resume",
            "rollout.pause",
            "rollout.update"
        ]
    );
    assert!(all.iter().take(5).all(|row| row["actor"] == "root"
        && row["source"] == "203.0.113.9"
        && row["result"] == "done"));
    assert_eq!(rows(&world, &admin, "&action=rollout.pause").await.len(), 1);
    assert_eq!(rows(&world, &admin, "&actor=nobody").await.len(), 0);
    assert_eq!(
        rows(&world, &admin, "&since=2999-01-01T00:00:00Z")
            .await
            .len(),
        0
    );
    // In pages.
    let page = world.get("/api/audit?limit=2", &admin).await.expect(200);
    let next = page["next"].as_str().unwrap();
    let more = world
        .get(&format!("/api/audit?limit=2&cursor={next}"), &admin)
        .await
        .expect(200);
    assert_eq!(more["entries"][0], all[2]);
    for bad in ["since=yesterday", "cursor=x", "limit=0"] {
        world
            .get(&format!("/api/audit?{bad}"), &admin)
            .await
            .problem(422, "invalid");
    }
}

async fn rows(world: &World, token: &str, query: &str) -> Vec<Value> {
    let body = world
        .get(&format!("/api/audit?limit=1000{query}"), token)
        .await
        .expect(200);
    body["entries"].as_array().unwrap().clone()
}
