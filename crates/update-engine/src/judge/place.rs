//! Whether HEAD and tree are where they were to be moved.

use fleet_types::{Previous, Reason, StepId};
use ssh_exec::CommandOutput;

use super::{dirty_message, space_or};
use crate::facts::Tree;
use crate::failure::{Effect, Failure, telling_line, with_detail};

/// Whether the host is on `target` now. A failure says whether that is proven to have changed nothing.
pub(crate) fn judge_pull(output: &CommandOutput, previous: &Previous) -> Result<(), Failure> {
    if output.exit == 0 {
        return Ok(());
    }
    let tree = Tree::of(output);
    let said = telling_line(output);
    let why = output.fact("why").unwrap_or(&said);
    let (reason, message, early) = match output.fact("failed").unwrap_or_default() {
        "no_repo" => (Reason::NoRepo, why.to_owned(), true),
        "dirty" => (Reason::DirtyTree, dirty_message(&tree), true),
        "keep" => (
            space_or(why, Reason::PullFailed),
            with_detail("nothing can be written in the repository", why),
            true,
        ),
        "fetch" => (
            space_or(why, Reason::FetchFailed),
            with_detail("git fetch failed", &said),
            true,
        ),
        "target_gone" => (
            Reason::TargetGone,
            with_detail("the remote does not have the target", why),
            true,
        ),
        "ahead" => (
            Reason::Ahead,
            "the host has the target and more".to_owned(),
            true,
        ),
        "diverged" => (
            Reason::Diverged,
            "the host has commits that the target lacks".to_owned(),
            true,
        ),
        "concurrent" => return Err(concurrent(StepId::Pull, why)),
        "move" => (
            move_reason(output, &said),
            with_detail("git did not move to the target", &said),
            false,
        ),
        "submodules" => (
            Reason::PullFailed,
            with_detail("the submodules did not follow", &said),
            false,
        ),
        _ => (
            Reason::PullFailed,
            with_detail("git did not move to the target", &said),
            false,
        ),
    };
    let (reason, message) = if output.fact("timed_out").is_some() {
        (
            Reason::Timeout,
            with_detail("git took longer than allowed", &message),
        )
    } else {
        (reason, message)
    };
    let in_place = tree.head.as_ref() == Some(&previous.version) && tree.branch == previous.branch;
    // What git refuses it refuses before the first write: changes in the tree are a person's then, and stay.
    let refused = output.fact("refused").is_some() || output.fact("failed") == Some("dirty");
    // A file that only the target has tells of a half move.
    let no_rest = tree.dirty == Some(0) && (early || output.fact("added_present") == Some("0"));
    let half_moved = output.fact("half_moved").is_some();
    let effect = if in_place && !half_moved && (refused || no_rest) {
        Effect::ProvenUnchanged
    } else {
        Effect::Possible
    };
    Err(Failure::new(StepId::Pull, reason, message).with(effect))
}

fn move_reason(output: &CommandOutput, said: &str) -> Reason {
    match output.fact("refused") {
        Some(_) => Reason::DirtyTree,
        None if said.contains(".lock': File exists") => Reason::GitLocked,
        None => space_or(&output.stderr.text(), Reason::PullFailed),
    }
}

fn concurrent(step: StepId, why: &str) -> Failure {
    Failure::new(step, Reason::ConcurrentChange, why).with(Effect::Foreign)
}

/// Whether the host is back on `previous`, HEAD, branch and tree.
pub(crate) fn judge_checkout(output: &CommandOutput, previous: &Previous) -> Result<(), Failure> {
    let tree = Tree::of(output);
    if output.exit == 0 && tree.is_exactly(&previous.version) && tree.branch == previous.branch {
        return Ok(());
    }
    let said = telling_line(output);
    let why = output.fact("why").unwrap_or(&said);
    if output.fact("failed") == Some("concurrent") {
        return Err(concurrent(StepId::RollbackCheckout, why));
    }
    if output.fact("failed") == Some("dirty") {
        let failure = Failure::new(
            StepId::RollbackCheckout,
            Reason::DirtyTree,
            dirty_message(&tree),
        );
        return Err(failure.with(Effect::Foreign));
    }
    let reason = match output.fact("timed_out") {
        Some(_) => Reason::Timeout,
        None => space_or(why, Reason::WrongHead),
    };
    let message = with_detail(
        &format!("git did not go back to {}", previous.version.short()),
        why,
    );
    Err(Failure::new(StepId::RollbackCheckout, reason, message))
}
