//! Whether the dependencies are there and the service runs.

use fleet_types::{CommitHash, Reason, StepId};
use ssh_exec::CommandOutput;

use super::{dirty_message, space_or};
use crate::facts::{Tree, Unit};
use crate::failure::{Failure, telling_line, with_detail};

/// Whether the install command succeeded.
pub(crate) fn judge_install(output: &CommandOutput, step: StepId) -> Result<(), Failure> {
    if output.exit == 0 && output.fact("rc") == Some("0") {
        return Ok(());
    }
    let said = telling_line(output);
    let (reason, cause) = match output.exit {
        _ if output.fact("failed") == Some("no_repo") => (
            Reason::NoRepo,
            output
                .fact("why")
                .unwrap_or("the repository is gone")
                .to_owned(),
        ),
        _ if output.fact("timed_out").is_some() => (
            Reason::Timeout,
            "the install command took longer than allowed and was ended".to_owned(),
        ),
        137 => (
            Reason::InstallFailed,
            "the install command was killed by signal 9 (out of memory?)".to_owned(),
        ),
        127 => (
            Reason::NoInstallCommand,
            "the install command was not found".to_owned(),
        ),
        code => (
            space_or(&said, Reason::InstallFailed),
            format!("the install command ended with exit code {code}"),
        ),
    };
    Err(Failure::new(step, reason, with_detail(&cause, &said)))
}

/// Whether the service was restarted, and what it was like then. `before` is what it was like when last seen.
pub(crate) fn judge_restart(
    output: &CommandOutput,
    step: StepId,
    before: &Unit,
) -> Result<Unit, Failure> {
    let now = Unit::of(output);
    if output.exit != 0 || output.fact("rc") != Some("0") {
        let limit = if output.fact("start_limit").is_some() {
            " (systemd's start limit was hit)"
        } else {
            ""
        };
        let cause = format!(
            "systemctl restart ended with exit code {}{limit}",
            output.exit
        );
        // The look before asks sudo too, but a rule that wants a password answers like one that does not.
        let said = output.stderr.text();
        // The second are the words of sudo-rs.
        let refused = [
            "a password is required",
            "interactive authentication is required",
        ]
        .iter()
        .any(|words| said.contains(words));
        let reason = if refused {
            Reason::NoSudo
        } else {
            Reason::RestartFailed
        };
        return Err(Failure::new(
            step,
            reason,
            with_detail(&cause, &telling_line(output)),
        ));
    }
    if before.is_active() && now.is_active() && same_life(before, &now) {
        let message =
            "systemctl restart said that it succeeded, but the service still runs as before";
        return Err(Failure::new(step, Reason::RestartFailed, message));
    }
    Ok(now)
}

/// The service has not been started anew in between. Old systemd has no invocation id; then the process tells.
fn same_life(before: &Unit, now: &Unit) -> bool {
    if was_rebooted(before, now) {
        return false;
    }
    let process = |unit: &Unit| unit.main_pid.parse::<u64>().unwrap_or(0);
    match (before.invocation.as_str(), now.invocation.as_str()) {
        ("", "") => process(before) != 0 && process(before) == process(now),
        (one, other) => one == other,
    }
}

/// What a verification proved. Either part can fail by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// HEAD, and the tracked tree.
    pub(crate) place: Result<(), Failure>,
    /// The service active, in the life that the restart began, and the verify command.
    pub(crate) service: Result<(), Failure>,
    /// Whether it is active, however long it lived.
    pub(crate) active: bool,
    /// The machine was rebooted since the baseline: this life of the service is not one that the restart began, and has
    /// to be watched from here on.
    pub(crate) rebooted: bool,
    /// What systemd says now.
    pub(crate) unit: Unit,
    /// Where HEAD is.
    pub(crate) head: Option<CommitHash>,
}

