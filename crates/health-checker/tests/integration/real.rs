use std::time::{Duration, Instant};

use fleet_types::HealthState;
use health_checker::{Restarted, Seen, after_lost_restart, probe, restart};
use local_fleet::{CommandFailure, CommandPoint, CutAt, Fault, LocalFleet, LocalHost, Turn};
use ssh_exec::{Endpoint, HostGuard, HostKeys, Identity, RusshTransport};

const SETTLE: Duration = Duration::from_millis(200);

fn endpoint(host: &LocalHost) -> Endpoint {
    Endpoint {
        name: host.name().to_owned(),
        address: host.address().to_owned(),
        port: host.port(),
        user: host.user().to_owned(),
        identity: Identity::File(host.client_key().to_owned()),
        host_keys: HostKeys {
            pinned: vec![host.host_key()],
            known_hosts: None,
        },
        jump: None,
        connect_timeout: Duration::from_secs(5),
    }
}

fn guard(host: &LocalHost, epoch: i64) -> HostGuard {
    HostGuard {
        repo: host.repository().display().to_string(),
        store: "store".to_owned(),
        epoch,
        replace: None,
        wait_seconds: 2,
    }
}

async fn restarted(host: &LocalHost, epoch: i64) -> Restarted {
    let service = host.service().parse().unwrap();
    let transport = RusshTransport::default();
    restart(
        &transport,
        &endpoint(host),
        &service,
        guard(host, epoch),
        SETTLE,
    )
    .await
    .unwrap()
}

/// What became of one whose answer is lost.
async fn after_loss(host: &LocalHost, epoch: i64) -> Seen {
    let service = host.service().parse().unwrap();
    let transport = RusshTransport::default();
    let guard = guard(host, epoch);
    after_lost_restart(&transport, &endpoint(host), &service, guard, SETTLE)
        .await
        .unwrap()
}

async fn fleet(folder: &tempfile::TempDir) -> LocalFleet {
    LocalFleet::builder()
        .root(folder.path().join("fleet"))
        .start()
        .await
        .unwrap()
}

/// The connection is reset in the middle of a restart that takes its time, and before one that never comes to the host.
#[tokio::test]
async fn a_restart_that_is_cut_off_is_seen_to_its_end_on_a_real_shell() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(&folder).await;
    let host = &fleet.hosts()[0];
    let restarting = CommandPoint::Systemctl("restart");
    for (epoch, at, health) in [
        (
            10,
            CutAt::During(Duration::from_millis(500)),
            HealthState::Active,
        ),
        (20, CutAt::After, HealthState::Active),
        (30, CutAt::Before, HealthState::Inactive),
    ] {
        host.set_fault(Fault::UnitDown).await.unwrap();
        let slow = CommandFailure::Hang(Duration::from_secs(2));
        for fault in [
            Fault::command(restarting.clone(), slow).turn(Turn::Only(1)),
            Fault::cut(at.clone())
                .in_script("systemctl restart")
                .turn(Turn::Only(1)),
        ] {
            host.set_fault(fault).await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(restarted(host, epoch).await, Restarted::Lost, "{at:?}");
        let seen = after_loss(host, epoch + 1).await;
        assert_eq!(seen.health, health, "{at:?}: {seen:?}");
        let active = host.service_state().await.unwrap().active_state == "active";
        assert_eq!(active, health == HealthState::Active, "{at:?}");
        if active {
            let waited = begun.elapsed();
            assert!(waited > Duration::from_secs(2), "{at:?}: {waited:?}");
        }
        host.clear_faults().await.unwrap();
        // One that was still on its way would come too late.
        let store = "store".to_owned();
        let late = Restarted::Fenced {
            store,
            epoch: epoch + 1,
        };
        assert_eq!(restarted(host, epoch).await, late, "{at:?}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_stopped_service_is_started_again_on_a_real_shell() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(&folder).await;
    let host = &fleet.hosts()[0];
    let endpoint = endpoint(host);
    let transport = RusshTransport::default();
    let service = host.service().parse().unwrap();
    let head = host.head().await.unwrap();

    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    // What is active is left alone, even by a restart.
    let life = host.service_state().await.unwrap().invocation;
    let seen = not_done(restarted(host, 1).await);
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    assert_eq!(host.service_state().await.unwrap().invocation, life);

    host.set_fault(Fault::UnitDown).await.unwrap();
    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert_eq!(
        (seen.health, seen.can_be_restarted),
        (HealthState::Inactive, true),
        "{seen:?}"
    );
    let seen = done(restarted(host, 2).await);
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    assert_eq!(host.service_state().await.unwrap().active_state, "active");

    // The host refuses who was overtaken.
    host.set_fault(Fault::UnitDown).await.unwrap();
    let store = "store".to_owned();
    assert_eq!(
        restarted(host, 1).await,
        Restarted::Fenced { store, epoch: 2 }
    );
    assert_ne!(host.service_state().await.unwrap().active_state, "active");

    host.set_fault(Fault::NoSudo).await.unwrap();
    let seen = done(restarted(host, 3).await);
    assert_eq!(seen.health, HealthState::Inactive);
    assert!(seen.message.contains("password"), "{seen:?}");

    host.set_fault(Fault::UnitMissing).await.unwrap();
    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert!(!seen.can_be_restarted, "{seen:?}");

    host.set_down(true).await.unwrap();
    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert_eq!(seen.health, HealthState::Unreachable, "{seen:?}");
    assert_eq!(host.head().await.unwrap(), head, "git is left alone");
    fleet.stop().await;
}

#[track_caller]
fn done(restarted: Restarted) -> Seen {
    match restarted {
        Restarted::Done(seen) => seen,
        other => panic!("not done: {other:?}"),
    }
}

#[track_caller]
fn not_done(restarted: Restarted) -> Seen {
    match restarted {
        Restarted::NotDone(seen) => seen,
        other => panic!("done, or fenced: {other:?}"),
    }
}
