//! A disk that is full in the middle of a rollout.

use std::process::Stdio;
use std::time::{Duration, Instant};

use fleet_testkit::{Disk, is_left_out};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use reqwest::StatusCode;

use crate::log::{installs_and_restarts, never_overlap, now};
use crate::support::{Base, Running, Site, until};

/// Short times, so that leases run out while the disk is full.
const LEASE: &str = "[lease]\nlease = 6\nrenew = 1\nfence = 3\nslot_grace = 1\n";

const FENCE: Duration = Duration::from_secs(3);

/// A server whose database is on this disk.
async fn serve_on(disk: &Disk, site: &Site) -> Running {
    site.serve_with(&[], |command| {
        let mut on_it = disk.on_it(command);
        on_it
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        *command = on_it;
    })
    .await
}

/// Moves the site's database to the disk.
fn move_to(disk: &Disk, site: &mut Site) {
    std::fs::copy(site.database(), disk.outside("rollout.db")).unwrap();
    let url = format!("sqlite://{}/rollout.db", disk.path().display());
    site.go_through(|_| url);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_all_changes_and_when_there_is_room_it_goes_on() {
    if is_left_out("unshare") {
        return;
    }
    let slow = InstallBehaviour::Slow(Duration::from_millis(500));
    let release = ReleaseSpec::good("Next").install(slow);
    let mut site = Site::with_git_in_logs(Base::Sqlite, 20, release).await;
    site.configure(LEASE);
    let disk = Disk::new(64 << 20);
    move_to(&disk, &mut site);
    let mut server = serve_on(&disk, &site).await;
    let mut stream = server.events(Some(0)).await;
    server.trigger().await;
    let mut finished = 0;
    while finished < 3 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    drop(stream);
    disk.fill();
    let red = until("it is not ready", async || {
        let (status, body) = server.get("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(body)
    })
    .await;
    assert_eq!(red["detail"], "no space is left for the database");
    // Nothing can be written down from here on. What is on record may still be sent, until the lease is stale.
    let quiet = now() + FENCE + Duration::from_millis(300);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        let (status, body) = server.get("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let entry = serde_json::json!({
        "name": "late", "address": "192.0.2.1", "user": "deploy", "repo": "/srv/app", "service": "app"
    });
    let (status, body) = server.post("/api/hosts", entry).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(body["detail"], "no space is left for the database");
    let freed = now();
    disk.free();
    let rollout = server.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 20, "{rollout}");
    assert_eq!(server.get("/readyz").await.0, StatusCode::OK);

    let target = rollout["target"]["version"].as_str().unwrap();
    let fleet = site.fleet.as_ref().unwrap();
    let mut afterwards = 0;
    for host in fleet.hosts() {
        assert_eq!(host.head().await.unwrap(), target, "{}", host.name());
        let moves = host.git(&["reflog", "--format=%H"]).await.unwrap();
        assert_eq!(moves.matches(target).count(), 1, "{}", host.name());
        never_overlap(host);
        for began in installs_and_restarts(host) {
            assert!(
                !(quiet..freed).contains(&began),
                "{}: a change began at {:?}; from {quiet:?} to {freed:?} the disk was full",
                host.name(),
                began
            );
            afterwards += usize::from(began >= freed);
        }
    }
    assert!(afterwards > 0, "nothing was left to do when there was room");
    let said = server.said();
    let lines = |word: &str| said.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("the store cannot be used now"), 1, "{said}");
    assert!(said.contains("no space left for the database"), "{said}");
    assert!(said.contains("free some space on its disk"), "{said}");
    assert_eq!(lines("the store can be used again"), 1, "{said}");
    let warnings = lines(" WARN ") + lines(" ERROR ");
    assert!(warnings < 10, "{said}");
    server.stop().await;
    site.end().await;
}
