//! The pages that list hosts and rollouts: filters, orders, ages; what hosts printed; looks; what owners see.

use std::sync::Arc;
use std::time::Duration;

use admin_api::ApiSettings;
use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::PlanRequest;
use rollout_settings::{Entry, Origin};
use tokio::sync::Notify;

use crate::world::*;

async fn page(world: &World, path: &str, token: &str) -> Answer {
    let call = Call::new("GET", path)
        .token(token)
        .header("accept", "text/html");
    world.send(call).await
}

/// The names of the hosts on a page, and where the next page is.
fn listed(text: &str) -> (Vec<String>, Option<String>) {
    let rows = text.split("<tr><th scope=\"row\"><a href=\"").skip(1);
    let names = rows.map(|row| {
        let (_, rest) = row.split_once('>').unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    });
    let next = text.split_once("rel=\"next\"").map(|(before, _)| {
        let link = before.rsplit("href=\"").next().unwrap();
        let link = link.split('"').next().unwrap();
        link.replace("&#38;", "&").replace("&amp;", "&")
    });
    (names.collect(), next)
}

/// Every page of a list, by its links.
async fn walk(world: &World, path: &str, token: &str) -> Vec<String> {
    let mut path = path.to_owned();
    let mut all = Vec::new();
    loop {
        let answer = page(world, &path, token).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
        let (names, next) = listed(&answer.text());
        all.extend(names);
        match next {
            Some(next) => path = next,
            None => return all,
        }
    }
}

/// The host's own number in its name.
fn record<'a>(world: &'a World, name: &str) -> impl Future<Output = HostRecord> + 'a {
    let name: HostName = name.parse().unwrap();
    async move { world.store.host_get(&name).await.unwrap().unwrap() }
}

async fn seen(world: &World, name: &str, health: HealthState) {
    let host = record(world, name).await;
    // An entry that was edited is one epoch further.
    for epoch in [Epoch(0), Epoch(1)] {
        let seen = HealthSeen {
            health,
            message: "so it is".into(),
            key_changed: false,
            epoch,
            since: Timestamp(i64::MAX),
        };
        if world.store.health_record(host.id, seen).await.unwrap() {
            return;
        }
    }
    panic!("{name} is at another epoch");
}

