//! Forms as a browser sends them back: every field that a page had, those that a person filled in with something else.

use admin_api::ApiSettings;
use fleet_store::*;
use fleet_types::*;
use serde_json::json;

use crate::world::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Yq1wU2lqEw2yB0oT1r0m9nXk3n3m1g0l8m1e6bQ2q";

/// A form of a page: where it goes, and its fields as they stand there.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// The form with this id.
    #[track_caller]
    pub(crate) fn on(text: &str, id: &str) -> Self {
        let tag = format!("id=\"{id}\"");
        let (before, rest) = text
            .split_once(&tag)
            .unwrap_or_else(|| panic!("no {id}: {text}"));
        let (inside, _) = rest.split_once("</form>").unwrap();
        let opening = before.rsplit("<form ").next().unwrap();
        let fields = inside.split("<input ").skip(1).filter_map(|part| {
            let tag = part.split('>').next().unwrap();
            let ticked = !tag.contains("type=\"checkbox\"") || tag.contains(" checked");
            let value = attribute(tag, "value").unwrap_or_default();
            ticked.then_some((attribute(tag, "name")?, value))
        });
        Self {
            action: attribute(opening, "action").unwrap(),
            fields: fields.collect(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The same with something else typed into a field, which must be there.
    #[track_caller]
    pub(crate) fn fill(mut self, name: &str, text: &str) -> Self {
        let field = self.fields.iter_mut().find(|(known, _)| known == name);
        let field = field.unwrap_or_else(|| panic!("no field {name}"));
        field.1 = text.to_owned();
        self
    }

    pub(crate) async fn send(&self, world: &World, token: &str) -> Answer {
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let call = Call::new("POST", &self.action)
            .token(token)
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields.join("&"));
        world.send(call).await
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    let value = rest.split('"').next()?;
    let entities = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
    ];
    let plain = entities
        .iter()
        .fold(value.to_owned(), |text, (from, to)| text.replace(from, to));
    Some(plain.replace("&#38;", "&"))
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) async fn page(world: &World, path: &str, token: &str) -> String {
    let call = Call::new("GET", path)
        .token(token)
        .header("accept", "text/html");
    world.send(call).await.text()
}

async fn spec(world: &World, name: &str) -> HostSpec {
    let name = name.parse().unwrap();
    world.store.host_get(&name).await.unwrap().unwrap().spec
}

#[tokio::test]
async fn saving_a_form_changes_what_was_typed_and_nothing_else() {
    let mut settings = ApiSettings::default();
    // Set after the hosts were enrolled.
    settings.app.verify = Some("curl -f http://localhost".into());
    let world = World::with(0, settings).await;
    let admin = world.token(Role::Admin).await;
    let mut odd = sample_host("odd");
    odd.spec.app.install = "cd 'a & b' &&\n make <x >y".into();
    odd.spec.app.generated = vec!["other.lock".into()];
    odd.labels = [("region".to_owned(), "eu".to_owned())].into();
    world
        .store
        .host_add(vec![odd.clone()], &actor())
        .await
        .unwrap();
    let text = page(&world, "/admin/hosts/odd/edit", &admin).await;
    let form = Form::on(&text, "host-form");
    let saved = form.fill("labels", "region=us").send(&world, &admin).await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text());
    assert_eq!(spec(&world, "odd").await, odd.spec);
    let shown = world.get("/api/hosts/odd", &admin).await.expect(200);
    assert_eq!(shown["entry"]["labels"], json!({ "region": "us" }));
    // What is emptied is as configured.
    let text = page(&world, "/admin/hosts/odd/edit", &admin).await;
    let form = Form::on(&text, "host-form").fill("install", "");
    let saved = form.send(&world, &admin).await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text());
    let mut now = spec(&world, "odd").await.app;
    assert_ne!(now.install, odd.spec.app.install);
    now.install.clone_from(&odd.spec.app.install);
    assert_eq!(now, odd.spec.app);
}

