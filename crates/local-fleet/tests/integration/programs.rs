//! The stand-ins: what systemd, sudo and bun would say.

use std::time::Duration;

use local_fleet::{
    Fault, InstallBehaviour, LocalFleet, LocalHost, ReleaseSpec, ServiceBehaviour, VerifyBehaviour,
};

use crate::client::{End, run};
use crate::{fleet, start};

/// Brings a host to the newest commit, installs and restarts; the restart's status is the answer's.
const UPDATE: &str = "cd app; git fetch -q origin main && git merge -q --ff-only FETCH_HEAD && bun install >&2; sudo -n systemctl restart app";

/// Updates a fleet of one to this release and runs a script on it.
async fn after_update(spec: ReleaseSpec, check: impl AsyncFnOnce(&LocalHost)) {
    let (_folder, fleet) = fleet(1).await;
    fleet.add_release(spec).await.unwrap();
    run(&fleet.hosts()[0], UPDATE).await;
    check(&fleet.hosts()[0]).await;
    fleet.stop().await;
}

/// Runs a script until its standard output is as expected.
async fn until(host: &LocalHost, script: &str, expected: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let stdout = run(host, script).await.stdout;
        if stdout == expected {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{script}: still {stdout:?}, not {expected:?}"
        );
    }
}

#[tokio::test]
async fn is_active_has_systemds_statuses() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let check = async |script: &str, stdout: &str, status: u32| {
        let output = run(host, script).await;
        assert_eq!(
            (output.stdout.as_str(), output.end),
            (stdout, End::Status(status)),
            "{script}"
        );
    };
    check("systemctl is-active app", "active\n", 0).await;
    check("systemctl is-active -- app.service", "active\n", 0).await;
    check("systemctl is-active --quiet app", "", 0).await;
    check("systemctl is-active other", "inactive\n", 4).await;
    check("systemctl is-active app.timer", "inactive\n", 4).await;
    check(
        "sudo -n systemctl stop app; systemctl is-active app",
        "inactive\n",
        3,
    )
    .await;
    check(
        "sudo -n systemctl start app; systemctl is-active app",
        "active\n",
        0,
    )
    .await;
    host.set_fault(Fault::UnitMissing).await.unwrap();
    check("systemctl is-active app", "inactive\n", 4).await;
    check("systemctl show -p LoadState --value app", "not-found\n", 0).await;
    check(
        "sudo -n systemctl restart app 2>&1",
        "Failed to restart app.service: Unit app.service not found.\n",
        5,
    )
    .await;
    host.clear_faults().await.unwrap();
    host.set_fault(Fault::UnitDown).await.unwrap();
    check("systemctl is-active app", "inactive\n", 3).await;
    fleet.stop().await;
}

#[tokio::test]
async fn show_prints_what_is_asked_in_its_own_order() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let expected =
        "MainPID=1000\nNRestarts=0\nLoadState=loaded\nActiveState=active\nSubState=running\n";
    for script in [
        "systemctl show -p ActiveState -p LoadState -p SubState -pMainPID -p NRestarts app",
        "systemctl show --no-pager --property=SubState,MainPID,NRestarts,LoadState,ActiveState -- app.service",
    ] {
        assert_eq!(run(host, script).await.stdout, expected, "{script}");
    }
    let limits = "systemctl show -p TimeoutStartUSec -p TimeoutStopUSec app";
    assert_eq!(
        run(host, limits).await.stdout,
        "TimeoutStartUSec=1min 30s\nTimeoutStopUSec=1min 30s\n"
    );
    host.set_unit_limits(Duration::from_millis(1500), Duration::from_secs(2))
        .unwrap();
    assert_eq!(
        run(host, limits).await.stdout,
        "TimeoutStartUSec=1s 500ms\nTimeoutStopUSec=2s\n"
    );
    let state = host.service_state().await.unwrap();
    assert_eq!(state.invocation.len(), 32);
    run(host, "sudo -n systemctl restart app").await;
    let later = host.service_state().await.unwrap();
    assert_ne!(state.invocation, later.invocation);
    assert_ne!(state.main_process, later.main_process);
    fleet.stop().await;
}

#[tokio::test]
async fn a_restart_needs_sudo() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let before = host.service_state().await.unwrap();
    assert_eq!(run(host, "systemctl restart app").await.end, End::Status(1));
    assert_eq!(
        run(host, "sudo -n -l systemctl restart app").await.end,
        End::Status(0)
    );
    host.set_fault(Fault::NoSudo).await.unwrap();
    for script in [
        "sudo -n -l systemctl restart app",
        "sudo -n systemctl restart app",
    ] {
        let output = run(host, script).await;
        assert_eq!(
            (output.stderr.as_str(), output.end),
            ("sudo: a password is required\n", End::Status(1))
        );
    }
    assert_eq!(host.service_state().await.unwrap(), before);
    host.clear_faults().await.unwrap();
    assert_eq!(
        run(host, "sudo -n timeout 5 systemctl restart app")
            .await
            .end,
        End::Status(0)
    );
    assert_ne!(
        host.service_state().await.unwrap().invocation,
        before.invocation
    );
    fleet.stop().await;
}