#[tokio::test(start_paused = true)]
async fn hosts_are_found_in_the_words_of_the_command_line() {
    let world = World::new(3).await;
    let mut labelled = sample_host("db-1");
    labelled.labels = [("region".to_owned(), "eu".to_owned())].into();
    world
        .store
        .host_add(vec![labelled], &actor())
        .await
        .unwrap();
    let token = world.token(Role::Viewer).await;
    for (on, expected) in [
        ("@region%3Deu", vec!["db-1"]),
        ("web-*+!web-002", vec!["web-001", "web-003"]),
        ("db-1,web-003", vec!["db-1", "web-003"]),
        ("!@region", vec!["web-001", "web-002", "web-003"]),
        ("nobody", vec![]),
    ] {
        let path = format!("/admin/updates/hosts?on={on}");
        assert_eq!(walk(&world, &path, &token).await, expected, "{on}");
        let found = world
            .get(&format!("/api/hosts?on={on}"), &token)
            .await
            .expect(200);
        let names: Vec<&str> = found["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|host| host["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{on}");
    }
    let many = "web-001+".repeat(51);
    for bad in ["@", "a%22b", "web-[1]", many.as_str()] {
        let answer = world.get(&format!("/api/hosts?on={bad}"), &token).await;
        answer.problem(422, "invalid");
        let shown = page(&world, &format!("/admin/updates/hosts?on={bad}"), &token).await;
        assert_eq!(shown.status.as_u16(), 422, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_are_sorted_by_links_and_no_page_loses_one() {
    let world = World::new(250).await;
    for number in [7, 120, 249] {
        seen(
            &world,
            &format!("web-{number:03}"),
            HealthState::Unreachable,
        )
        .await;
    }
    let token = world.token(Role::Viewer).await;
    let names: Vec<String> = (1..=250).map(|number| format!("web-{number:03}")).collect();
    for (sort, first) in [
        ("", "web-001"),
        ("?sort=name&desc=true", "web-250"),
        ("?sort=state", "web-007"),
        ("?sort=state&desc=true", "web-250"),
        ("?sort=version", "web-001"),
        ("?sort=updated&desc=true", "web-250"),
    ] {
        let path = format!("/admin/updates/hosts{sort}");
        let mut all = walk(&world, &path, &token).await;
        assert_eq!(all[0], first, "{sort}");
        all.sort_unstable();
        assert_eq!(all, names, "{sort}");
    }
    let text = page(
        &world,
        "/admin/updates/hosts?sort=state&health=unreachable",
        &token,
    )
    .await
    .text();
    assert!(text.contains("aria-sort=\"ascending\""), "{text}");
    // The filter stays, and the same column turns the list round.
    let turned = "health=unreachable&#38;sort=state&#38;desc=true";
    let plain = turned.replace("&#38;", "&");
    assert!(text.contains(turned) || text.contains(&plain), "{text}");
    let wrong = page(&world, "/admin/updates/hosts?sort=colour", &token).await;
    assert_eq!(wrong.status.as_u16(), 422);
}

#[tokio::test(start_paused = true)]
async fn how_old_a_look_is_is_told() {
    let settings = ApiSettings {
        health_every: Some(Duration::from_secs(60)),
        ..ApiSettings::default()
    };
    let world = World::with(3, settings).await;
    let token = world.token(Role::Viewer).await;
    let overview = page(&world, "/admin/updates", &token).await.text();
    assert!(!overview.contains("id=\"fresh\""), "nothing was looked at");
    // The store's clock is an hour behind, and then on time.
    let real = admin_now();
    world.clock.set_wall(Timestamp(real - 3_600_000));
    seen(&world, "web-001", HealthState::Active).await;
    world.clock.set_wall(Timestamp(real));
    seen(&world, "web-002", HealthState::Active).await;
    let overview = page(&world, "/admin/updates", &token).await.text();
    assert!(overview.contains("id=\"fresh\""), "{overview}");
    // One was looked at an hour ago, one never.
    assert!(
        overview.contains("2 not for 3 min 0 s or longer"),
        "{overview}"
    );
    let hosts = page(&world, "/admin/updates/hosts", &token).await.text();
    assert_eq!(hosts.matches("long ago").count(), 1, "{hosts}");
    assert!(hosts.contains(">60 min ago<"), "{hosts}");
    for (name, old) in [("web-001", 1), ("web-002", 0), ("web-003", 0)] {
        let text = page(&world, &format!("/admin/updates/hosts/{name}"), &token)
            .await
            .text();
        assert_eq!(text.matches("long ago").count(), old, "{name}");
    }
}

/// Now, as the pages know it.
fn admin_now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_looked_at_from_its_page() {
    let world = World::new(1).await;
    let operator = world.token(Role::Operator).await;
    let viewer = world.token(Role::Viewer).await;
    let host = "/admin/updates/hosts/web-001";
    let check = || {
        Call::new("POST", "/admin/updates/hosts/web-001/check")
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
    };
    for (token, may) in [(&operator, true), (&viewer, false)] {
        let text = page(&world, host, token).await.text();
        assert_eq!(text.contains("Check now"), may);
    }
    let refused = world.send(check().token(&viewer)).await;
    assert_eq!(refused.status.as_u16(), 403);
    let unreached = world.send(check().token(&operator)).await;
    assert_eq!(unreached.status.as_u16(), 503, "no transport here");
    let worker = world.worker().await;
    *world.process.transport.lock().unwrap() = Some(worker.transport());
    let looks = Arc::new(Notify::new());
    *world.process.looks.lock().unwrap() = Some(Arc::clone(&looks));
    looks.notify_one();
    let looked = world.send(check().token(&operator)).await;
    assert_eq!(looked.status.as_u16(), 200, "{}", looked.text());
    let text = looked.text();
    assert!(text.contains("active</span>: up"), "{text}");
    assert!(text.contains("<dt>Reached</dt><dd>yes</dd>"), "{text}");
}

/// A rollout of one host that printed this.
async fn printed(world: &World, stdout: &str, stderr: &str) -> RolloutId {
    printed_by(world, stdout, stderr).await.rollout
}

/// The same, and the lease of the host.
async fn printed_by(world: &World, stdout: &str, stderr: &str) -> HostLease {
    let request = PlanRequest {
        selection: Selection::All,
        to: None,
        policy: Policy::default(),
        message: None,
        actor: actor(),
        force: false,
    };
    let plan = world.orchestrator.plan(&request).await.unwrap();
    let id = world.orchestrator.trigger(&plan, None).await.unwrap();
    let target = Resolution::Commit(world.new.clone());
    world.store.rollout_resolve(id, target).await.unwrap();
    let me = NewWorker {
        id: WorkerId(uuid::Uuid::now_v7()),
        label: "test".into(),
        serves: false,
        process: None,
    };
    let worker = world.store.worker_register(me).await.unwrap();
    let Claim::Claimed(claimed) = world.store.attempt_claim(id, worker, &[]).await.unwrap() else {
        panic!("nothing to do");
    };
    for event in [
        HostEvent::StepStarted {
            step: StepId::Inspect,
            limit_seconds: 60,
        },
        HostEvent::StepFinished {
            step: StepId::Inspect,
            duration_ms: 12,
            output: StepOutput {
                exit: Some(0),
                stdout: stdout.to_owned(),
                stderr: stderr.to_owned(),
                total_bytes: (stdout.len() + stderr.len()) as u64,
            },
        },
    ] {
        world
            .store
            .attempt_record(&claimed.lease, &event)
            .await
            .unwrap();
    }
    claimed.lease
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_is_said_to_have_been_there() {
    let world = World::new(1).await;
    let token = world.token(Role::Viewer).await;
    let lease = printed_by(&world, "line 1\nline 2\n", "<warned>").await;
    let id = lease.rollout;
    // A second step, which prints nothing.
    for event in [
        HostEvent::PreviousKnown {
            previous: Previous {
                version: world.new.clone(),
                branch: None,
                was_active: true,
            },
        },
        HostEvent::StepStarted {
            step: StepId::Restart,
            limit_seconds: 60,
        },
        HostEvent::StepFinished {
            step: StepId::Restart,
            duration_ms: 12,
            output: StepOutput {
                exit: Some(0),
                ..StepOutput::default()
            },
        },
        HostEvent::Settled {
            outcome: Outcome {
                status: AttemptStatus::Success,
                reason: Reason::Updated,
                step: None,
                touched: true,
                needs_attention: false,
                message: String::new(),
                version: Some(world.new.clone()),
            },
        },
    ] {
        world.store.attempt_record(&lease, &event).await.unwrap();
    }
    world.store.rollout_advance(id).await.unwrap();
    let host = "/admin/updates/hosts/web-001".to_owned();
    let whole = format!("/admin/updates/rollouts/{id}/hosts/web-001/output");
    let api = format!("/api/updates/rollouts/{id}/hosts/web-001");
    let output = format!("{api}/output");
    let told = "what it printed (22 bytes) was removed after 30 days";
    let before = world.get(&output, &token).await.expect(200);
    assert_eq!(
        before["steps"][0]["removed_after_days"],
        serde_json::Value::Null
    );
    for path in [&host, &whole] {
        let text = page(&world, path, &token).await.text();
        assert!(
            text.contains("line 2") && !text.contains("removed"),
            "{text}"
        );
    }
    let steps = world.get(&api, &token).await.expect(200);

    world.clock.advance(Duration::from_secs(30 * 86_400));
    let month = std::num::NonZeroU32::new(30).unwrap();
    let removed = world.store.outputs_remove(month, 100).await.unwrap();
    assert_eq!(removed.outputs, 1);
    assert_eq!(world.get(&api, &token).await.expect(200), steps);
    let mut after = world.get(&output, &token).await.expect(200);
    assert_eq!(after["steps"][0]["removed_after_days"], 30);
    assert_eq!(after["steps"][0]["total_bytes"], 22);
    assert_eq!(after["steps"][1], before["steps"][1]);
    for field in ["stdout", "stderr", "removed_after_days"] {
        after["steps"][0][field] = before["steps"][0][field].clone();
    }
    assert_eq!(after, before);
    let gone_too = async || {
        for (path, count) in [(&host, 1), (&whole, 1)] {
            let path = format!("{path}?rollout={id}");
            let text = page(&world, &path, &token).await.text();
            assert_eq!(text.matches("removed after").count(), count, "{text}");
            assert!(text.contains(told), "{text}");
            assert!(
                !text.contains("line 2") && !text.contains("were kept"),
                "{text}"
            );
        }
        page(&world, &format!("{host}?rollout={id}"), &token)
            .await
            .text()
    };
    let text = gone_too().await;
    assert!(
        text.contains(&format!("inspect, exit code 0: {told}")),
        "{text}"
    );
    // The same on the page of a host that is not in the fleet any more.
    let name = "web-001".parse().unwrap();
    world.store.host_remove(&name, &actor()).await.unwrap();
    gone_too().await;
}

#[tokio::test(start_paused = true)]
async fn every_line_that_was_kept_can_be_read() {
    let world = World::new(1).await;
    let token = world.token(Role::Viewer).await;
    let lines: Vec<String> = (1..=1203).map(|n| format!("line <{n}>")).collect();
    let id = printed(&world, &(lines.join("\n") + "\n"), "\u{1b}[31mred").await;
    let mut path = format!("/admin/updates/hosts/web-001?rollout={id}");
    let mut pages = Vec::new();
    let whole = loop {
        let text = page(&world, &path, &token).await.text();
        let (_, shown) = text
            .split_once("aria-label=\"Output of inspect\">")
            .unwrap();
        pages.push(shown.split_once("</pre>").unwrap().0.to_owned());
        match text.split_once("rel=\"prev\"") {
            Some((before, _)) => {
                let link = before.rsplit("href=\"").next().unwrap();
                let rest = link.split_once("earlier=").unwrap().1;
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                path = format!("/admin/updates/hosts/web-001?rollout={id}&earlier={number}");
            }
            None => {
                let (before, _) = text.split_once("\">All of it, as plain text").unwrap();
                break before.rsplit("href=\"").next().unwrap().to_owned();
            }
        }
    };
    pages.reverse();
    let told: Vec<String> = pages
        .concat()
        .lines()
        .map(|line| line.replace("&#60;", "<").replace("&#62;", ">"))
        .collect();
    assert_eq!(told, lines);
    assert_eq!(pages.len(), 3);

    let raw = page(&world, &whole, &token).await;
    assert_eq!(raw.status.as_u16(), 200, "{whole}");
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(raw.header("x-content-type-options"), "nosniff");
    let text = raw.text();
    assert!(text.contains(&lines.join("\n")), "{text:.200}");
    assert!(text.contains("\\x1b[31mred") && !text.contains('\u{1b}'));
    for nowhere in [
        format!("/admin/updates/rollouts/{id}/hosts/nobody/output"),
        format!(
            "/admin/updates/rollouts/{}/hosts/web-001/output",
            RolloutId(uuid::Uuid::now_v7())
        ),
    ] {
        assert_eq!(
            page(&world, &nowhere, &token).await.status.as_u16(),
            404,
            "{nowhere}"
        );
    }
    let owner = world.token(Role::Owner).await;
    assert_eq!(page(&world, &whole, &owner).await.status.as_u16(), 403);
}

#[tokio::test(start_paused = true)]
async fn rollouts_are_found_by_result_and_by_who_began_them() {
    let world = World::new(1).await;
    let token = world.token(Role::Viewer).await;
    let id = printed(&world, "", "").await;
    for (query, there) in [
        ("", true),
        ("?state=running", true),
        ("?state=completed,running&by=ann", true),
        ("?state=completed", false),
        ("?by=otto", false),
        ("?by=%00", false),
    ] {
        let path = format!("/admin/updates/rollouts{query}");
        let text = page(&world, &path, &token).await.text();
        let link = format!("<a class=\"mono\" href=\"/admin/updates/rollouts/{id}\"");
        assert_eq!(text.contains(&link), there, "{query}");
        assert_eq!(text.contains("No rollout matches."), !there, "{query}");
    }
    let wrong = page(&world, "/admin/updates/rollouts?state=happy", &token).await;
    assert_eq!(wrong.status.as_u16(), 422);
}

#[tokio::test(start_paused = true)]
async fn owners_see_whether_they_are_up_to_date_and_how_fresh_that_is() {
    let world = World::new(2).await;
    for name in ["web-001", "web-002"] {
        let known = record(&world, name).await;
        let mut host = NewHost {
            name: known.name.clone(),
            spec: known.spec,
            labels: known.labels,
            owner: None,
        };
        host.owner = Some("acme".into());
        world
            .store
            .host_edit(&known.name, host, &actor())
            .await
            .unwrap();
    }
    let owner = world.token_as("acme", Role::Owner).await;
    let shown = page(&world, "/dashboard", &owner).await.text();
    assert_eq!(shown.matches("<td>not known</td>").count(), 2, "{shown}");
    let worker = world.worker().await;
    let request = PlanRequest {
        selection: Selection::On(vec!["web-001".parse().unwrap()]),
        to: None,
        policy: Policy::default(),
        message: None,
        actor: actor(),
        force: false,
    };
    let plan = world.orchestrator.plan(&request).await.unwrap();
    let id = world.orchestrator.trigger(&plan, None).await.unwrap();
    while world
        .store
        .rollout_get(id)
        .await
        .unwrap()
        .unwrap()
        .state
        .is_active()
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(worker);
    seen(&world, "web-002", HealthState::Active).await;
    let shown = page(&world, "/dashboard", &owner).await.text();
    let row = |name: &str| {
        let (_, row) = shown
            .split_once(&format!("<th scope=\"row\">{name}"))
            .unwrap();
        row.split_once("</tr>").unwrap().0.to_owned()
    };
    assert!(row("web-001").contains("<td>yes</td>"), "{shown}");
    assert!(row("web-002").contains("<td>not known</td>"), "{shown}");
    assert!(
        row("web-002").ends_with("</time></td>"),
        "last seen: {shown}"
    );
    let mine = world.get("/api/me/instances", &owner).await.expect(200);
    assert_eq!(mine["instances"][0]["up_to_date"], true, "{mine}");
    assert_eq!(mine["instances"][1]["up_to_date"], serde_json::Value::Null);
    assert!(mine["instances"][1]["seen_at"].is_string(), "{mine}");
}

/// The groups of a matrix: where each leads, how many hosts it says it has, and those that are drawn.
fn groups(text: &str) -> Vec<(String, usize, Vec<String>)> {
    let groups = text.split("class=\"group-head\" href=\"").skip(1);
    groups
        .map(|group| {
            let (href, rest) = group.split_once('"').unwrap();
            let (_, number) = rest.split_once("<b data-hosts>").unwrap();
            let hosts = number.split('<').next().unwrap().parse().unwrap();
            let (cells, _) = rest.split_once("</ul>").unwrap();
            let cells = cells.split("data-host=\"").skip(1);
            let cells = cells.map(|cell| cell.split('"').next().unwrap().to_owned());
            (href.replace("&#38;", "&"), hosts, cells.collect())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_number_of_a_group_is_that_of_the_list_it_leads_to() {
    use AttemptStatus as S;
    let world = World::new(8).await;
    let id = world
        .ended(&[
            (S::Success, Reason::Updated, false, ""),
            (S::Success, Reason::Updated, false, ""),
            (S::Success, Reason::Unchanged, false, ""),
            (S::Failed, Reason::RollbackFailed, true, "dead"),
            (S::Failed, Reason::Unreachable, false, "no route"),
            (S::Failed, Reason::NoSudo, false, "may not"),
            (S::RolledBack, Reason::InstallFailed, false, "no space"),
        ])
        .await;
    // Somebody looked, and somebody took one out: that is no other end of the rollout.
    let (looked, gone) = ("web-004".parse().unwrap(), "web-005".parse().unwrap());
    let ann = actor();
    world
        .store
        .host_clear_attention(&looked, &ann)
        .await
        .unwrap();
    world.store.host_remove(&gone, &ann).await.unwrap();
    let token = world.token(Role::Viewer).await;
    let rollout = format!("/admin/updates/rollouts/{id}");
    let groups = groups(&page(&world, &rollout, &token).await.text());
    let numbers: Vec<usize> = groups.iter().map(|group| group.1).collect();
    // Attention, failed, rolled back, updating, skipped, waiting, there already, updated.
    assert_eq!(numbers, [1, 2, 1, 0, 0, 0, 1, 2]);
    for (href, hosts, drawn) in groups {
        let text = page(&world, &href, &token).await.text();
        assert!(
            text.contains(&format!("{hosts} of them match")),
            "{href}: {hosts}, {text}"
        );
        assert_eq!(listed(&text).0, drawn, "{href}");
        let query = href.split_once('?').unwrap().1;
        let file = world.get(&format!("/api/hosts.csv?{query}"), &token).await;
        assert_eq!(file.text().lines().count(), 1 + hosts, "{query}");
    }
}

#[tokio::test]
async fn numbers_among_the_settings_have_their_unit() {
    let entry = |key, value: &str| Entry {
        key,
        value: Some(value.to_owned()),
        origin: Origin::Default,
    };
    let settings = ApiSettings {
        shown: vec![
            entry("app.timeouts.pull", "60"),
            entry("app.min_free_mib", "200"),
            entry("rollout.concurrency", "5"),
            entry("lease.lease", "\"30s\""),
        ],
        ..ApiSettings::default()
    };
    let world = World::with(0, settings).await;
    let admin = world.token(Role::Admin).await;
    let text = page(&world, "/admin/settings", &admin).await.text();
    let values: Vec<&str> = text
        .split("<td class=\"mono\">")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!(values, ["60 s", "200 MiB", "5", "&#34;30s&#34;"]);
}