#[tokio::test]
async fn a_form_undoes_nothing_that_somebody_changed_meanwhile() {
    let world = World::new(1).await;
    let (anna, zoe) = (
        world.token_as("anna", Role::Admin).await,
        world.token_as("zoe", Role::Admin).await,
    );
    let path = "/admin/hosts/web-001/edit";
    let form = || async { Form::on(&page(&world, path, &anna).await, "host-form") };
    let mine = form().await.fill("owner", "acme").fill("user", "root");
    let body = json!({ "address": "10.9.9.9", "user": "ops" });
    let call = Call::new("PUT", "/api/hosts/web-001").token(&zoe);
    world.send(call.json(&body)).await.expect(200);

    let refused = mine.send(&world, &anna).await;
    let text = refused.text();
    assert_eq!(refused.status.as_u16(), 412, "{text}");
    for wanted in [
        "changed by zoe",
        "<b>Address</b> is now <code>10.9.9.9</code>.",
        "<b>SSH user</b> is now <code>ops</code>; you made it <code>root</code>",
    ] {
        assert!(text.contains(wanted), "no {wanted:?}: {text}");
    }
    let kept = spec(&world, "web-001").await;
    assert_eq!(
        (kept.user.as_str(), kept.port),
        ("ops", 22),
        "nothing is saved"
    );
    // What was typed is there still, the rest is as it is now; saved again, it is what was looked at.
    let again = Form::on(&text, "host-form");
    let fields = ["owner", "user", "address"].map(|name| again.get(name).to_owned());
    assert_eq!(fields, ["acme", "root", "10.9.9.9"]);
    let saved = again.send(&world, &anna).await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text());
    let shown = world.get("/api/hosts/web-001", &anna).await.expect(200);
    let entry = &shown["entry"];
    assert_eq!(
        (&entry["owner"], &entry["user"], &entry["address"]),
        (&json!("acme"), &json!("root"), &json!("10.9.9.9"))
    );
    // What is no part of the form, or was changed to the same, is in nobody's way.
    let mine = form().await.fill("port", "2222");
    let call = Call::new("PUT", "/api/hosts/web-001").token(&zoe);
    let body = json!({ "port": 2222, "min_free_mib": 7 });
    world.send(call.json(&body)).await.expect(200);
    let saved = mine.send(&world, &anna).await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text());
    assert_eq!(spec(&world, "web-001").await.app.min_free_mib, 7);
}

#[tokio::test]
async fn keys_of_an_address_that_was_changed_meanwhile_are_not_pinned() {
    let world = World::new(1).await;
    let admin = world.token(Role::Admin).await;
    let worker = world.worker().await;
    *world.process.transport.lock().unwrap() = Some(worker.transport());
    let path = "/admin/hosts/web-001/keys";
    let fetch = Form::on(&page(&world, path, &admin).await, "scan-form");
    let seen = Form::on(&fetch.send(&world, &admin).await.text(), "pin-form");
    let call = Call::new("PUT", "/api/hosts/web-001").token(&admin);
    world
        .send(call.json(&json!({ "address": "10.9.9.9" })))
        .await
        .expect(200);
    let refused = seen.fill("key", KEY).send(&world, &admin).await;
    assert_eq!(refused.status.as_u16(), 412, "{}", refused.text());
    assert!(refused.text().contains("Nothing was pinned"));
    let pinned = async || {
        let name = "web-001".parse().unwrap();
        let host = world.store.host_get(&name).await.unwrap().unwrap();
        host.host_keys.len()
    };
    assert_eq!(pinned().await, 0);
    let fetch = Form::on(&refused.text(), "scan-form");
    let seen = Form::on(&fetch.send(&world, &admin).await.text(), "pin-form");
    // The hosts of this world show no real ones.
    let done = seen.fill("key", KEY).send(&world, &admin).await;
    assert_eq!(done.status.as_u16(), 303, "{}", done.text());
    assert_eq!(pinned().await, 1);
}

async fn plan_of(world: &World, path: &str, token: &str) -> Form {
    Form::on(&page(world, path, token).await, "confirm")
}

async fn rollouts(world: &World) -> usize {
    world.store.rollout_list(None, 100).await.unwrap().len()
}

async fn add(world: &World, names: &[&str]) {
    let new = names.iter().map(|name| sample_host(name)).collect();
    world.store.host_add(new, &actor()).await.unwrap();
}

