//! How an attempt can end. What a status promises is kept here: `success` and `rolled_back` are made from proofs alone.

use fleet_types::{AppSettings, AttemptStatus, CommitHash, Outcome, Previous, Reason};

use crate::failure::{Effect, Failure, one_line, without_passwords};
use crate::judge::Verified;

/// Proven on the target.
pub(crate) fn updated(target: &CommitHash) -> Outcome {
    Outcome {
        status: AttemptStatus::Success,
        reason: Reason::Updated,
        step: None,
        touched: true,
        needs_attention: false,
        message: format!("on {}, active and stable", target.short()),
        version: Some(target.clone()),
    }
}

/// On the target before anything was done.
pub(crate) fn unchanged(target: &CommitHash) -> Outcome {
    Outcome {
        reason: Reason::Unchanged,
        touched: false,
        message: format!("was on {} already, with the service active", target.short()),
        ..updated(target)
    }
}

/// No longer where it was to be taken back from.
pub(crate) fn moved_on(message: String) -> Outcome {
    Outcome {
        status: AttemptStatus::Skipped,
        reason: Reason::MovedOn,
        step: None,
        touched: false,
        needs_attention: false,
        message,
        version: None,
    }
}

/// Nothing was changed.
pub(crate) fn refused(failure: &Failure) -> Outcome {
    Outcome {
        status: AttemptStatus::Failed,
        reason: failure.reason,
        step: Some(failure.step),
        touched: false,
        needs_attention: false,
        message: failure.message.clone(),
        version: None,
    }
}

/// Something may have been changed, and nothing can be proven.
pub(crate) fn unproven(failure: &Failure) -> Outcome {
    let message = match failure.effect {
        Effect::HostLost => one_line(&format!(
            "in mid-update the host could not be reached again: {}",
            failure.message
        )),
        _ => failure.message.clone(),
    };
    Outcome {
        touched: true,
        needs_attention: true,
        message,
        ..refused(failure)
    }
}

/// There is no other version, and the one it is on does not run.
pub(crate) fn no_previous(previous: &Previous, first: &Failure) -> Outcome {
    Outcome {
        reason: Reason::NoPrevious,
        touched: true,
        needs_attention: previous.was_active,
        message: one_line(&format!(
            "{}; it is on the target already, and a second restart did not help",
            first.message
        )),
        version: Some(previous.version.clone()),
        ..refused(first)
    }
}

/// Neither version is proven. Says how a person would finish it.
pub(crate) fn rollback_failed(
    app: &AppSettings,
    previous: &Previous,
    cause: &Failure,
    failure: &Failure,
) -> Outcome {
    // A path that cannot be quoted never reached the host; it is shown as it is.
    let repo = ssh_exec::quote(app.repo.as_str()).unwrap_or_else(|_| app.repo.to_string());
    let by_hand = format!(
        "cd {repo} && git reset --hard {} && {} && sudo systemctl restart {}",
        previous.version,
        without_passwords(&app.install),
        app.service
    );
    let what = if failure.message == cause.message {
        format!("rolling back failed as the update did: {}", failure.message)
    } else {
        format!(
            "rolling back failed: {} (the update failed: {})",
            failure.message, cause.message
        )
    };
    // Sudo refused both restarts: what has to be put right is the same as before, and no fault of the release.
    let reason = match (cause.reason, failure.reason) {
        (Reason::NoSudo, Reason::NoSudo) => Reason::NoSudo,
        _ => Reason::RollbackFailed,
    };
    Outcome {
        reason,
        step: Some(failure.step),
        // The commands come last and whole: the line around them is what may be cut.
        message: format!(
            "{}; by hand: {}",
            one_line(&what),
            fleet_types::printable(&by_hand.replace('\n', " "))
        ),
        ..unproven(failure)
    }
}

