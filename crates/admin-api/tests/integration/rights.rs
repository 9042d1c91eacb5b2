//! Every route, with every role, and with none.

use std::time::Duration;

use admin_api::{Method, RULES, Rule};
use fleet_store::{Inventory, sample_host};
use fleet_types::{AuditResult, Right, Role};

use crate::world::*;

/// A path of this route. What it names is not there.
fn concrete(rule: &Rule) -> String {
    rule.path
        .replace("{id}", "00000000-0000-7000-8000-000000000000")
        .replace("{name}", "nobody")
        .replace("{*path}", "nothing")
}

fn method(method: Method) -> &'static str {
    method.as_str()
}

#[tokio::test]
async fn every_role_on_every_route() {
    let world = World::new(0).await;
    let mut refused = 0;
    let mut cells = 0;
    for role in Role::ALL {
        for rule in RULES {
            // Of one caller not every denial would be a row.
            let token = world.token(*role).await;
            let call = Call::new(method(rule.method), &concrete(rule)).token(&token);
            let answer = world.send(call).await;
            let may = rule.needs.is_none_or(|right| role.may(right));
            let status = answer.status.as_u16();
            let what = format!(
                "{role} {:?} {}: {status} {}",
                rule.method,
                rule.path,
                answer.text()
            );
            cells += 1;
            if may {
                assert!(![401, 403, 405, 421, 500].contains(&status), "{what}");
            } else {
                refused += 1;
                let body = answer.problem(403, "forbidden");
                assert_eq!(
                    body["needs"],
                    rule.needs.map_or("", Right::as_str),
                    "{what}"
                );
            }
        }
    }
    assert_eq!(cells, RULES.len() * Role::ALL.len());
    let denials = world.denials().await;
    let denials = denials.iter().filter(|row| row.action == "access").count();
    assert_eq!(denials, refused, "each denial is one row");
}

#[tokio::test]
async fn without_a_name_there_is_nothing() {
    let world = World::new(0).await;
    for rule in RULES {
        let answer = world
            .send(Call::new(method(rule.method), &concrete(rule)))
            .await;
        let status = answer.status.as_u16();
        match rule.needs {
            Some(_) => {
                answer.problem(401, "unauthenticated");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
            None => assert!(![401, 403, 405].contains(&status), "{rule:?}: {status}"),
        }
    }
    // Nobody in particular was denied a look; but that somebody wanted to change something is on record.
    let changes = RULES
        .iter()
        .filter(|rule| rule.needs.is_some() && rule.method != Method::Get);
    let denials = world.denials().await;
    assert_eq!(denials.len(), changes.count().min(60));
    for denial in denials {
        assert_eq!(denial.detail.as_deref(), Some("nobody is signed in"));
    }
}

#[tokio::test]
async fn a_method_that_a_route_has_not_is_refused() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    for rule in RULES {
        let known: Vec<&str> = RULES
            .iter()
            .filter(|r| r.path == rule.path)
            .map(|r| r.method.as_str())
            .collect();
        for other in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if known.contains(&other) {
                continue;
            }
            let answer = world
                .send(Call::new(other, &concrete(rule)).token(&admin))
                .await;
            answer.problem(405, "method_not_allowed");
            assert_eq!(
                answer.header("allow"),
                known.join(", "),
                "{other} {}",
                rule.path
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/updates",
        "/api/nothing",
        "/admin/../api/users",
        "/%00",
        "/..%2f..%2fetc/passwd",
    ] {
        let answer = world.get(path, &admin).await;
        assert!(
            [404, 303, 400].contains(&answer.status.as_u16()),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_put_on_record() {
    let world = World::new(0).await;
    let good = world.token(Role::Admin).await;
    world.get("/api/me", &good).await.expect(200);
    let mut typo = good.clone();
    typo.replace_range(10..11, if &good[10..11] == "A" { "B" } else { "A" });
    let unknown = admin_api::secrets::new_token().unwrap().text;
    for token in [
        typo.as_str(),
        unknown.as_str(),
        "rlt_",
        "",
        &"x".repeat(5000),
    ] {
        world
            .get("/api/me", token)
            .await
            .problem(401, "unauthenticated");
    }
    let basic = Call::new("GET", "/api/me").header("authorization", "Basic YWRtaW46YWRtaW4=");
    world.send(basic).await.problem(401, "unauthenticated");
    let denials = world.denials().await;
    assert_eq!(denials.len(), 6);
    assert_eq!(denials[0].result, AuditResult::Denied);
    assert_eq!(denials[0].actor.source, "203.0.113.9");
    assert_eq!(denials[0].subject.as_deref(), Some("GET /api/me"));
    // A stranger cannot fill the trail.
    for _ in 0..100 {
        world.get("/api/me", &unknown).await.expect(401);
    }
    assert_eq!(world.denials().await.len(), 60);
}

/// Asks for what a viewer may not have.
async fn pry(world: &World, token: &str, times: usize) {
    for _ in 0..times {
        world
            .get("/api/users", token)
            .await
            .problem(403, "forbidden");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_denied_without_end_fills_no_trail() {
    let world = World::new(0).await;
    let (vera, otto) = (
        world.token_as("vera", Role::Viewer).await,
        world.token_as("otto", Role::Viewer).await,
    );
    pry(&world, &vera, 200).await;
    assert_eq!(world.denials().await.len(), 20);
    // Somebody else's first denial is not lost in that.
    pry(&world, &otto, 1).await;
    assert_eq!(world.denials().await[0].actor.name, "otto");
    // At the end it is told how many there were, with nobody there any more.
    let mut denials = world.denials().await;
    for _ in 0..100 {
        if denials.len() > 21 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        denials = world.denials().await;
    }
    assert_eq!(denials.len(), 22);
    let last = &denials[0];
    assert_eq!(
        (last.actor.name.as_str(), last.subject.as_deref()),
        ("vera", Some("GET /api/users"))
    );
    let told = last.detail.as_deref().unwrap();
    assert_eq!(
        told,
        "denials without rows of their own, up to this one: 180"
    );
    // A new window is a new beginning.
    pry(&world, &vera, 1).await;
    assert_eq!(world.denials().await.len(), 23);
}

#[tokio::test]
async fn an_owner_sees_their_own_instances_and_no_more_of_them() {
    let world = World::new(0).await;
    let mut theirs = sample_host("acme-1");
    theirs.owner = Some("acme".into());
    let mut other = sample_host("other-1");
    other.owner = Some("other".into());
    world
        .store
        .host_add(vec![theirs, other, sample_host("nobody-1")], &actor())
        .await
        .unwrap();
    let acme = world.token_as("acme", Role::Owner).await;
    let body = world.get("/api/me/instances", &acme).await.expect(200);
    let expected = serde_json::json!({
        "instances": [{ "name": "acme-1", "version": null, "state": "unknown", "updated_at": null,
            "up_to_date": null, "seen_at": null }], "next": null,
    });
    assert_eq!(body, expected);
    let me = world.get("/api/me", &acme).await.expect(200);
    assert_eq!(
        me,
        serde_json::json!({ "name": "acme", "role": "owner", "kind": "token", "rights": ["own"] })
    );
}