#[tokio::test]
async fn what_is_started_is_what_was_looked_at() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    let all = "/admin/updates/start?which=all";
    let looked_at = plan_of(&world, all, &token).await;
    add(&world, &["other", "zebra"]).await;
    let refused = looked_at.send(&world, &token).await;
    let text = refused.text();
    assert_eq!(refused.status.as_u16(), 409, "{text}");
    let says = [
        "is not what you looked at",
        "Start: update 5 hosts",
        "5 hosts are updated",
    ];
    assert!(says.iter().all(|wanted| text.contains(wanted)), "{text}");
    assert_eq!(rollouts(&world).await, 0);
    // Another host in the place of one is another plan as well.
    let looked_at = Form::on(&text, "confirm");
    let zebra = "zebra".parse().unwrap();
    world.store.host_remove(&zebra, &actor()).await.unwrap();
    add(&world, &["zebra"]).await;
    let refused = looked_at.send(&world, &token).await;
    assert_eq!(refused.status.as_u16(), 409, "{}", refused.text());
    // As it is looked at, it is started, and the same click once more is the same rollout, whatever there is by then.
    let looked_at = Form::on(&refused.text(), "confirm");
    let begun = looked_at.send(&world, &token).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
    add(&world, &["late"]).await;
    let twice = looked_at.send(&world, &token).await;
    assert_eq!(twice.header("location"), begun.header("location"));
    assert_eq!(rollouts(&world).await, 1);
}

/// A rollout of the whole fleet that is over: all of it well, or failed.
async fn over(world: &World, well: bool) -> RolloutId {
    if !well {
        let worse = (AttemptStatus::Failed, Reason::Unreachable, false, "no");
        return world.ended(&[worse; 4]).await;
    }
    let worker = world.worker().await;
    let request = rollout_orchestrator::PlanRequest {
        selection: Selection::All,
        to: None,
        policy: Policy::default(),
        message: None,
        actor: actor(),
        force: false,
    };
    let plan = world.orchestrator.plan(&request).await.unwrap();
    let id = world.orchestrator.trigger(&plan, None).await.unwrap();
    while world.store.rollout_active().await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    drop(worker);
    id
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_or_taken_back_is_what_was_looked_at() {
    for (verb, well) in [("retry", false), ("rollback", true)] {
        let world = World::new(4).await;
        let token = world.token(Role::Operator).await;
        let id = over(&world, well).await;
        let path = format!("/admin/updates/rollouts/{id}/{verb}");
        let looked_at = plan_of(&world, &path, &token).await;
        let gone = "web-003".parse().unwrap();
        world.store.host_remove(&gone, &actor()).await.unwrap();
        let refused = looked_at.send(&world, &token).await;
        let text = refused.text();
        assert_eq!(refused.status.as_u16(), 409, "{verb}: {text}");
        assert!(text.contains("is not what you looked at"), "{verb}: {text}");
        assert_eq!(rollouts(&world).await, 1);
        let begun = Form::on(&text, "confirm").send(&world, &token).await;
        assert_eq!(begun.status.as_u16(), 303, "{verb}: {}", begun.text());
        assert_eq!(rollouts(&world).await, 2);
    }
}

#[tokio::test]
async fn a_program_says_how_many_hosts_it_expects() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    let ask = async |hosts: serde_json::Value, dry_run: bool| {
        let body = json!({ "all": true, "expect": { "hosts": hosts }, "dry_run": dry_run });
        world.post("/api/updates/trigger", &token, body).await
    };
    for dry_run in [true, false] {
        let problem = ask(json!(2), dry_run).await.problem(409, "hosts_mismatch");
        assert_eq!(problem["hosts"], 3);
    }
    let problem = ask(json!("x"), false).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["field"], "expect");
    assert_eq!(rollouts(&world).await, 0);
    ask(json!(null), true).await.expect(200);
    ask(json!(3), false).await.expect(202);
}

#[tokio::test]
async fn a_number_that_is_none_is_named_and_nothing_is_started() {
    let world = World::new(3).await;
    let admin = world.token(Role::Admin).await;
    for field in [
        "max_failure_percent",
        "concurrency",
        "settle_seconds",
        "stages",
    ] {
        // Of their own, for so many plans are not made for one caller.
        let token = world.token(Role::Admin).await;
        for text in ["inf", "-inf", "nan", "NaN", "infinity", "1e999", "-1e999"] {
            let path = format!("/admin/updates/start?which=all&{field}={text}");
            let call = Call::new("GET", &path).token(&token);
            let asked = world.send(call.header("accept", "text/html")).await;
            let body = format!("which=all&{field}={text}");
            let call = Call::new("POST", "/admin/updates/start").token(&token);
            let call = call.header("content-type", "application/x-www-form-urlencoded");
            let begun = world.send(call.body(body)).await;
            for answer in [asked, begun] {
                assert_eq!(answer.status.as_u16(), 422, "{field}={text}");
                assert!(
                    answer.text().contains(field),
                    "{field}={text}: {}",
                    answer.text()
                );
            }
        }
    }
    assert_eq!(rollouts(&world).await, 0);
    let new = page(&world, "/admin/hosts/new", &admin).await;
    let new = Form::on(&new, "host-form").fill("name", "web-9");
    let new = new.fill("address", "10.9.9.9").fill("port", "inf");
    let refused = new.send(&world, &admin).await;
    assert_eq!(refused.status.as_u16(), 422);
    assert!(refused.text().contains("port"), "{}", refused.text());
}