#[tokio::test]
async fn sudo_passes_no_lock_on() {
    let (_folder, fleet) = fleet(1).await;
    let script = "exec 9>lock; flock -n 9; sudo -n sh -c 'sleep 5 >/dev/null 2>&1 &'; exec 9>&-; flock -n lock echo free";
    let output = run(&fleet.hosts()[0], script).await;
    assert_eq!(output.stdout, "free\n", "{output:?}");
    fleet.stop().await;
}

#[tokio::test]
async fn a_crash_loop_looks_healthy_at_times_and_never_twice() {
    let beat = Duration::from_millis(300);
    let spec = ReleaseSpec::good("Loops").service(ServiceBehaviour::CrashLoop {
        up: beat,
        down: beat,
    });
    after_update(spec, async |host| {
        until(host, "systemctl is-active app", "active\n").await;
        let first = host.service_state().await.unwrap();
        until(host, "systemctl is-active app", "activating\n").await;
        until(host, "systemctl is-active app", "active\n").await;
        let second = host.service_state().await.unwrap();
        assert!(second.restarts > first.restarts, "{first:?} {second:?}");
        assert_ne!(first.invocation, second.invocation);
        assert_eq!(second.release.as_deref(), Some("r2"));
    })
    .await;
}

#[tokio::test]
async fn the_default_crash_loop_shows_in_any_two_looks_a_fifth_of_a_second_apart() {
    after_update(ReleaseSpec::crash_loops("Loops"), async |host| {
        let look = "systemctl show -p NRestarts -p InvocationID app";
        let output = run(host, &format!("{look}; sleep 0.2; {look}"))
            .await
            .stdout;
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(lines.len(), 4, "{output}");
        assert_ne!(lines[..2], lines[2..]);
    })
    .await;
}