/// What the steps of a rollback came to, after a checkout that went well.
#[derive(Debug)]
pub(crate) struct Rollback {
    pub(crate) installed: Result<(), Failure>,
    pub(crate) restarted: Result<(), Failure>,
    pub(crate) proof: Result<Verified, Failure>,
}

/// How an attempt ends that was taken back because of `cause`.
pub(crate) fn of_rollback(
    app: &AppSettings,
    previous: &Previous,
    cause: &Failure,
    done: Rollback,
) -> Outcome {
    let Rollback {
        installed,
        restarted,
        proof,
    } = done;
    let failed = |failure: &Failure| rollback_failed(app, previous, cause, failure);
    let proof = match (&installed, proof) {
        (Ok(()), Ok(proof)) => proof,
        // The first step that failed is the one to tell of.
        (Err(failure), _) => return failed(failure),
        (Ok(()), Err(failure)) => return failed(restarted.as_ref().err().unwrap_or(&failure)),
    };
    if let Err(failure) = &proof.place {
        return failed(failure);
    }
    let runs_badly = restarted.is_ok() && proof.service.is_err();
    if !previous.was_active && (runs_badly || !proof.active) {
        return down_as_before(previous, cause);
    }
    if let Err(failure) = restarted.and(proof.service) {
        return failed(&failure);
    }
    Outcome {
        status: AttemptStatus::RolledBack,
        touched: true,
        version: Some(previous.version.clone()),
        ..refused(cause)
    }
}

/// Back on the previous version, on which the service did not run before either.
fn down_as_before(previous: &Previous, cause: &Failure) -> Outcome {
    let message = format!(
        "{}; back on {}, where the service was down before the update too",
        cause.message,
        previous.version.short()
    );
    Outcome {
        reason: Reason::Unhealthy,
        touched: true,
        message: one_line(&message),
        version: Some(previous.version.clone()),
        ..refused(cause)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_types::StepId;

    use super::*;
    use crate::testing::SimFleet;

    #[test]
    fn restarts_that_sudo_refuses_are_told_as_that() {
        use Reason::{NoSudo, RestartFailed, RollbackFailed};
        let app = SimFleet::app();
        let previous = Previous {
            version: "a".repeat(40).parse().unwrap(),
            branch: None,
            was_active: true,
        };
        for (cause, back, reason) in [
            (NoSudo, NoSudo, NoSudo),
            (RestartFailed, NoSudo, RollbackFailed),
            (NoSudo, RestartFailed, RollbackFailed),
        ] {
            let cause = Failure::new(StepId::Restart, cause, "sudo: a password is required");
            let back = Failure::new(
                StepId::RollbackRestart,
                back,
                "sudo: a password is required",
            );
            let outcome = rollback_failed(&app, &previous, &cause, &back);
            assert_eq!(outcome.reason, reason);
            assert_eq!(outcome.status, AttemptStatus::Failed);
            assert!(outcome.touched && outcome.needs_attention);
            assert!(outcome.message.contains("password"), "{}", outcome.message);
        }
    }

    #[test]
    fn the_commands_to_run_by_hand() {
        let mut app = SimFleet::app();
        app.repo = "/srv/it's here".parse().unwrap();
        app.install = "bun install --registry HTTPS://bob:s3cret@npm.example.org/".to_owned();
        let previous = Previous {
            version: "a".repeat(40).parse().unwrap(),
            branch: None,
            was_active: true,
        };
        let same = |step| Failure::new(step, Reason::InstallFailed, "the registry is down");
        let outcome = rollback_failed(
            &app,
            &previous,
            &same(StepId::Install),
            &same(StepId::RollbackInstall),
        );
        let quoted = ssh_exec::quote("/srv/it's here").unwrap();
        let expected = format!(
            "rolling back failed as the update did: the registry is down; by hand: cd {quoted} && git reset --hard {} && \
             bun install --registry HTTPS://***@npm.example.org/ && sudo systemctl restart {}",
            previous.version, app.service
        );
        assert_eq!(outcome.message, expected);
    }
}
