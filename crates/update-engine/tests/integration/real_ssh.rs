//! Step × fault over real SSH, with real git and a real shell, on hosts inside this process.

use std::time::Duration;

use fleet_types::{AttemptStatus, Outcome, StepTimeouts};
use local_fleet::{
    CommandFailure, CommandPoint, CutAt, Fault, LocalFleet, LocalHost, LogEvent, ReleaseSpec,
    ServiceBehaviour, Turn,
};
use local_fleet::{InstallBehaviour, VerifyBehaviour};
use ssh_exec::{Endpoint, HostKeys, Identity, RusshTransport};
use tempfile::TempDir;
use update_engine::testing::MemoryJournal;
use update_engine::{AttemptSpec, Goal, GuardSpec, run_attempt};

use crate::support::{app, left_behind};

struct Scene {
    fleet: LocalFleet,
    old: String,
    _folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fleet = LocalFleet::builder()
            .root(folder.path().join("fleet"))
            .start()
            .await
            .unwrap();
        let old = fleet.hosts()[0].head().await.unwrap();
        Self {
            fleet,
            old,
            _folder: folder,
        }
    }

    fn host(&self) -> &LocalHost {
        &self.fleet.hosts()[0]
    }

    fn spec(&self, target: &str) -> AttemptSpec {
        let host = self.host();
        let mut app = app();
        app.repo = host.repository().to_str().unwrap().parse().unwrap();
        app.service = host.service().parse().unwrap();
        app.verify = Some("verify-app".to_owned());
        app.min_free_mib = 1;
        app.timeouts = StepTimeouts {
            connect: 5,
            inspect: 10,
            pull: 4,
            install: 3,
            verify: 3,
            lock: 10,
            reconnect: 5,
            ..StepTimeouts::default()
        };
        AttemptSpec {
            endpoint: Endpoint {
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
                connect_timeout: Duration::from_secs(2),
            },
            app,
            goal: Goal::Update {
                target: target.parse().unwrap(),
                branch: Some("main".parse().unwrap()),
            },
            settle: Duration::from_millis(300),
            guard: GuardSpec {
                store: "store-1".to_owned(),
                epoch: 1,
            },
            progress: fleet_types::Progress::default(),
            left_behind: false,
        }
    }

    async fn assert_true(&self, case: &str, outcome: &Outcome, new: &str) {
        let host = self.host();
        let on = match outcome.status {
            AttemptStatus::Success => new,
            _ if outcome.touched && outcome.status == AttemptStatus::Failed => {
                assert!(outcome.needs_attention, "{case}: {outcome:?}");
                return;
            }
            _ => self.old.as_str(),
        };
        assert_eq!(host.head().await.unwrap(), on, "{case}: {outcome:?}");
        if !outcome.touched {
            assert!(!self.acted(), "{case}: {:?}", host.log());
            return;
        }
        assert_eq!(host.changes().await.unwrap(), "", "{case}");
        let service = host.service_state().await.unwrap();
        assert_eq!(
            (service.active_state.as_str(), service.commit.as_deref()),
            ("active", Some(on)),
            "{case}"
        );
        assert_eq!(service.release, service.installed, "{case}");
    }

    /// Whether the host installed or restarted anything.
    fn acted(&self) -> bool {
        let log = self.host().log().unwrap();
        log.iter().any(|entry| match &entry.event {
            LogEvent::Began(command) => {
                command.starts_with("bun install") || command.starts_with("systemctl restart")
            }
            _ => false,
        })
    }
}

fn shown(outcome: &Outcome) -> String {
    let (status, reason) = (outcome.status, outcome.reason);
    format!("{status} {reason}, {}", left_behind(outcome))
}

async fn check(case: &str, release: ReleaseSpec, faults: Vec<Fault>, expected: &str) {
    let scene = Scene::new().await;
    let new = scene.fleet.add_release(release).await.unwrap().commit;
    for fault in faults {
        scene.host().set_fault(fault).await.unwrap();
    }
    let mut journal = MemoryJournal::default();
    let outcome = run_attempt(scene.spec(&new), &RusshTransport::default(), &mut journal)
        .await
        .unwrap();
    assert_eq!(
        shown(&outcome),
        expected,
        "{case}: {outcome:?}\n{:#?}",
        scene.host().log()
    );
    scene.host().clear_faults().await.unwrap();
    scene.assert_true(case, &outcome, &new).await;
    scene.fleet.stop().await;
}

