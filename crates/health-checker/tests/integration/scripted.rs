use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use health_checker::{Restarted, after_lost_restart, probe, restart};
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

const SETTLE: Duration = Duration::from_secs(5);

fn outranking() -> HostGuard {
    HostGuard {
        epoch: 8,
        ..guard()
    }
}

/// A restart, and what became of it when its answer is lost.
async fn seen_to_its_end(transport: &ScriptedTransport) -> Restarted {
    let restarted = restart(transport, &endpoint(), &service(), guard(), SETTLE)
        .await
        .unwrap();
    if restarted != Restarted::Lost {
        return restarted;
    }
    after_lost_restart(transport, &endpoint(), &service(), outranking(), SETTLE)
        .await
        .map_or_else(Restarted::Unwatched, Restarted::Done)
}

async fn restarted(answers: Vec<Reply>) -> Restarted {
    let (transport, got) = host(answers);
    let restarted = seen_to_its_end(&transport).await;
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
    restarted
}

/// In a word: whether it was done, and how the service is.
fn word(restarted: &Restarted) -> String {
    match restarted {
        Restarted::Done(seen) => format!("done, {}", seen.health),
        Restarted::NotDone(seen) => format!("not done, {}", seen.health),
        Restarted::Fenced { store, epoch } => format!("fenced by {store} {epoch}"),
        Restarted::Lost => "lost".to_owned(),
        Restarted::Unwatched(_) => "unwatched".to_owned(),
    }
}

fn lost() -> Reply {
    Reply::Fail(SessionError::Lost {
        command: "health_restart",
        cause: "reset".to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_comes_to() {
    let failed = Reply::exit(1, &[("LoadState", "loaded"), ("ActiveState", "failed")]);
    let busy = Reply::exit(75, &[("guard", "busy")]);
    let fenced = Reply::exit(
        76,
        &[
            ("guard", "fenced"),
            ("fence_store", "s"),
            ("fence_epoch", "9"),
        ],
    );
    let alone = Reply::facts(&[
        ("left_alone", "1"),
        ("LoadState", "loaded"),
        ("ActiveState", "active"),
    ]);
    let same = Reply::facts(&[("LoadState", "loaded"), ("ActiveState", "active")]);
    let broken = Reply::Fail(SessionError::ShellBroken {
        command: "health_restart",
        cause: "exit 0".to_owned(),
    });
    for (what, answers, expected) in [
        (
            "up and stays up",
            vec![unit("active", 1), unit("active", 1)],
            "done, active",
        ),
        (
            "slow to start",
            vec![
                unit("activating", 1),
                unit("activating", 1),
                unit("active", 1),
            ],
            "done, active",
        ),
        (
            "up again and again",
            vec![unit("active", 1), unit("active", 2)],
            "done, inactive",
        ),
        (
            "dies",
            vec![unit("active", 1), unit("failed", 1)],
            "done, inactive",
        ),
        ("does not start", vec![failed], "done, inactive"),
        (
            "not seen again",
            vec![unit("active", 1), lost()],
            "done, unreachable",
        ),
        ("locked", vec![busy], "not done, inactive"),
        ("outranked", vec![fenced], "fenced by s 9"),
        ("up by then", vec![alone, same], "not done, active"),
        ("broken shell", vec![broken], "not done, unreachable"),
    ] {
        let restarted = restarted(answers).await;
        assert_eq!(word(&restarted), expected, "{what}: {restarted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_whose_answer_is_lost_is_judged_by_what_is_seen() {
    let mute = unit("active", 1).after(Duration::from_secs(3600));
    let busy = Reply::exit(75, &[("guard", "busy")]);
    for (what, answers, expected) in [
        (
            "cut, and up",
            vec![lost(), unit("active", 1)],
            "done, active",
        ),
        (
            "mute, and up",
            vec![mute, unit("active", 1)],
            "done, active",
        ),
        (
            "cut, and slow to start",
            vec![lost(), unit("activating", 1), unit("active", 1)],
            "done, active",
        ),
        (
            "cut, and it takes its time",
            vec![
                lost(),
                unit("active", 1).after(Duration::from_secs(180)),
                unit("active", 1),
            ],
            "done, active",
        ),
        (
            "cut, and down",
            vec![lost(), unit("failed", 1)],
            "done, inactive",
        ),
        (
            "cut, and does not stay up",
            vec![lost(), unit("active", 1), unit("active", 2)],
            "done, inactive",
        ),
        ("cut for good", vec![lost()], "done, unreachable"),
        (
            "cut, and without an end",
            vec![lost(), busy],
            "done, unknown",
        ),
    ] {
        let restarted = restarted(answers).await;
        assert_eq!(word(&restarted), expected, "{what}: {restarted:?}");
    }
    // The first look is under the lock that the restart holds, for as long as that may take; the others are not.
    let (transport, got) = host(vec![lost(), unit("active", 1)]);
    seen_to_its_end(&transport).await;
    let got = got.lock().unwrap();
    let looks: Vec<_> = got[1..].iter().map(RemoteCommand::guard).collect();
    let patient = HostGuard {
        wait_seconds: 205,
        ..outranking()
    };
    assert_eq!(looks, [Some(&patient), None]);
}

/// A host that is there for the first connections, then for none for a while.
fn absent(from: usize, tries: usize, withheld: bool) -> ScriptedTransport {
    let (transport, _) = host(vec![lost(), unit("active", 1)]);
    let count = Mutex::new(0);
    transport.on_connect(move |endpoint| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let host = endpoint.name.clone();
        if !(from..from + tries).contains(&*count) {
            return Ok(());
        }
        let cause = "refused".to_owned();
        Err(if withheld {
            ConnectError::Withheld { host, cause }
        } else {
            ConnectError::Unreachable {
                host,
                address: "127.0.0.1:22".to_owned(),
                cause,
            }
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_for_a_while_after_a_restart_is_waited_for() {
    for (what, transport, expected) in [
        ("never there", absent(1, 99, false), "not done, unreachable"),
        ("away for a while", absent(2, 5, false), "done, active"),
        ("away for good", absent(2, 99, false), "done, unreachable"),
        ("nobody may ask", absent(2, 99, true), "unwatched"),
    ] {
        let begun = tokio::time::Instant::now();
        let restarted = seen_to_its_end(&transport).await;
        assert_eq!(word(&restarted), expected, "{what}: {restarted:?}");
        assert!(begun.elapsed() < Duration::from_secs(90), "{what}");
    }
}