/// What the verification of `wanted` proved, with the service watched since `baseline`.
pub(crate) fn judge_verify(
    output: &CommandOutput,
    step: StepId,
    wanted: &CommitHash,
    baseline: &Unit,
) -> Verified {
    let tree = Tree::of(output);
    let now = Unit::of(output);
    let word = output.fact("is_active").unwrap_or_default();
    let service = if output.exit == 0 {
        service_is_well(output, step, baseline, &now, word)
    } else {
        let why = output
            .fact("why")
            .map_or_else(|| telling_line(output), str::to_owned);
        Err(Failure::new(
            step,
            Reason::Unhealthy,
            with_detail("the host could not be verified", &why),
        ))
    };
    Verified {
        place: is_in_place(output, step, wanted, &tree),
        service,
        active: word == "active" && now.is_active(),
        rebooted: was_rebooted(baseline, &now),
        unit: now,
        head: tree.head,
    }
}

impl Verified {
    /// The first thing that is not as it must be. A service that does not run is told before a tree that is not clean.
    pub(crate) fn all(&self) -> Result<(), Failure> {
        self.service.clone().and_then(|()| self.place.clone())
    }
}

fn is_in_place(
    output: &CommandOutput,
    step: StepId,
    wanted: &CommitHash,
    tree: &Tree,
) -> Result<(), Failure> {
    if output.exit == 0 && tree.is_exactly(wanted) {
        return Ok(());
    }
    let message = match (&tree.head, output.fact("tree_error")) {
        (_, Some(error)) => with_detail("git could not be asked", error),
        // Just before, the tree was clean: most likely it was the install command.
        (Some(head), None) if head == wanted && tree.dirty.is_some() => format!(
            "tracked files are not as committed: {} (files that the install command rewrites belong in `generated`)",
            tree.dirty_files.join(", ")
        ),
        (Some(head), None) if head == wanted => dirty_message(tree),
        (Some(head), None) => format!("HEAD is {}, not {}", head.short(), wanted.short()),
        (None, None) => "where HEAD is could not be found out".to_owned(),
    };
    Err(Failure::new(step, Reason::WrongHead, message))
}

fn service_is_well(
    output: &CommandOutput,
    step: StepId,
    baseline: &Unit,
    now: &Unit,
    word: &str,
) -> Result<(), Failure> {
    let fail = |reason, message: String| Err(Failure::new(step, reason, message));
    if was_rebooted(baseline, now) {
        return fail(
            Reason::Unhealthy,
            format!("the host was rebooted; the service is {}", now.shown()),
        );
    }
    if was_restarted(baseline, now) || now.sub_state == "auto-restart" {
        let counts = format!(
            "restarts counted {} then {}",
            shown(&baseline.restarts),
            shown(&now.restarts)
        );
        return fail(
            Reason::CrashLoop,
            format!("the service did not stay up: {}, {counts}", now.shown()),
        );
    }
    if word != "active" || !now.is_active() {
        let shown_word = if word.is_empty() { "nothing" } else { word };
        let failed_by = if now.result.is_empty() || now.result == "success" {
            String::new()
        } else {
            format!(", result {}", now.result)
        };
        let message = format!(
            "systemctl is-active says {shown_word}; the service is {}{failed_by}",
            now.shown()
        );
        return fail(Reason::Unhealthy, message);
    }
    if has_lost_its_process(now) {
        return fail(
            Reason::Unhealthy,
            format!("the service is {} but has no process", now.shown()),
        );
    }
    match output.fact("verify_rc") {
        None | Some("0") => Ok(()),
        Some(_) if output.fact("timed_out").is_some() => fail(
            Reason::Timeout,
            "the verify command took longer than allowed and was ended".to_owned(),
        ),
        Some(code) => {
            let cause = format!("the verify command ended with exit code {code}");
            fail(
                Reason::Unhealthy,
                with_detail(&cause, &telling_line(output)),
            )
        }
    }
}

