//! Several servers on one PostgreSQL, and somebody who means them ill: many triggers at once, a database that goes away. What
//! came of it is read from the hosts' own logs.

use std::collections::HashMap;
use std::time::Duration;

use fleet_testkit::{Door, Postgres, PostgresOptions, is_left_out};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::log::{installs_and_restarts, never_overlap, now};
use crate::support::{Base, Running, Site, client};

/// So often in an ordinary run; a longer one says more in the variable of this name.
fn rounds(usual: usize) -> usize {
    let said = std::env::var("ROLLOUT_TEST_ROUNDS").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(usual)
}

async fn servers(site: &Site, count: usize) -> Vec<Running> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(site.serve().await);
    }
    servers
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_triggers_at_once_one_is_taken() {
    if is_left_out("postgres") {
        return;
    }
    // Each round has its release, so that the rollout that is taken is not over before the last one is asked for.
    let slow = InstallBehaviour::Slow(Duration::from_secs(2));
    let release = |round| ReleaseSpec::good(format!("Round {round}")).install(slow);
    let site = Site::with_hosts(Base::Postgres, 2, release(0)).await;
    let servers = servers(&site, 3).await;
    // A caller may ask 30 times a minute, so there are as many as if all rounds took no longer; and few that come at once.
    let tokens = site.more_tokens((rounds(5) * 100 / 30 + 1).max(400)).await;
    let mut tokens = tokens.into_iter().cycle();
    let http = client();
    for round in 0..rounds(5) {
        let mut asking = JoinSet::new();
        for number in 0..100 {
            let url = servers[number % 3].url("/api/updates/trigger");
            let request = http
                .post(url)
                .bearer_auth(tokens.next().unwrap())
                .json(&json!({ "all": true, "settle_seconds": 0 }));
            asking.spawn(async move { request.send().await.unwrap().status() });
        }
        let mut answers: HashMap<StatusCode, usize> = HashMap::new();
        for status in asking.join_all().await {
            *answers.entry(status).or_default() += 1;
        }
        let expected = [(StatusCode::ACCEPTED, 1), (StatusCode::CONFLICT, 99)];
        assert_eq!(answers, expected.into(), "round {round}");
        let rollout = servers[round % 3].rollout_in(&["completed"]).await;
        assert_eq!(rollout["counts"]["success"], 2, "round {round}: {rollout}");
        let fleet = site.fleet.as_ref().unwrap();
        fleet.add_release(release(round + 1)).await.unwrap();
    }
    drop(servers);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_sent_once_leases_cannot_be_renewed() {
    if is_left_out("postgres") {
        return;
    }
    let fence = Duration::from_secs(3);
    let away = Duration::from_secs(10);
    let slow = InstallBehaviour::Slow(Duration::from_millis(500));
    let release = ReleaseSpec::good("Next").install(slow);
    let mut site = Site::with_git_in_logs(Base::Postgres, 30, release).await;
    let port = fleet_testkit::Postgres::shared().port();
    let door = Door::to(port);
    site.go_through(|url| url.replace(&port.to_string(), &door.port().to_string()));
    site.configure("[lease]\nlease = 6\nrenew = 1\nfence = 3\nslot_grace = 1\n");
    let servers = servers(&site, 2).await;
    let mut stream = servers[0].events(Some(0)).await;
    servers[0].trigger().await;
    let mut finished = 0;
    while finished < 3 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    let closed = now();
    door.close();
    tokio::time::sleep(away).await;
    let opened = now();
    door.open();
    let rollout = servers[1].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 30, "{rollout}");
    let fleet = site.fleet.as_ref().unwrap();
    let mut afterwards = 0;
    for host in fleet.hosts() {
        never_overlap(host);
        for began in installs_and_restarts(host) {
            let quiet = closed + fence + Duration::from_millis(300)..opened;
            assert!(
                !quiet.contains(&began),
                "{}: a change began at {:?}, {closed:?} to {opened:?} the database was away",
                host.name(),
                began
            );
            afterwards += usize::from(began >= opened);
        }
    }
    assert!(afterwards > 0, "nothing was left to do when it came back");
    drop(stream);
    drop(servers);
    site.end().await;
}

/// How long PostgreSQL is away, and the leases meanwhile. The long form, a minute with leases as they usually are, is run
/// when `ROLLOUT_TEST_LONG` is set.
fn outage() -> (Duration, Duration, &'static str) {
    match std::env::var_os("ROLLOUT_TEST_LONG") {
        Some(_) => (Duration::from_secs(60), Duration::from_secs(20), ""),
        None => (
            Duration::from_secs(9),
            Duration::from_secs(3),
            "[lease]\nlease = 6\nrenew = 1\nfence = 3\nslot_grace = 1\n",
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_crashes_in_the_middle_and_comes_back_later() {
    if is_left_out("postgres") {
        return;
    }
    let (away, fence, lease) = outage();
    let postgres: &Postgres = Box::leak(Box::new(Postgres::start(&PostgresOptions::default())));
    let slow = InstallBehaviour::Slow(Duration::from_millis(500));
    let release = ReleaseSpec::good("Next").install(slow);
    let site = Site::with_git_in_logs(Base::On(postgres), 20, release).await;
    site.configure(lease);
    let mut servers = servers(&site, 2).await;
    let mut stream = servers[0].events(Some(0)).await;
    servers[0].trigger().await;
    let mut finished = 0;
    while finished < 3 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    drop(stream);
    let gone = now();
    postgres.crash();
    let mut red = None;
    while now() < gone + away {
        for server in &servers {
            let (status, body) = server.get("/readyz").await;
            let ready = status == StatusCode::OK;
            // As long as the last renewal is fresh it may not have noticed.
            assert!(!ready || now() < gone + fence, "{body}");
            if !ready {
                assert_eq!(body["detail"], "the database does not answer");
                red.get_or_insert(now() - gone);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(red.is_some_and(|after| after <= fence), "{red:?}");
    let back = now();
    postgres.start_again();
    let rollout = servers[1].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 20, "{rollout}");
    let target = rollout["target"]["version"].as_str().unwrap();
    let quiet = gone + fence + Duration::from_millis(300)..back;
    let mut afterwards = 0;
    for host in site.fleet.as_ref().unwrap().hosts() {
        assert_eq!(host.head().await.unwrap(), target, "{}", host.name());
        let moves = host.git(&["reflog", "--format=%H"]).await.unwrap();
        assert_eq!(moves.matches(target).count(), 1, "{}", host.name());
        never_overlap(host);
        for began in installs_and_restarts(host) {
            let name = host.name();
            assert!(
                !quiet.contains(&began),
                "{name}: a change began at {:?} of {quiet:?}",
                began
            );
            afterwards += usize::from(began >= back);
        }
    }
    assert!(afterwards > 0, "nothing was left to do when it came back");
    for server in &mut servers {
        assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
        server.stop().await;
        let said = server.said();
        let lines = |word: &str| said.lines().filter(|line| line.contains(word)).count();
        assert_eq!(lines("the store cannot be used now"), 1, "{said}");
        assert_eq!(lines("the store can be used again"), 1, "{said}");
        assert!(lines(" WARN ") + lines(" ERROR ") < 10, "{said}");
    }
    site.end().await;
}
