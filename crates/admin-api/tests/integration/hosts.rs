//! The inventory by HTTP.

use std::sync::Arc;

use admin_api::ApiSettings;
use fleet_store::{DieselStore, ManualClock, StoreOptions};
use fleet_types::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Yq1wU2lqEw2yB0oT1r0m9nXk3n3m1g0l8m1e6bQ2q";

async fn put(world: &World, path: &str, token: &str, body: Value) -> Answer {
    world
        .send(Call::new("PUT", path).token(token).json(&body))
        .await
}

#[tokio::test]
async fn a_host_is_added_changed_and_removed() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    let body = json!({ "name": "web-1", "address": "10.0.0.7", "labels": { "eu": "", "plan": "s" }, "owner": "acme" });
    let added = world.post("/api/hosts", &admin, body.clone()).await;
    assert_eq!(added.header("location"), "/api/hosts/web-1");
    let added = added.expect(201);
    assert_eq!(
        (
            &added["entry"]["user"],
            &added["entry"]["repo"],
            &added["entry"]["port"]
        ),
        (&json!("deploy"), &json!("/srv/app"), &json!(22))
    );
    world
        .post("/api/hosts", &admin, body)
        .await
        .problem(409, "duplicate_name");
    let twin = json!({ "name": "web-2", "address": "10.0.0.7" });
    world
        .post("/api/hosts", &admin, twin)
        .await
        .problem(409, "duplicate_repository");
    // What is not said stays; null is the default.
    let changed = put(
        &world,
        "/api/hosts/web-1",
        &admin,
        json!({ "name": "web-9", "branch": "next", "owner": null }),
    )
    .await
    .expect(200);
    let entry = &changed["entry"];
    assert_eq!(
        (
            &entry["name"],
            &entry["branch"],
            &entry["owner"],
            &entry["labels"]["plan"]
        ),
        (&json!("web-9"), &json!("next"), &Value::Null, &json!("s"))
    );
    let changed = put(
        &world,
        "/api/hosts/web-9",
        &admin,
        json!({ "branch": null }),
    )
    .await
    .expect(200);
    assert_eq!(changed["entry"]["branch"], "main");
    // The entry as shown can be sent back.
    let same = put(&world, "/api/hosts/web-9", &admin, changed["entry"].clone())
        .await
        .expect(200);
    assert_eq!(same["entry"], changed["entry"]);
    // Who may not change it does not see where its key is.
    let viewer = world.token(Role::Viewer).await;
    assert!(world.get("/api/hosts/web-9", &viewer).await.expect(200)["entry"].is_null());
    let gone = Call::new("DELETE", "/api/hosts/web-9").token(&admin);
    world.send(gone).await.expect(204);
    world
        .get("/api/hosts/web-9", &viewer)
        .await
        .problem(404, "not_found");
    world
        .send(Call::new("DELETE", "/api/hosts/web-9").token(&admin))
        .await
        .problem(404, "not_found");
    put(&world, "/api/hosts/web-9", &admin, json!({}))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn what_no_host_can_be_is_refused() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    for (change, field) in [
        (json!({ "name": null }), "name"),
        (json!({ "name": "-x" }), "name"),
        (json!({ "name": "a b" }), "name"),
        (json!({ "address": "" }), "address"),
        (json!({ "address": "169.254.169.254" }), "address"),
        (json!({ "address": "169.254.0.9" }), "address"),
        (json!({ "address": "fe80::1" }), "address"),
        (json!({ "address": "::ffff:169.254.169.254" }), "address"),
        (json!({ "address": "fd00:ec2::254" }), "address"),
        (json!({ "address": "100.100.100.200" }), "address"),
        (json!({ "address": "0.0.0.0" }), "address"),
        (json!({ "address": "224.0.0.1" }), "address"),
        (json!({ "address": "metadata.google.internal" }), "address"),
        (json!({ "address": "2852039166" }), "address"),
        (json!({ "port": 0 }), "port"),
        (json!({ "port": 65536 }), "port"),
        (json!({ "user": "root; reboot" }), "user"),
        (json!({ "key": "../../etc/shadow" }), "key"),
        (json!({ "branch": "--upload-pack=touch /tmp/x" }), "branch"),
        (json!({ "remote": "-x" }), "remote"),
        (json!({ "service": "*.service" }), "service"),
        (json!({ "repo": "/srv/../etc" }), "repo"),
        (json!({ "install": "" }), "install"),
        (json!({ "generated": ["../x"] }), "generated"),
        (json!({ "labels": { "a b": "c" } }), "labels"),
        (json!({ "labels": { "a": "<script>" } }), "labels"),
        (json!({ "timeouts": { "pull": 0 } }), "timeouts"),
        (json!({ "owner": "a\u{1b}[2J" }), "owner"),
    ] {
        let mut body = json!({ "name": "web-1", "address": "10.0.0.7" });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = world.post("/api/hosts", &admin, body).await;
        let problem = answer.problem(422, "invalid");
        let fields: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["field"].as_str().unwrap())
            .collect();
        assert!(fields.contains(&field), "{change}: {problem}");
    }
    assert_eq!(
        world.get("/api/hosts", &admin).await.expect(200)["total"],
        0
    );
    // Loopback and private addresses are allowed.
    for (n, address) in ["127.0.0.1", "192.168.1.1", "::1", "fd12::1"]
        .into_iter()
        .enumerate()
    {
        let body = json!({ "name": format!("ok-{n}"), "address": address });
        world.post("/api/hosts", &admin, body).await.expect(201);
    }
}

