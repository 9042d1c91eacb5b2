//! Three servers on one PostgreSQL, one of them killed every three seconds. What came of it is read from the hosts' own logs.
//!
//! With `ROLLOUT_TEST_LONG` each is as if on a machine of its own: nobody can see that another's process is gone, so that only
//! its lease tells, and five connections of the dead are five that nobody has. That takes five minutes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_store::Feed;
use fleet_testkit::{Postgres, is_left_out};
use fleet_types::{Event, EventKind, Seq};
use local_fleet::{Change, InstallBehaviour, ReleaseSpec};

use crate::log::{changes, never_overlap, now};
use crate::support::{Base, Running, Site};

/// One of the servers dies so often.
const EVERY: Duration = Duration::from_secs(3);

/// How long after the death of its server a host may be left, 99 times of 100: a lease of 30 s and half of that again.
const LEFT_ALONE: Duration = Duration::from_secs(45);

/// It ends, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(3600);

fn is_long() -> bool {
    std::env::var_os("ROLLOUT_TEST_LONG").is_some()
}

/// The same program in a pid namespace of its own, where it dies with this child.
fn apart(command: &mut Command) {
    let mut inside = Command::new("unshare");
    inside
        .args(["--user", "--map-current-user", "--pid", "--fork"])
        .args(["--kill-child=KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        inside.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        inside.current_dir(folder);
    }
    *command = inside;
}

async fn serve(site: &Site) -> Running {
    match is_long() {
        true => site.serve_with(&[], apart).await,
        false => site.serve().await,
    }
}

/// The hosts that a server holds for an update, which is alive or has just been killed.
fn held_by(site: &Site, process: &str) -> Vec<String> {
    let (_, database) = site.database_url().rsplit_once('/').unwrap();
    let held = Postgres::shared().sql(
        database,
        &format!(
            "SELECT hosts.name FROM hosts JOIN workers ON workers.id = hosts.lease_worker \
             WHERE hosts.lease_purpose = 'update' AND workers.process LIKE '%{process},%'"
        ),
    );
    held.lines().map(str::to_owned).collect()
}

/// What is said in the store of this server's process and of no other's; and its pid namespace, if it has one. As long as that is
/// kept open no other one gets its number, by which the next process in it would know that this one is gone.
fn process(server: &Running) -> (String, Option<File>) {
    let pid = server.process();
    if !is_long() {
        return (format!("\"pid\":{pid}"), None);
    }
    // Each is the first of its namespace.
    let namespace = File::open(format!("/proc/{pid}/ns/pid_for_children")).unwrap();
    let number = namespace.metadata().unwrap().ino();
    (format!("\"pid_namespace\":{number}"), Some(namespace))
}

/// Milliseconds since 1970.
fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A server's death, and the hosts that it held.
struct Death {
    at: i64,
    /// It was dead by then.
    by: i64,
    held: Vec<String>,
    _namespace: Option<File>,
}

/// How long each of these hosts waited until somebody took it over. One whose end was on record when its server died, and the
/// lease not yet seen to be given back, was not waiting.
fn left_alone(deaths: &[Death], events: &[Event]) -> Vec<Duration> {
    let mut waits = Vec::new();
    for death in deaths {
        for host in &death.held {
            let of_host = |event: &&Event| event.host.as_ref() == Some(host);
            let next = |kind| {
                let later = |event: &&Event| event.kind == kind && event.at.0 >= death.at;
                let mut found = events.iter().filter(of_host);
                found.find(later).map(|event| event.at.0)
            };
            if let Some(at) = next(EventKind::HostTakenOver) {
                waits.push(Duration::from_millis((at - death.at).unsigned_abs()));
                continue;
            }
            let mut ends = events
                .iter()
                .filter(of_host)
                .filter(|it| it.kind == EventKind::HostFinished);
            assert!(
                ends.any(|end| end.at.0 <= death.by),
                "{host}: nobody took it over"
            );
        }
    }
    waits.sort();
    waits
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a figure to publish")]
async fn servers_that_are_killed_again_and_again_leave_every_host_updated_once() {
    if is_left_out("postgres") || (is_long() && is_left_out("unshare")) {
        return;
    }
    let slow = InstallBehaviour::Slow(Duration::from_millis(700));
    let release = ReleaseSpec::good("Next").install(slow);
    let site = Site::with_git_in_logs(Base::Postgres, 60, release).await;
    let fleet = site.fleet.as_ref().unwrap();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(serve(&site).await);
    }
    servers[1].trigger().await;
    let mut deaths = Vec::new();
    let began = tokio::time::Instant::now();
    let mut next = began + EVERY;
    // The one in the middle lives on and tells how far it is.
    for victim in [0, 2].into_iter().cycle() {
        tokio::time::sleep_until(next).await;
        let (process, namespace) = process(&servers[victim]);
        // Whoever watches takes a host over at once, so they are noted before.
        let held = held_by(&site, &process);
        let at = wall();
        servers[victim].kill().await;
        deaths.push(Death {
            at,
            by: wall(),
            held,
            _namespace: namespace,
        });
        servers[victim] = serve(&site).await;
        next = next.max(tokio::time::Instant::now()) + EVERY;
        let (_, status) = servers[1].get("/api/updates/status").await;
        if status["rollout"]["state"] != "running" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", status["rollout"]);
    }
    let rollout = servers[1].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 60, "{rollout}");
    let store = site.store().await;
    let events = store.events_after(Seq(0), None, 1_000_000).await.unwrap();

    // HEAD went to the target, once, and nothing changed the host after its outcome was on record.
    let target = rollout["target"]["version"].as_str().unwrap();
    let finished = events
        .iter()
        .filter(|it| it.kind == EventKind::HostFinished);
    let mut outcomes: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in finished {
        let host = event.host.as_deref().unwrap();
        outcomes.entry(host).or_default().push(event.at.0);
    }
    let booted = wall() - i64::try_from(now().as_millis()).unwrap();
    for host in fleet.hosts() {
        let name = host.name();
        assert_eq!(host.head().await.unwrap(), target, "{name}");
        let moves = host.git(&["reflog", "--format=%H"]).await.unwrap();
        let to_target = moves.lines().filter(|line| *line == target).count();
        assert_eq!(to_target, 1, "{name}: {moves}");
        never_overlap(host);
        let [recorded] = outcomes[name][..] else {
            panic!("{name} has other than one outcome: {:?}", outcomes[name]);
        };
        let ends = |change: Change| change.ended.unwrap_or(change.began);
        let last = changes(host).into_iter().map(ends).max().unwrap();
        // Both clocks tell hundredths of a second.
        assert!(
            i64::try_from(last.as_millis()).unwrap() <= recorded - booted + 50,
            "{name}: changed at {last:?}, {} ms after its outcome was on record",
            i64::try_from(last.as_millis()).unwrap() - (recorded - booted)
        );
    }
    let most = fleet.max_connections_seen();
    assert!(most <= 5, "{most} connections at once");

    let waits = left_alone(&deaths, &events);
    assert!(
        !waits.is_empty(),
        "no server held a host when it was killed"
    );
    let [p50, p99, longest] = [50, 99, 100].map(|part| waits[(waits.len() - 1) * part / 100]);
    println!(
        "{} servers were killed, with {} hosts in hand; these were taken over within {p50:?} (p50), {p99:?} (p99), {longest:?} (all)",
        deaths.len(),
        waits.len()
    );
    assert!(p99 < LEFT_ALONE, "{p99:?}");
    drop(servers);
    site.end().await;
}