/// Whether systemd began another life of the service since `baseline`. A main process that was not known yet at the
/// baseline (a service that was still starting) may have become known.
fn was_restarted(baseline: &Unit, now: &Unit) -> bool {
    let other_process = baseline.is_active()
        && !matches!(baseline.main_pid.as_str(), "" | "0")
        && baseline.main_pid != now.main_pid
        && now.is_active();
    baseline.restarts != now.restarts
        || baseline.invocation != now.invocation && now.is_active()
        || other_process
}

fn was_rebooted(baseline: &Unit, now: &Unit) -> bool {
    !baseline.boot.is_empty() && !now.boot.is_empty() && baseline.boot != now.boot
}

/// Services of these kinds are their main process.
fn has_lost_its_process(now: &Unit) -> bool {
    let has_one = matches!(
        now.kind.as_str(),
        "simple" | "exec" | "notify" | "notify-reload" | "dbus" | "idle"
    );
    has_one && now.main_pid == "0"
}

fn shown(count: &str) -> &str {
    if count.is_empty() { "-" } else { count }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn commit(digit: char) -> CommitHash {
        String::from(digit).repeat(40).parse().unwrap()
    }

    /// The answer for a host that is well on `a`, with these facts changed.
    fn answer(changes: &[(&str, &str)]) -> CommandOutput {
        let head = commit('a');
        let well = [
            ("is_active", "active"),
            ("unit_ActiveState", "active"),
            ("unit_SubState", "running"),
            ("unit_Type", "simple"),
            ("unit_MainPID", "100"),
            ("unit_NRestarts", "0"),
            ("unit_InvocationID", "i1"),
            ("boot", "b1"),
            ("head", head.as_str()),
            ("dirty", "0"),
        ];
        let facts = well
            .iter()
            .chain(changes)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        CommandOutput {
            facts: facts.collect(),
            ..CommandOutput::default()
        }
    }

    fn baseline() -> Unit {
        Unit::of(&answer(&[]))
    }

    fn verdict(output: &CommandOutput, baseline: &Unit) -> String {
        match judge_verify(output, StepId::Verify, &commit('a'), baseline).all() {
            Ok(()) => "well".to_owned(),
            Err(failure) => format!("{}: {}", failure.reason, failure.message),
        }
    }

    #[test]
    fn what_a_service_must_be_like() {
        let other = commit('b');
        for (changes, expected) in [
            (vec![], "well"),
            (vec![("verify_rc", "0")], "well"),
            (
                vec![("unit_NRestarts", "1")],
                "crash_loop: the service did not stay up: active (running), restarts counted 0 then 1",
            ),
            (
                vec![("unit_InvocationID", "i2")],
                "crash_loop: the service did not stay up: active (running), restarts counted 0 then 0",
            ),
            (
                vec![("unit_MainPID", "101")],
                "crash_loop: the service did not stay up: active (running), restarts counted 0 then 0",
            ),
            (
                vec![
                    ("is_active", "activating"),
                    ("unit_ActiveState", "activating"),
                    ("unit_SubState", "auto-restart"),
                ],
                "crash_loop: the service did not stay up: activating (auto-restart), restarts counted 0 then 0",
            ),
            (
                vec![
                    ("is_active", "failed"),
                    ("unit_ActiveState", "failed"),
                    ("unit_SubState", "failed"),
                    ("unit_Result", "exit-code"),
                ],
                "unhealthy: systemctl is-active says failed; the service is failed (failed), result exit-code",
            ),
            (
                vec![("is_active", "reloading")],
                "unhealthy: systemctl is-active says reloading; the service is active (running)",
            ),
            (
                vec![("is_active", "")],
                "unhealthy: systemctl is-active says nothing; the service is active (running)",
            ),
            (
                vec![("unit_MainPID", "0")],
                "crash_loop: the service did not stay up: active (running), restarts counted 0 then 0",
            ),
            (
                vec![("verify_rc", "22")],
                "unhealthy: the verify command ended with exit code 22",
            ),
            (
                vec![("verify_rc", "124"), ("timed_out", "1")],
                "timeout: the verify command took longer than allowed and was ended",
            ),
            (
                vec![("boot", "b2"), ("unit_InvocationID", "i9")],
                "unhealthy: the host was rebooted; the service is active (running)",
            ),
            (
                vec![("head", other.as_str())],
                "wrong_head: HEAD is bbbbbbbbbb, not aaaaaaaaaa",
            ),
            (
                vec![("dirty", "1"), ("dirty_1", "app.js")],
                "wrong_head: tracked files are not as committed: app.js (files that the install command rewrites belong in `generated`)",
            ),
            (
                vec![("dirty", "")],
                "wrong_head: git could not tell whether files were changed",
            ),
            (
                vec![("head", "nonsense")],
                "wrong_head: where HEAD is could not be found out",
            ),
        ] {
            assert_eq!(
                verdict(&answer(&changes), &baseline()),
                expected,
                "{changes:?}"
            );
        }
    }

    #[test]
    fn services_without_a_main_process_and_old_systemd() {
        for (before, now, expected) in [
            // A unit whose kind has no main process.
            (
                vec![("unit_Type", "oneshot"), ("unit_MainPID", "0")],
                vec![("unit_Type", "oneshot"), ("unit_MainPID", "0")],
                "well",
            ),
            // No invocation id in both.
            (
                vec![("unit_InvocationID", "")],
                vec![("unit_InvocationID", "")],
                "well",
            ),
            // Still starting when the restart returned.
            (
                vec![("unit_ActiveState", "activating"), ("unit_MainPID", "0")],
                vec![],
                "well",
            ),
            // A process that a service of this kind must have is not there.
            (
                vec![("unit_MainPID", "0")],
                vec![("unit_MainPID", "0")],
                "unhealthy: the service is active (running) but has no process",
            ),
        ] {
            assert_eq!(
                verdict(&answer(&now), &Unit::of(&answer(&before))),
                expected,
                "{before:?} {now:?}"
            );
        }
    }

    #[test]
    fn a_verification_that_did_not_run_proves_nothing() {
        let output = CommandOutput {
            exit: 1,
            ..answer(&[])
        };
        let seen = judge_verify(&output, StepId::Verify, &commit('a'), &baseline());
        assert!(seen.place.is_err() && seen.service.is_err());
    }

    #[test]
    fn a_restart_that_left_the_old_process_is_none() {
        let restarted = |changes: &[(&str, &str)]| {
            let mut output = answer(changes);
            output.facts.insert("rc".to_owned(), "0".to_owned());
            judge_restart(&output, StepId::Restart, &baseline()).is_ok()
        };
        assert!(restarted(&[
            ("unit_InvocationID", "i2"),
            ("unit_MainPID", "101")
        ]));
        assert!(!restarted(&[]));
        assert!(
            restarted(&[("boot", "b2")]),
            "after a reboot everything is new"
        );
        let old = Unit {
            invocation: String::new(),
            ..baseline()
        };
        let mut output = answer(&[("unit_InvocationID", ""), ("rc", "0")]);
        assert!(
            judge_restart(&output, StepId::Restart, &old).is_err(),
            "the process tells"
        );
        output
            .facts
            .insert("unit_MainPID".to_owned(), "101".to_owned());
        assert!(judge_restart(&output, StepId::Restart, &old).is_ok());
    }

    #[test]
    fn a_restart_for_which_sudo_wants_a_password_is_no_fault_of_the_release() {
        for (said, reason) in [
            ("sudo: a password is required\n", Reason::NoSudo),
            (
                "sudo: interactive authentication is required\n",
                Reason::NoSudo,
            ),
            ("Job for app.service failed.\n", Reason::RestartFailed),
        ] {
            let mut output = answer(&[("rc", "1")]);
            output.exit = 1;
            output.stderr.tail = said.as_bytes().to_vec();
            let failure = judge_restart(&output, StepId::Restart, &baseline()).unwrap_err();
            assert_eq!(failure.reason, reason, "{said}");
            assert!(failure.message.contains(said.trim()), "{}", failure.message);
        }
    }
}