#[tokio::test]
async fn what_people_type_comes_back_as_data() {
    let world = World::new(1).await;
    let token = world.token(Role::Admin).await;
    let odd = "<script>alert(1)</script> \u{1b}]0;x\u{7} \" ' & \u{202e} \r\n";
    let body = world
        .post(
            "/api/updates/trigger",
            &token,
            json!({ "all": true, "message": odd }),
        )
        .await;
    let shown = body.expect(202)["rollout"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(body.header("content-type"), "application/json");
    assert!(
        shown.starts_with("<script>alert(1)</script> \\x1b]0;x\\x07 \" ' & \\u{202e}"),
        "{shown}"
    );
    assert!(
        !body.text().contains('\u{1b}') && !body.text().contains('\u{7}'),
        "{}",
        body.text()
    );
    let path = "/api/hosts/%3Cscript%3E%1b%5B2J";
    let problem = world.get(path, &token).await;
    problem.problem(404, "not_found");
    assert!(!problem.text().contains('\u{1b}'), "{}", problem.text());
}

#[tokio::test]
async fn an_import_is_all_or_nothing() {
    let world = World::new(0).await;
    let admin = world.token(Role::Admin).await;
    let host = |name: &str, address: &str| json!({ "name": name, "address": address });
    let bad =
        json!({ "hosts": [host("a", "10.0.0.1"), host("b", "169.254.169.254"), { "name": "c" }] });
    let problem = world
        .post("/api/hosts/import", &admin, bad)
        .await
        .problem(422, "invalid");
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["hosts.1.address", "hosts.2.address"]);
    let twice = json!({ "hosts": [host("a", "10.0.0.1"), host("a", "10.0.0.2")] });
    world
        .post("/api/hosts/import", &admin, twice)
        .await
        .problem(409, "duplicate_name");
    for none in [
        json!({}),
        json!({ "hosts": [] }),
        json!({ "hosts": "a" }),
        json!({ "hosts": [7] }),
    ] {
        world
            .post("/api/hosts/import", &admin, none)
            .await
            .problem(422, "invalid");
    }
    assert_eq!(
        world.get("/api/hosts", &admin).await.expect(200)["total"],
        0
    );
    let good = json!({ "hosts": [host("a", "10.0.0.1"), host("b", "10.0.0.2")] });
    assert_eq!(
        world
            .post("/api/hosts/import", &admin, good)
            .await
            .expect(201),
        json!({ "added": ["a", "b"] })
    );
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let world = World::new(2).await;
    let (admin, viewer) = (
        world.token(Role::Admin).await,
        world.token(Role::Viewer).await,
    );
    let path = "/api/hosts/web-001";
    let tag = async || world.get(path, &admin).await.header("etag").to_owned();
    let change = async |method, tag: &str| {
        let call = Call::new(method, path).token(&admin);
        let call = call.header("if-match", tag);
        world.send(call.json(&json!({ "owner": "acme" }))).await
    };
    let first = tag().await;
    assert_eq!(world.get(path, &viewer).await.header("etag"), "");
    let changed = change("PUT", &first).await;
    changed.expect(200);
    let second = tag().await;
    assert_eq!(changed.header("etag"), second);
    let other = put(&world, path, &admin, json!({ "owner": "zoe" })).await;
    assert_eq!(other.expect(200)["entry"]["owner"], "zoe");
    for known in [
        first.as_str(),
        second.as_str(),
        &format!("{first}, {second}"),
        "x",
    ] {
        for method in ["PUT", "DELETE"] {
            change(method, known).await.problem(412, "stale");
        }
    }
    let found = world.get(path, &admin).await.expect(200);
    assert_eq!(found["entry"]["owner"], "zoe");
    let third = tag().await;
    for known in [format!("{first}, W/{}", tag().await), "*".to_owned()] {
        change("PUT", &known).await.expect(200);
    }
    change("DELETE", &third).await.problem(412, "stale");
    change("DELETE", &tag().await).await.expect(204);
    change("DELETE", "*").await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_pin_keys_as_they_saw_them_at_once_one_does() {
    // In a file, writes take longer than looks, so that all have looked before the first one writes.
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("rollout.db").display());
    let clock = ManualClock::ticking();
    let options = StoreOptions {
        clock: Arc::new(clock.clone()),
        ..StoreOptions::default()
    };
    let store = Arc::new(DieselStore::open(&url, options).await.unwrap());
    let world = World::on(store, clock, 1, ApiSettings::default()).await;
    let world = Arc::new(world);
    let admin = world.token(Role::Admin).await;
    let host = world.get("/api/hosts/web-001", &admin).await;
    let seen = host.header("etag").to_owned();
    let mut all = JoinSet::new();
    for number in 0..16 {
        let (world, admin, seen) = (Arc::clone(&world), admin.clone(), seen.clone());
        all.spawn(async move {
            let key = KEY.replace("9Yq1", &format!("9Y{number:02}"));
            let call = Call::new("PUT", "/api/hosts/web-001/keys").token(&admin);
            let call = call.header("if-match", &seen);
            let answer = world.send(call.json(&json!({ "keys": [key] }))).await;
            match answer.status.as_u16() {
                200 => Some(key),
                _ => {
                    answer.problem(412, "stale");
                    None
                }
            }
        });
    }
    let pinned: Vec<String> = all.join_all().await.into_iter().flatten().collect();
    assert_eq!(pinned.len(), 1, "{pinned:?}");
    let host = world.get("/api/hosts/web-001", &admin).await.expect(200);
    assert_eq!(host["host_keys"][0]["openssh"], pinned[0].as_str());
}