#[tokio::test]
async fn a_service_may_not_start() {
    after_update(
        ReleaseSpec::fails_to_start("Does not start"),
        async |host| {
            let state = host.service_state().await.unwrap();
            assert_eq!(
                (state.active_state.as_str(), state.main_process),
                ("failed", 0)
            );
            let output = run(
                host,
                "sudo -n systemctl restart app; echo $?; systemctl is-active app",
            )
            .await;
            assert_eq!(
                (output.stdout.as_str(), output.end.clone()),
                ("1\nfailed\n", End::Status(3))
            );
            assert!(
                output.stderr.starts_with("Job for app.service failed"),
                "{output:?}"
            );
            assert_eq!(
                run(
                    host,
                    "sudo -n systemctl reset-failed app; systemctl is-active app"
                )
                .await
                .stdout,
                "inactive\n"
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_service_may_die_later() {
    let spec =
        ReleaseSpec::good("Dies").service(ServiceBehaviour::DiesAfter(Duration::from_millis(1500)));
    after_update(spec, async |host| {
        assert_eq!(
            run(
                host,
                "sudo -n systemctl restart app; systemctl is-active app"
            )
            .await
            .stdout,
            "active\n"
        );
        until(host, "systemctl is-active app", "failed\n").await;
        assert_eq!(
            run(host, "systemctl show -p Result app").await.stdout,
            "Result=exit-code\n"
        );
    })
    .await;
}

/// Restarts, and kills the client as soon as the unit is in this state.
fn killed_while(state: &str) -> String {
    format!(
        "sudo -n systemctl restart app & until [ \"$(systemctl is-active app)\" = {state} ]; do :; done; \
         kill -KILL $!; systemctl is-active app"
    )
}

#[tokio::test]
async fn a_slow_start_goes_on_when_the_client_is_killed() {
    let spec =
        ReleaseSpec::good("Slow").service(ServiceBehaviour::SlowStart(Duration::from_secs(2)));
    after_update(spec, async |host| {
        assert_eq!(
            run(host, &killed_while("activating")).await.stdout,
            "activating\n"
        );
        until(host, "systemctl is-active app", "active\n").await;
        let blocking = run(
            host,
            "sudo -n systemctl restart app; systemctl is-active app",
        )
        .await;
        assert_eq!(blocking.stdout, "active\n");
    })
    .await;
}

#[tokio::test]
async fn a_slow_stop_goes_on_when_the_client_is_killed() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let before = host.service_state().await.unwrap();
    host.set_fault(Fault::SlowStop(Duration::from_secs(2)))
        .await
        .unwrap();
    assert_eq!(
        run(host, &killed_while("deactivating")).await.stdout,
        "deactivating\n"
    );
    until(host, "systemctl is-active app", "active\n").await;
    assert_ne!(
        host.service_state().await.unwrap().invocation,
        before.invocation
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_release_breaks_only_the_hosts_it_names() {
    let (_folder, fleet) = fleet(2).await;
    let spec = ReleaseSpec::fails_to_start("Breaks one")
        .install(InstallBehaviour::TouchesLock)
        .only_on(["demo-01"]);
    fleet.add_release(spec).await.unwrap();
    let mut seen = Vec::new();
    for host in fleet.hosts() {
        let status = run(host, UPDATE).await.end;
        seen.push((
            status,
            host.service_state().await.unwrap().active_state,
            host.changes().await.unwrap(),
        ));
    }
    let expected = [
        (End::Status(0), "active".to_owned(), String::new()),
        (
            End::Status(1),
            "failed".to_owned(),
            " M bun.lock".to_owned(),
        ),
    ];
    assert_eq!(seen, expected);
    fleet.stop().await;
}

#[tokio::test]
async fn installs_do_what_the_release_says() {
    let install = "cd app && bun install";
    let behaves = async |behaviour, check: &dyn Fn(&str, &End, &str)| {
        let (_folder, fleet) = fleet(1).await;
        let host = &fleet.hosts()[0];
        fleet
            .add_release(ReleaseSpec::good("Install").install(behaviour))
            .await
            .unwrap();
        run(host, "cd app && git pull -q").await;
        let output = run(host, install).await;
        let installed =
            std::fs::read_to_string(host.repository().join("node_modules/.installed")).unwrap();
        check(&output.stdout, &output.end, &installed);
        fleet.stop().await;
    };
    behaves(InstallBehaviour::Ok, &|_, end, installed| {
        assert_eq!(*end, End::Status(0));
        assert!(installed.starts_with("r2 "), "{installed}");
    })
    .await;
    behaves(InstallBehaviour::Fail, &|_, end, installed| {
        assert_eq!((end, installed), (&End::Status(1), ""))
    })
    .await;
    behaves(InstallBehaviour::Noisy(3_000_000), &|out, end, _| {
        assert_eq!(*end, End::Status(0));
        assert!(out.len() > 3_000_000, "{} bytes", out.len());
    })
    .await;
    let (_folder, fleet) = fleet(1).await;
    let output = run(&fleet.hosts()[0], "mkdir empty && cd empty && bun install").await;
    assert_eq!(output.end, End::Status(1));
    assert_eq!(
        run(&fleet.hosts()[0], "bun --version").await.end,
        End::Status(0)
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_half_done_install_keeps_the_service_down() {
    after_update(
        ReleaseSpec::good("Hangs").install(InstallBehaviour::Fail),
        async |host| {
            assert_eq!(host.service_state().await.unwrap().active_state, "failed");
        },
    )
    .await;
}

#[tokio::test]
async fn an_installs_daemon_holds_the_lock_and_ends_with_the_fleet() {
    let (_folder, fleet) = fleet(1).await;
    let host = fleet.hosts()[0].clone();
    fleet
        .add_release(ReleaseSpec::good("Daemon").install(InstallBehaviour::Daemon))
        .await
        .unwrap();
    let script =
        "exec 9>lock; flock 9; cd app; git pull -q; bun install >/dev/null 2>&1; echo done";
    assert_eq!(run(&host, script).await.stdout, "done\n");
    assert_eq!(run(&host, "flock -n lock true").await.end, End::Status(1));
    assert_eq!(host.processes().await.len(), 1);
    fleet.stop().await;
    assert!(host.processes().await.is_empty());
}

#[tokio::test]
async fn the_apps_own_check_can_fail() {
    after_update(
        ReleaseSpec::good("Mute").verify(VerifyBehaviour::Fail),
        async |host| {
            assert_eq!(
                run(host, "systemctl is-active app").await.end,
                End::Status(0)
            );
            assert_eq!(run(host, "verify-app").await.end, End::Status(1));
        },
    )
    .await;
}

#[tokio::test]
async fn a_first_release_may_be_bad() {
    let (_folder, fleet) = start(
        LocalFleet::builder()
            .service("shop")
            .first_release(ReleaseSpec::crash_loops("Bad")),
    )
    .await;
    let host = &fleet.hosts()[0];
    assert_eq!(host.service(), "shop.service");
    until(
        host,
        "systemctl show -p SubState --value shop",
        "auto-restart\n",
    )
    .await;
    fleet.stop().await;
}
