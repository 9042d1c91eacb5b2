use std::time::Duration;

use fleet_types::HealthState;
use health_checker::{Restarted, Seen, probe, restart};
use local_fleet::{Fault, LocalFleet};
use ssh_exec::{Endpoint, HostGuard, HostKeys, Identity, RusshTransport};

#[tokio::test]
async fn a_stopped_service_is_started_again_on_a_real_shell() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = LocalFleet::builder()
        .root(folder.path().join("fleet"))
        .start()
        .await
        .unwrap();
    let host = &fleet.hosts()[0];
    let endpoint = Endpoint {
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
    };
    let transport = RusshTransport::default();
    let service = host.service().parse().unwrap();
    let guard = |epoch| HostGuard {
        repo: host.repository().display().to_string(),
        store: "store".to_owned(),
        epoch,
        replace: None,
        wait_seconds: 2,
    };
    let settle = Duration::from_millis(200);
    let head = host.head().await.unwrap();

    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    // What is active is left alone, even by a restart.
    let life = host.service_state().await.unwrap().invocation;
    let again = async |epoch| {
        restart(&transport, &endpoint, &service, guard(epoch), settle)
            .await
            .unwrap()
    };
    let seen = not_done(again(1).await);
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    assert_eq!(host.service_state().await.unwrap().invocation, life);

    host.set_fault(Fault::UnitDown).await.unwrap();
    let seen = probe(&transport, &endpoint, &service).await.unwrap();
    assert_eq!(
        (seen.health, seen.can_be_restarted),
        (HealthState::Inactive, true),
        "{seen:?}"
    );
    let seen = done(again(2).await);
    assert_eq!(seen.health, HealthState::Active, "{seen:?}");
    assert_eq!(host.service_state().await.unwrap().active_state, "active");

    // The host refuses who was overtaken.
    host.set_fault(Fault::UnitDown).await.unwrap();
    let store = "store".to_owned();
    assert_eq!(again(1).await, Restarted::Fenced { store, epoch: 2 });
    assert_ne!(host.service_state().await.unwrap().active_state, "active");

    host.set_fault(Fault::NoSudo).await.unwrap();
    let seen = done(again(3).await);
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