#[tokio::test]
async fn each_page_of_a_list_leads_to_the_next() {
    let world = World::new(3).await;
    let admin = world.token(Role::Admin).await;
    let begun = json!({ "all": true, "stages": [100] });
    let begun = world.post("/api/updates/trigger", &admin, begun).await;
    begun.expect(202);
    let id = begun.header("location").rsplit('/').next().unwrap();
    for list in [
        "/api/hosts?search=web%2D&limit=1",
        "/api/inventory?limit=1",
        &format!("/api/updates/rollouts/{id}/hosts?status=pending&status=updating&limit=1"),
    ] {
        let (path, query) = list.split_once('?').unwrap();
        let mut asked = query.to_owned();
        let mut names = Vec::new();
        for left in (0..3).rev() {
            let answer = world.get(&format!("{path}?{asked}"), &admin).await;
            let page = answer.expect(200);
            let host = &page["hosts"][0];
            let name = host.get("name").or_else(|| host["entry"].get("name"));
            names.push(name.unwrap().as_str().unwrap().to_owned());
            let link = answer.header("link");
            if left == 0 {
                assert_eq!((link, &page["next"]), ("", &Value::Null), "{list}");
                break;
            }
            let next = link.strip_prefix("<?").unwrap();
            asked = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            let cursor = format!("&cursor={}", page["next"].as_str().unwrap());
            assert!(asked.ends_with(&cursor), "{asked}");
            assert_eq!(asked.matches("cursor").count(), 1, "{asked}");
        }
        assert_eq!(names, ["web-001", "web-002", "web-003"], "{list}");
    }
    for list in [
        "/api/audit?limit=1",
        "/api/updates/rollouts?limit=1",
        "/api/me/instances",
    ] {
        let answer = world.get(list, &admin).await;
        let next = answer.expect(200)["next"].as_str().map(str::to_owned);
        let link = next.map(|next| format!("<?limit=1&cursor={next}>; rel=\"next\""));
        assert_eq!(answer.header("link"), link.unwrap_or_default(), "{list}");
    }
}

