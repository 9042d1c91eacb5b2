use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use health_checker::{Seen, probe, restart};
use ssh_exec::{
    ConnectError, Endpoint, HostGuard, Identity, RemoteCommand, Reply, ScriptedTransport,
    SessionError,
};

fn endpoint() -> Endpoint {
    Endpoint {
        name: "web-1".to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "app".to_owned(),
        identity: Identity::File("/nowhere".into()),
        host_keys: ssh_exec::HostKeys::default(),
        jump: None,
        connect_timeout: Duration::from_secs(5),
    }
}

fn service() -> ServiceName {
    "app".parse().unwrap()
}

fn guard() -> HostGuard {
    HostGuard {
        repo: "/srv/app".to_owned(),
        store: "s".to_owned(),
        epoch: 7,
        replace: None,
        wait_seconds: 5,
    }
}

/// A unit in this state, in its nth life.
fn unit(state: &str, life: u32) -> Reply {
    Reply::facts(&[
        ("LoadState", "loaded"),
        ("ActiveState", state),
        ("SubState", "x"),
        ("NRestarts", &life.to_string()),
        ("InvocationID", &format!("life-{life}")),
    ])
}

/// A host that gives these answers in turn, and then the last one for ever; and the commands that it got.
fn host(answers: Vec<Reply>) -> (ScriptedTransport, Arc<Mutex<Vec<RemoteCommand>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    let transport = ScriptedTransport::new(move |_, command| {
        let mut got = seen.lock().unwrap();
        got.push(command.clone());
        answers[(got.len() - 1).min(answers.len() - 1)].clone()
    });
    (transport, got)
}

#[tokio::test(start_paused = true)]
async fn what_a_look_comes_to() {
    use HealthState as H;
    let lost = || {
        Reply::Fail(SessionError::Lost {
            command: "health_probe",
            cause: "reset".to_owned(),
        })
    };
    let broken = Reply::Fail(SessionError::ShellBroken {
        command: "health_probe",
        cause: "exit 0".to_owned(),
    });
    let missing = Reply::facts(&[("LoadState", "not-found"), ("ActiveState", "inactive")]);
    let hostile = Reply::facts(&[
        ("LoadState", "loaded"),
        ("ActiveState", "active\u{1b}[31m<b>"),
    ]);
    for (what, answers, health, restartable) in [
        ("active", vec![unit("active", 0)], H::Active, false),
        ("reloading", vec![unit("reloading", 0)], H::Active, false),
        ("failed", vec![unit("failed", 0)], H::Inactive, true),
        ("stopped", vec![unit("inactive", 0)], H::Inactive, true),
        (
            "starting, then up",
            vec![unit("activating", 0), unit("active", 0)],
            H::Active,
            false,
        ),
        (
            "starting for ever",
            vec![unit("activating", 0)],
            H::Inactive,
            true,
        ),
        (
            "stopping, then down",
            vec![unit("deactivating", 0), unit("inactive", 0)],
            H::Inactive,
            true,
        ),
        ("no such unit", vec![missing], H::Inactive, false),
        (
            "systemctl says nothing",
            vec![Reply::facts(&[])],
            H::Unknown,
            false,
        ),
        ("a word nobody knows", vec![hostile], H::Unknown, false),
        ("lost", vec![lost()], H::Unreachable, false),
        (
            "lost at the second look",
            vec![unit("activating", 0), lost()],
            H::Unreachable,
            false,
        ),
        ("broken shell", vec![broken], H::Unreachable, false),
        (
            "mute",
            vec![unit("active", 0).after(Duration::from_secs(3600))],
            H::Unreachable,
            false,
        ),
    ] {
        let (transport, got) = host(answers);
        let seen = probe(&transport, &endpoint(), &service()).await.unwrap();
        assert_eq!(
            (seen.health, seen.can_be_restarted),
            (health, restartable),
            "{what}: {seen:?}"
        );
        assert!(!seen.message.chars().any(char::is_control), "{what}");
        let got = got.lock().unwrap();
        assert!(
            got.iter()
                .all(|command| command.guard().is_none() && command.name() == "health_probe")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_connected_to_is_unreachable_and_who_may_not_ask_knows_nothing() {
    let refused = |withheld: bool| {
        let (transport, _) = host(vec![unit("active", 0)]);
        transport.on_connect(move |endpoint| {
            let host = endpoint.name.clone();
            Err(if withheld {
                ConnectError::Withheld {
                    host,
                    cause: "no lease".to_owned(),
                }
            } else {
                ConnectError::Unreachable {
                    host,
                    address: "127.0.0.1:22".to_owned(),
                    cause: "refused".to_owned(),
                }
            })
        })
    };
    let seen = probe(&refused(false), &endpoint(), &service())
        .await
        .unwrap();
    assert_eq!(seen.health, HealthState::Unreachable);
    assert!(
        probe(&refused(true), &endpoint(), &service())
            .await
            .is_err()
    );
    assert!(
        restart(
            &refused(true),
            &endpoint(),
            &service(),
            guard(),
            Duration::ZERO
        )
        .await
        .is_err()
    );
}

async fn restarted(answers: Vec<Reply>) -> Seen {
    let (transport, got) = host(answers);
    let settle = Duration::from_secs(5);
    let seen = restart(&transport, &endpoint(), &service(), guard(), settle)
        .await
        .unwrap();
    let got = got.lock().unwrap();
    assert_eq!(
        got[0].guard(),
        Some(&guard()),
        "a restart is sent under lock and fence"
    );
    let restarts = got
        .iter()
        .filter(|command| command.name() == "health_restart")
        .count();
    assert_eq!(restarts, 1);
    seen
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_comes_to() {
    use HealthState as H;
    let lost = Reply::Fail(SessionError::Lost {
        command: "health_restart",
        cause: "reset".to_owned(),
    });
    let failed = Reply::exit(1, &[("LoadState", "loaded"), ("ActiveState", "failed")]);
    let busy = Reply::facts(&[("guard", "busy")]);
    for (what, answers, health) in [
        (
            "up and stays up",
            vec![unit("active", 1), unit("active", 1)],
            H::Active,
        ),
        (
            "slow to start",
            vec![
                unit("activating", 1),
                unit("activating", 1),
                unit("active", 1),
            ],
            H::Active,
        ),
        (
            "up again and again",
            vec![unit("active", 1), unit("active", 2)],
            H::Inactive,
        ),
        (
            "dies",
            vec![unit("active", 1), unit("failed", 1)],
            H::Inactive,
        ),
        ("does not start", vec![failed], H::Inactive),
        ("lost", vec![lost], H::Unreachable),
        ("locked", vec![busy], H::Inactive),
    ] {
        let seen = restarted(answers).await;
        assert_eq!(seen.health, health, "{what}: {seen:?}");
    }
}