fn good() -> ReleaseSpec {
    ReleaseSpec::good("a good one")
}

fn cut(at: CutAt, script: &str, turn: Turn) -> Fault {
    Fault::cut(at).in_script(script).turn(turn)
}

/// Words that stand in the body of one step alone.
const INSPECT: &str = "Looks at everything an update depends on";
const PULL: &str = "Moves HEAD and tree from";
const CHECKOUT: &str = "branch attachment, index and tracked tree back to";
const INSTALL: &str = "own install command in the repository";
const RESTART: &str = "Restarts the service and says";
const VERIFY: &str = "Looks whether the service is active";

#[tokio::test]
async fn refusals_leave_the_host_alone() {
    use CommandFailure::Exit;
    let git = |sub| CommandPoint::Git(sub);
    let refused = |fault, expected: &'static str| (fault, expected);
    for (fault, expected) in [
        refused(Fault::Down, "failed unreachable, untouched"),
        refused(Fault::Mute, "failed unreachable, untouched"),
        refused(Fault::HangsUp(Turn::Every), "failed unreachable, untouched"),
        refused(Fault::AuthRefused, "failed auth_refused, untouched"),
        refused(Fault::HostKeyChanged, "failed host_key_changed, untouched"),
        refused(
            Fault::StartupFile("exit 0".to_owned()),
            "failed shell_broken, untouched",
        ),
        refused(
            Fault::ForcedCommand("echo FORCED; exit 7".to_owned()),
            "failed shell_broken, untouched",
        ),
        refused(Fault::NoSudo, "failed no_sudo, untouched"),
        refused(Fault::UnitMissing, "failed unit_missing, untouched"),
        refused(Fault::UnitMasked, "failed unit_missing, untouched"),
        refused(Fault::LowSpace(100), "failed no_space, untouched"),
        refused(Fault::DirtyTree, "failed dirty_tree, untouched"),
        refused(Fault::StaleIndexLock, "failed git_locked, untouched"),
        refused(Fault::StaleRefLock, "failed git_locked, untouched"),
        refused(Fault::DiskFull, "failed no_space, untouched"),
        refused(Fault::ReadOnlyRepository, "failed pull_failed, untouched"),
        refused(
            Fault::fails(git("rev-parse"), 128),
            "failed no_repo, untouched",
        ),
        refused(
            Fault::fails(git("status"), 128),
            "failed no_repo, untouched",
        ),
        refused(
            Fault::fails(git("fetch"), 128),
            "failed fetch_failed, untouched",
        ),
        refused(
            Fault::command(git("fetch"), CommandFailure::Hang(Duration::from_secs(600))),
            "failed timeout, untouched",
        ),
        refused(
            Fault::command(git("fetch"), CommandFailure::Killed),
            "failed fetch_failed, untouched",
        ),
        refused(
            Fault::fails(git("update-ref"), 128),
            "failed pull_failed, untouched",
        ),
        refused(
            Fault::fails(git("merge"), 128),
            "failed pull_failed, untouched",
        ),
        refused(
            Fault::command(
                git("merge"),
                Exit(1, "error: would be overwritten by merge:".to_owned()),
            ),
            "failed dirty_tree, untouched",
        ),
        refused(
            Fault::command(git("merge"), CommandFailure::Killed),
            "failed pull_failed, untouched",
        ),
    ] {
        check(&format!("{fault:?}"), good(), vec![fault], expected).await;
    }
}

#[tokio::test]
async fn a_lost_connection_in_any_step_forward_is_no_fault_of_the_host() {
    for (step, script) in [
        ("inspect", INSPECT),
        ("pull", PULL),
        ("install", INSTALL),
        ("restart", RESTART),
        ("verify", VERIFY),
    ] {
        for at in [
            CutAt::Before,
            CutAt::During(Duration::from_millis(40)),
            CutAt::After,
        ] {
            let case = format!("{step}, cut {at:?}");
            let fault = cut(at, script, Turn::First(2));
            check(&case, good(), vec![fault], "success updated, touched").await;
        }
    }
    for line in [
        "begin bun install",
        "end bun 0",
        "begin systemctl restart",
        "end systemctl 0",
        "begin verify-app",
    ] {
        let fault = Fault::cut(CutAt::WhenLogged(line.to_owned())).turn(Turn::Only(1));
        check(
            &format!("cut at {line}"),
            good(),
            vec![fault],
            "success updated, touched",
        )
        .await;
    }
}

