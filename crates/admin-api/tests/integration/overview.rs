//! What needs attention on the overview: which hosts, why, since when; how few of how many.

use std::time::{Duration, Instant};

use fleet_store::*;
use fleet_types::*;
use rollout_orchestrator::PlanRequest;

use crate::world::*;

async fn overview(world: &World) -> String {
    let token = world.token(Role::Viewer).await;
    let call = Call::new("GET", "/admin/updates")
        .token(&token)
        .header("accept", "text/html");
    world.send(call).await.text()
}

/// The card that tells what needs attention.
fn card(text: &str) -> &str {
    let (_, card) = text.split_once("id=\"attention-h\"").unwrap();
    card.split_once("</section>").unwrap().0
}

/// What is said of each host, without tags.
fn rows(card: &str) -> Vec<String> {
    let Some((_, list)) = card.split_once("id=\"attention\"") else {
        return Vec::new();
    };
    let (list, _) = list.split_once("</ul>").unwrap();
    list.split("<li>")
        .skip(1)
        .map(|row| {
            let parts = row.split('<').map(|part| part.rsplit('>').next().unwrap());
            let words: Vec<&str> = parts.flat_map(str::split_whitespace).collect();
            words.join(" ")
        })
        .collect()
}

async fn seen(world: &World, number: usize, health: HealthState, message: &str) {
    let name = format!("web-{number:03}").parse().unwrap();
    let host = world.store.host_get(&name).await.unwrap().unwrap();
    let seen = HealthSeen {
        health,
        message: message.to_owned(),
        key_changed: false,
        epoch: Epoch(0),
        since: Timestamp(i64::MAX),
    };
    assert!(world.store.health_record(host.id, seen).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_where_nothing_is_known_to_be_wrong() {
    let world = World::new(3).await;
    seen(&world, 1, HealthState::Active, "active").await;
    let text = overview(&world).await;
    assert_eq!(rows(card(&text)), Vec::<String>::new());
    assert!(card(&text).contains("Nothing."), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_trouble_is_told_the_most_urgent_first() {
    let world = World::new(9).await;
    let id = world
        .ended(&[
            (
                AttemptStatus::RolledBack,
                Reason::InstallFailed,
                false,
                "the disk is full",
            ),
            (
                AttemptStatus::Failed,
                Reason::RollbackFailed,
                true,
                "nothing starts any more",
            ),
            (
                AttemptStatus::Failed,
                Reason::Unreachable,
                false,
                "no route to it",
            ),
        ])
        .await;
    seen(&world, 4, HealthState::Unreachable, "timed out").await;
    seen(&world, 5, HealthState::Inactive, "the service is dead").await;
    seen(
        &world,
        6,
        HealthState::Unhealthy,
        "<b>restarted 3 times\u{1b}",
    )
    .await;
    seen(&world, 7, HealthState::Active, "active").await;
    world.clock.advance(Duration::from_secs(600));
    // Looking again and seeing the same is no news.
    seen(&world, 4, HealthState::Unreachable, "timed out again").await;
    let text = overview(&world).await;
    let told = rows(card(&text));
    let expected = [
        ("web-002", "failed: nothing starts any more"),
        ("web-006", "unhealthy: &#60;b&#62;restarted 3 times\\x1b"),
        ("web-005", "inactive: the service is dead"),
        ("web-004", "unreachable: timed out again"),
        ("web-001", "rolled back: the disk is full"),
        ("web-003", "failed: no route to it"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (row, (name, why)) in told.iter().zip(expected) {
        assert!(row.starts_with(&format!("{name} {why} · since ")), "{row}");
    }
    for link in [
        "/admin/updates/hosts?needs_attention=true\">1 for a person".to_owned(),
        "/admin/updates/hosts?health=unhealthy\">1 unhealthy".to_owned(),
        "/admin/updates/hosts?health=inactive\">1 inactive".to_owned(),
        "/admin/updates/hosts?health=unreachable\">1 unreachable".to_owned(),
        format!(
            "/admin/updates/hosts?rollout={id}&#38;status=failed,rolled_back&#38;in_fleet=true\">3 rolled back or failed"
        ),
    ] {
        assert!(card(&text).contains(&link), "{link}: {}", card(&text));
    }
    // When it was first seen so, not when it was last looked at.
    let name = "web-004".parse().unwrap();
    let host = world.store.host_view(&name, None).await.unwrap().unwrap();
    let (since, looked) = (host.health_since.unwrap(), host.checked_at.unwrap());
    assert!(looked.since(since).as_secs() >= 600, "{since} {looked}");
    assert!(card(&text).contains(&format!("datetime=\"{since}\"")));
}

/// Where the links of a page lead that begin so.
fn links(text: &str, start: &str) -> Vec<String> {
    let targets = text.split("href=\"").skip(1);
    let targets = targets.map(|rest| rest.split('"').next().unwrap());
    targets
        .filter(|target| target.starts_with(start))
        .map(|target| target.replace("&#38;", "&"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_taken_out_waits_for_nobody_and_no_link_to_it_is_dead() {
    let world = World::new(3).await;
    let rolled_back = (
        AttemptStatus::RolledBack,
        Reason::InstallFailed,
        false,
        "the disk is full",
    );
    let lost = (
        AttemptStatus::Failed,
        Reason::Unreachable,
        false,
        "no route",
    );
    let id = world.ended(&[rolled_back, lost]).await;
    let gone = "web-001".parse().unwrap();
    world.store.host_remove(&gone, &actor()).await.unwrap();
    let text = overview(&world).await;
    let told = rows(card(&text));
    assert!(
        told.len() == 1 && told[0].starts_with("web-002 "),
        "{told:?}"
    );
    let token = world.token(Role::Viewer).await;
    let look = async |path: &str| {
        let call = Call::new("GET", path).token(&token);
        world.send(call.header("accept", "text/html")).await
    };
    let kind = links(card(&text), "/admin/updates/hosts?rollout=").remove(0);
    assert!(card(&text).contains(">1 rolled back or failed"));
    let listed = look(&kind).await.text();
    assert!(listed.contains("1 of them match"), "{kind}: {listed}");
    let mut hosts = Vec::new();
    for page in [
        "/admin/updates".to_owned(),
        format!("/admin/updates/rollouts/{id}"),
        format!("/admin/updates/hosts?rollout={id}"),
    ] {
        hosts.extend(links(&look(&page).await.text(), "/admin/updates/hosts/"));
    }
    assert!(hosts.iter().any(|link| link.contains("/web-001?")));
    for link in hosts {
        let answer = look(&link).await;
        assert_eq!(answer.status.as_u16(), 200, "{link}");
        let told = answer.text().contains("id=\"gone\"");
        assert_eq!(told, link.contains("web-001"), "{link}");
    }
    let past = look(&format!("/admin/updates/hosts/web-001?rollout={id}")).await;
    assert!(past.text().contains("the disk is full"));
    assert_eq!(look("/admin/updates/hosts/web-001").await.status, 404);

    // Another host has the name now; and one that was in the rollout has another name.
    let (heir, renamed) = (sample_host("web-001"), sample_host("web-009"));
    world.store.host_add(vec![heir], &actor()).await.unwrap();
    let before = "web-002".parse().unwrap();
    let edited = world.store.host_edit(&before, renamed, &actor()).await;
    assert_eq!(edited.unwrap().name.as_str(), "web-009");
    let past = look(&format!("/admin/updates/hosts/web-001?rollout={id}")).await;
    let past = past.text();
    assert!(past.contains("id=\"gone\"") && past.contains("the disk is full"));
    let heir = look("/admin/updates/hosts/web-001").await.text();
    assert!(!heir.contains("the disk is full"), "{heir}");
    for name in ["web-009", "web-002"] {
        let own = look(&format!("/admin/updates/hosts/{name}?rollout={id}")).await;
        let text = own.text();
        assert!(own.status == 200 && text.contains("no route"), "{name}");
        assert!(text.contains("<h1>web-009</h1>"), "{name}");
        // Its own history names it as it was called then.
        assert!(text.contains(&format!("/admin/updates/hosts/web-002?rollout={id}")));
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_only_the_most_urgent_are_shown_and_the_rest_is_a_link() {
    let world = World::new(40).await;
    for number in 1..=38 {
        let health = if number > 35 {
            HealthState::Unhealthy
        } else {
            HealthState::Unreachable
        };
        seen(&world, number, health, "so it is").await;
    }
    let text = overview(&world).await;
    let told = rows(card(&text));
    assert_eq!(told.len(), 10);
    assert!(told[0].starts_with("web-036 unhealthy"), "{told:?}");
    assert!(told[3].starts_with("web-001 unreachable"), "{told:?}");
    assert!(card(&text).contains("28 more."), "{}", card(&text));
    assert!(card(&text).contains("health=unreachable\">35 unreachable"));
}

/// How long the overview takes at its best: other programs use this machine too.
async fn taken(world: &World) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        assert!(overview(world).await.contains("unreachable: no route"));
        best = best.min(began.elapsed());
    }
    best
}

#[tokio::test]
async fn a_large_fleet_in_trouble_is_told_as_fast_and_in_as_few_words() {
    let (large, small) = (World::new(5000).await, World::new(100).await);
    for number in 1..=300 {
        seen(&large, number, HealthState::Unreachable, "no route to it").await;
    }
    let quiet = taken(&large).await;
    let mut sizes = Vec::new();
    for world in [&large, &small] {
        let request = PlanRequest {
            selection: Selection::All,
            to: None,
            policy: Policy::default(),
            message: None,
            actor: actor(),
            force: false,
        };
        let plan = world.orchestrator.plan(&request).await.unwrap();
        world.orchestrator.trigger(&plan, None).await.unwrap();
        let token = world.token(Role::Viewer).await;
        let status = world.get("/api/updates/status", &token).await;
        status.expect(200);
        sizes.push(status.body.len());
    }
    // Numbers have more digits, and that is all.
    assert!(sizes[0] < sizes[1] + 200, "{sizes:?} bytes");
    let busy = taken(&large).await;
    let most = Duration::from_millis(300);
    assert!(quiet < most && busy < most, "{quiet:?}, then {busy:?}");
}