#[tokio::test]
async fn the_fleet_in_pages() {
    let world = World::new(25).await;
    let token = world.token(Role::Viewer).await;
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .get(&format!("/api/hosts?limit=10{cursor}"), &token)
            .await
            .expect(200);
        assert_eq!(page["total"], 25);
        names.extend(
            page["hosts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|h| h["name"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names.len(), 25);
    assert!(names.is_sorted());
    assert_eq!(
        world.get("/api/hosts?search=-01", &token).await.expect(200)["total"],
        10
    );
    assert_eq!(
        world
            .get("/api/hosts?health=active", &token)
            .await
            .expect(200)["total"],
        0
    );
    assert_eq!(
        world.get("/api/hosts?search=%00", &token).await.expect(200)["total"],
        0
    );
    for bad in [
        "limit=0",
        "limit=x",
        "status=dancing",
        "health=fine",
        "needs_attention=maybe",
    ] {
        world
            .get(&format!("/api/hosts?{bad}"), &token)
            .await
            .problem(422, "invalid");
    }
}

#[tokio::test]
async fn host_keys_are_shown_and_pinned() {
    let world = World::new(1).await;
    let admin = world.token(Role::Admin).await;
    world
        .post("/api/hosts/web-001/scan", &admin, json!({}))
        .await
        .problem(503, "no_transport");
    let worker = world.worker().await;
    *world.process.transport.lock().unwrap() = Some(worker.transport());
    let scan = world
        .post("/api/hosts/web-001/scan", &admin, json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&scan["finding"], scan["keys"][0]["algorithm"].as_str()),
        (&json!("new"), Some("ssh-ed25519"))
    );
    world
        .post("/api/hosts/nobody/scan", &admin, json!({}))
        .await
        .problem(404, "not_found");
    let shown = world.get("/api/hosts/web-001", &admin).await.expect(200);
    assert_eq!(shown["host_keys"], json!([]), "looking pins nothing");
    let pinned = put(
        &world,
        "/api/hosts/web-001/keys",
        &admin,
        json!({ "keys": [format!("{KEY} root@web")] }),
    )
    .await
    .expect(200);
    assert_eq!(pinned["host_keys"][0]["openssh"], KEY);
    let scan = world
        .post("/api/hosts/web-001/scan", &admin, json!({}))
        .await
        .expect(200);
    assert_eq!(scan["finding"], "changed");
    for bad in [
        json!([]),
        json!(["ssh-ed25519 AAAA"]),
        json!(["x"]),
        json!("x"),
        json!([7]),
        json!([KEY, "\n"]),
    ] {
        put(
            &world,
            "/api/hosts/web-001/keys",
            &admin,
            json!({ "keys": bad }),
        )
        .await
        .problem(422, "invalid");
    }
    let audit = world
        .get("/api/audit?action=host.scan", &admin)
        .await
        .expect(200);
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_mark_is_cleared() {
    let world = World::new(1).await;
    let operator = world.token(Role::Operator).await;
    let cleared = world
        .post("/api/hosts/web-001/clear", &operator, json!({}))
        .await
        .expect(200);
    assert_eq!(cleared["host"]["needs_attention"], false);
    world
        .post("/api/hosts/nobody/clear", &operator, json!({}))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn the_fleet_is_a_file_for_a_spreadsheet_with_the_filters_of_the_list() {
    let world = World::new(1_203).await;
    let admin = world.token(Role::Admin).await;
    let words =
        json!({ "owner": "=HYPERLINK(\"http://x\",\"a\")", "labels": { "plan": "s", "eu": "" } });
    put(&world, "/api/hosts/web-1002", &admin, words)
        .await
        .expect(200);
    let viewer = world.token(Role::Viewer).await;
    let all = world.get("/api/hosts.csv", &viewer).await;
    assert_eq!(all.status, 200);
    assert_eq!(all.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        all.header("content-disposition"),
        "attachment; filename=\"hosts.csv\""
    );
    let all = all.text();
    let mut lines = all.lines();
    let heading = lines.next().unwrap();
    assert!(
        heading.starts_with("name,address,port,user,labels,owner,current_version,"),
        "{heading}"
    );
    let names: Vec<&str> = lines
        .map(|line| line.split(',').next().unwrap_or(""))
        .collect();
    assert_eq!(names.len(), 1_203);
    assert!(names.contains(&"web-1203"));
    // Quoted as RFC 4180 has it, and no formula.
    let found = world
        .get("/api/hosts.csv?search=web-1002", &viewer)
        .await
        .text();
    let line = found.lines().nth(1).unwrap();
    let plain = r#",eu;plan=s,"'=HYPERLINK(""http://x"",""a"")","#;
    assert!(line.contains(plain), "{line}");
    assert_eq!(found.lines().count(), 2);
    for (filter, hosts) in [
        ("needs_attention=true", 0),
        ("health=unknown", 1_203),
        ("owner=nobody", 0),
    ] {
        let path = format!("/api/hosts.csv?{filter}");
        let file = world.get(&path, &viewer).await.text();
        assert_eq!(file.lines().count(), 1 + hosts, "{filter}");
    }
    for wrong in ["status=nonsense", "rollout=ffffffff"] {
        let answer = world.get(&format!("/api/hosts.csv?{wrong}"), &viewer).await;
        assert!([404, 422].contains(&answer.status.as_u16()), "{wrong}");
    }
}

#[tokio::test]
async fn a_file_of_a_rollout_says_how_its_hosts_stand_in_it() {
    let world = World::new(3).await;
    let operator = world.token(Role::Operator).await;
    let two = json!({ "on": ["web-001", "web-002"] });
    let started = world
        .post("/api/updates/trigger", &operator, two)
        .await
        .expect(202);
    let id = started["rollout"]["id"].as_str().unwrap();
    let path = format!("/api/hosts.csv?rollout={id}");
    let file = world.get(&path, &operator).await.text();
    assert_eq!(file.lines().count(), 3, "{file}");
    assert!(file.lines().skip(1).all(|line| line.contains(",pending,")));
    let path = format!("{path}&status=success");
    let file = world.get(&path, &operator).await.text();
    assert_eq!(file.lines().count(), 1, "{file}");
}