#[tokio::test]
async fn a_lost_connection_in_any_step_back_is_no_fault_of_the_host() {
    for (step, script, turn) in [
        ("rollback_checkout", CHECKOUT, 1),
        ("rollback_install", INSTALL, 2),
        ("rollback_restart", RESTART, 2),
        ("rollback_verify", VERIFY, 2),
    ] {
        for at in [
            CutAt::Before,
            CutAt::During(Duration::from_millis(40)),
            CutAt::After,
        ] {
            let case = format!("{step}, cut {at:?}");
            let release = ReleaseSpec::crash_loops("does not stay up");
            let fault = cut(at, script, Turn::Only(turn));
            check(
                &case,
                release,
                vec![fault],
                "rolled_back crash_loop, touched",
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_forward_is_taken_back() {
    let command = |point, failure| Fault::Command {
        point,
        failure,
        turn: Turn::Only(1),
    };
    let exit = |code| CommandFailure::Exit(code, "error: fault injected".to_owned());
    let hang = || CommandFailure::Hang(Duration::from_secs(600));
    let (install, restart, verify) = (
        CommandPoint::Install,
        CommandPoint::Systemctl("restart"),
        CommandPoint::Verify,
    );
    for (fault, expected) in [
        (
            command(CommandPoint::Git("merge"), CommandFailure::DoneBut(1)),
            "rolled_back pull_failed, touched",
        ),
        (
            command(install.clone(), exit(1)),
            "rolled_back install_failed, touched",
        ),
        (
            command(install.clone(), exit(255)),
            "rolled_back install_failed, touched",
        ),
        (
            command(install.clone(), CommandFailure::Killed),
            "rolled_back install_failed, touched",
        ),
        (
            command(install.clone(), CommandFailure::DoneBut(1)),
            "rolled_back install_failed, touched",
        ),
        (command(install, hang()), "rolled_back timeout, touched"),
        (
            command(restart.clone(), exit(1)),
            "rolled_back restart_failed, touched",
        ),
        (
            command(restart.clone(), CommandFailure::Killed),
            "rolled_back restart_failed, touched",
        ),
        (
            command(restart, CommandFailure::DoneBut(1)),
            "rolled_back restart_failed, touched",
        ),
        (
            command(CommandPoint::Systemctl("is-active"), exit(1)),
            "rolled_back unhealthy, touched",
        ),
        (
            command(verify.clone(), exit(1)),
            "rolled_back unhealthy, touched",
        ),
        (command(verify, hang()), "rolled_back timeout, touched"),
    ] {
        check(&format!("{fault:?}"), good(), vec![fault], expected).await;
    }
}

#[tokio::test]
async fn a_step_that_fails_back_needs_attention() {
    let command = |point, turn, failure| Fault::Command {
        point,
        failure,
        turn,
    };
    let exit = || CommandFailure::Exit(1, "error: fault injected".to_owned());
    let failed = "failed rollback_failed, touched, needs attention";
    for (fault, expected) in [
        (
            command(CommandPoint::Git("reset"), Turn::Only(1), exit()),
            "rolled_back crash_loop, touched",
        ),
        (
            command(CommandPoint::Git("reset"), Turn::Every, exit()),
            failed,
        ),
        (
            command(
                CommandPoint::Git("reset"),
                Turn::Every,
                CommandFailure::DoneBut(1),
            ),
            "rolled_back crash_loop, touched",
        ),
        (
            command(CommandPoint::Install, Turn::Only(2), exit()),
            failed,
        ),
        (
            command(CommandPoint::Systemctl("restart"), Turn::Only(2), exit()),
            failed,
        ),
        (
            command(CommandPoint::Systemctl("is-active"), Turn::Only(2), exit()),
            failed,
        ),
    ] {
        let release = ReleaseSpec::crash_loops("does not stay up");
        check(&format!("{fault:?}"), release, vec![fault], expected).await;
    }
}

#[tokio::test]
async fn every_kind_of_bad_release_is_taken_back() {
    let second = Duration::from_secs(1);
    for (release, expected) in [
        (
            ReleaseSpec::crash_loops("loop"),
            "rolled_back crash_loop, touched",
        ),
        (
            ReleaseSpec::fails_to_start("fail"),
            "rolled_back restart_failed, touched",
        ),
        (
            good().service(ServiceBehaviour::DiesAfter(second / 10)),
            "rolled_back unhealthy, touched",
        ),
        (
            good().service(ServiceBehaviour::SlowStart(second / 2)),
            "success updated, touched",
        ),
        (
            good().install(InstallBehaviour::Fail),
            "rolled_back install_failed, touched",
        ),
        (
            good().install(InstallBehaviour::Hang),
            "rolled_back timeout, touched",
        ),
        // It holds what it got, but not the host's lock.
        (
            good().install(InstallBehaviour::Daemon),
            "success updated, touched",
        ),
        (
            good().install(InstallBehaviour::Noisy(10_000_000)),
            "success updated, touched",
        ),
        (
            good().verify(VerifyBehaviour::Fail),
            "rolled_back unhealthy, touched",
        ),
        (
            good().verify(VerifyBehaviour::Slow(second)),
            "success updated, touched",
        ),
        (
            ReleaseSpec::crash_loops("loop and lock").install(InstallBehaviour::TouchesLock),
            "rolled_back crash_loop, touched",
        ),
    ] {
        let case = format!("{release:?}");
        check(&case, release, vec![], expected).await;
    }
}

#[tokio::test]
async fn a_host_that_is_gone_for_good_needs_attention() {
    for script in [INSTALL, RESTART] {
        // Every sending of this step is lost: it fails after its re-runs, and the way back has the same step.
        let fault = cut(CutAt::Before, script, Turn::Every);
        let expected = "failed rollback_failed, touched, needs attention";
        check(&format!("{fault:?}"), good(), vec![fault], expected).await;
    }
    let scene = Scene::new().await;
    let new = scene
        .fleet
        .add_release(good().install(InstallBehaviour::Slow(Duration::from_secs(1))))
        .await
        .unwrap();
    let spec = scene.spec(&new.commit);
    let mut journal = MemoryJournal::default();
    let transport = RusshTransport::default();
    let goes_down = async {
        while !scene.acted() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scene.host().set_fault(Fault::Down).await.unwrap();
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = run_attempt(spec, &transport, &mut journal) => outcome.unwrap(),
        () = goes_down => unreachable!("it waits for ever"),
    };
    assert_eq!(
        shown(&outcome),
        "failed outcome_unknown, touched, needs attention",
        "{outcome:?}"
    );

    // When it is back, another worker finishes from what is on record.
    scene.host().clear_faults().await.unwrap();
    let mut progress = journal.progress.clone();
    progress.step = Some(fleet_types::StepId::Install);
    let mut spec = scene.spec(&new.commit);
    spec.guard.epoch = 2;
    spec.progress = progress.clone();
    let outcome = run_attempt(
        spec,
        &transport,
        &mut MemoryJournal::with_progress(progress),
    )
    .await
    .unwrap();
    assert_eq!(shown(&outcome), "success updated, touched", "{outcome:?}");
    scene.assert_true("afterwards", &outcome, &new.commit).await;
    scene.fleet.stop().await;
}

#[tokio::test]
async fn a_host_that_reboots_in_mid_update_is_finished() {
    let scene = Scene::new().await;
    let new = scene
        .fleet
        .add_release(good().install(InstallBehaviour::Slow(Duration::from_secs(1))))
        .await
        .unwrap();
    let reboots = async {
        while !scene.acted() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scene.host().reboot().await.unwrap();
        std::future::pending::<()>().await;
    };
    let mut journal = MemoryJournal::default();
    let transport = RusshTransport::default();
    let outcome = tokio::select! {
        outcome = run_attempt(scene.spec(&new.commit), &transport, &mut journal) => outcome.unwrap(),
        () = reboots => unreachable!("it waits for ever"),
    };
    assert_eq!(shown(&outcome), "success updated, touched", "{outcome:?}");
    scene.assert_true("reboot", &outcome, &new.commit).await;
    scene.fleet.stop().await;
}

#[tokio::test]
async fn one_connection_before_the_settle_wait_and_one_after_it() {
    for (settle, connections) in [(0, 1), (100, 2)] {
        let scene = Scene::new().await;
        let new = scene.fleet.add_release(good()).await.unwrap().commit;
        let mut spec = scene.spec(&new);
        spec.settle = Duration::from_millis(settle);
        let mut journal = MemoryJournal::default();
        run_attempt(spec, &RusshTransport::default(), &mut journal)
            .await
            .unwrap();
        assert_eq!(
            (scene.host().connections(), scene.host().commands()),
            (connections, 5),
            "settle {settle} ms"
        );
        scene.fleet.stop().await;
    }
}