#[tokio::test]
async fn all_hosts_under_way_are_told_of() {
    let world = World::new(60).await;
    let token = world.token(Role::Viewer).await;
    let policy = Policy {
        stages: "100".parse().unwrap(),
        max_in_flight: 60,
        ..Policy::default()
    };
    let request = rollout_orchestrator::PlanRequest {
        selection: Selection::All,
        to: None,
        policy,
        message: None,
        actor: actor(),
        force: false,
    };
    let plan = world.orchestrator.plan(&request).await.unwrap();
    let id = world.orchestrator.trigger(&plan, None).await.unwrap();
    let path = format!("/admin/updates/rollouts/{id}");
    for _ in 0..50 {
        world.begin(id).await;
    }
    let text = page(&world, &path, &token).await;
    assert!(!text.contains("more. <a"), "{text}");
    for _ in 50..60 {
        world.begin(id).await;
    }
    let text = page(&world, &path, &token).await;
    assert!(
        text.contains("And 10 more.") && text.contains("All 60"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_plan_says_to_which_commit_and_that_is_started() {
    let world = World::new(3).await;
    let token = world.token(Role::Operator).await;
    let all = "/admin/updates/start?which=all";
    let text = page(&world, all, &token).await;
    assert!(text.contains("main, resolved when it starts"), "{text}");
    let worker = world.worker().await;
    *world.process.transport.lock().unwrap() = Some(worker.transport());
    let text = page(&world, all, &token).await;
    let shown = format!("<dd>{} (main)</dd>", world.new.short());
    assert!(text.contains(&shown), "{text}");
    // The branch moves on meanwhile.
    let release = update_engine::testing::SimRelease::Good;
    world
        .fleet
        .change_origin(|origin| origin.push("main", release));
    let begun = Form::on(&text, "confirm").send(&world, &token).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
    let started = world.store.rollout_latest().await.unwrap().unwrap();
    let to = (started.target.as_ref(), started.target_ref.as_str());
    assert_eq!(to, (Some(&world.new), "main"));
    let nowhere = format!("{all}&to=nowhere");
    let text = page(&world, &nowhere, &token).await;
    assert!(text.contains("nowhere cannot be found"), "{text}");
    assert!(!text.contains("id=\"confirm\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn more_than_fifty_hosts_are_not_one_click() {
    let world = World::new(51).await;
    let token = world.token(Role::Operator).await;
    let fifty = "/admin/updates/start?which=on&on=*,!web-051";
    let text = page(&world, fifty, &token).await;
    assert!(text.contains("Start: update 50 hosts"), "{text}");
    assert!(!text.contains("name=\"typed\""), "{text}");
    let all = "/admin/updates/start?which=all";
    let asked = plan_of(&world, all, &token).await;
    for wrong in ["", "50", "all"] {
        let refused = asked
            .clone()
            .fill("typed", wrong)
            .send(&world, &token)
            .await;
        let text = refused.text();
        assert_eq!(refused.status.as_u16(), 422, "{wrong}: {text}");
        assert!(
            text.contains("Nothing was started: this is about 51 hosts"),
            "{text}"
        );
        assert!(text.contains("Start: update 51 hosts"), "{text}");
    }
    assert_eq!(rollouts(&world).await, 0);
    let begun = asked.fill("typed", "51").send(&world, &token).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
    // What takes as many back is no less severe.
    let worker = world.worker().await;
    while world.store.rollout_active().await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    drop(worker);
    let path = format!("{}/rollback", begun.header("location"));
    let asked = plan_of(&world, &path, &token).await;
    let refused = asked.send(&world, &token).await;
    let text = refused.text();
    assert_eq!(refused.status.as_u16(), 422, "{text}");
    assert!(text.contains("Start: take 51 hosts back"), "{text}");
    assert_eq!(rollouts(&world).await, 1);
    let begun = asked.fill("typed", "51").send(&world, &token).await;
    assert_eq!(begun.status.as_u16(), 303, "{}", begun.text());
}
