//! Whether a host may be touched.

use fleet_types::{AppSettings, Previous, Reason};

use super::dirty_message;
use crate::facts::{Inspection, Relation};
use crate::failure::one_line;
use crate::spec::Goal;

/// With fewer free inodes than this no install goes well.
const MIN_FREE_INODES: u64 = 10_000;

/// What an inspection comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There already, and healthy.
    Unchanged,
    /// Not a host for this attempt any more.
    MovedOn(String),
    /// It may not be touched.
    Refused(Reason, String),
    /// It can be updated, and comes back here if that fails.
    Go(Previous),
}

/// Whether an untouched host may be updated.
pub(crate) fn judge_inspection(seen: &Inspection, app: &AppSettings, goal: &Goal) -> Decision {
    if let Some((reason, message)) = unusable(seen, app) {
        return Decision::Refused(reason, message);
    }
    let Some(head) = seen.head() else {
        return Decision::Refused(Reason::NoRepo, format!("{} has no commit yet", app.repo));
    };
    let there = head == goal.target();
    if there && seen.tree.dirty == Some(0) && seen.under_way.is_none() && seen.unit.is_active() {
        return Decision::Unchanged;
    }
    if let Goal::Back { from, .. } = goal
        && head != from
    {
        let message = format!("HEAD is {}, not {} any more", head.short(), from.short());
        return Decision::MovedOn(message);
    }
    let obstacle = obstacles(seen, app)
        .into_iter()
        .next()
        .or_else(|| wrong_way(seen, goal));
    if let Some((reason, message)) = obstacle {
        return Decision::Refused(reason, message);
    }
    Decision::Go(Previous {
        version: head.clone(),
        branch: seen.tree.branch.clone(),
        was_active: seen.unit.is_active(),
    })
}

/// Everything that keeps a host from being updated, the most basic first.
pub(crate) fn problems(seen: &Inspection, app: &AppSettings) -> Vec<(Reason, String)> {
    let unborn = || (Reason::NoRepo, format!("{} has no commit yet", app.repo));
    match unusable(seen, app) {
        Some(problem) if problem.0 == Reason::ToolMissing => vec![problem],
        Some(problem) => std::iter::once(problem).chain(elsewhere(seen)).collect(),
        None if seen.head().is_none() => std::iter::once(unborn()).chain(elsewhere(seen)).collect(),
        None => obstacles(seen, app),
    }
}

fn unusable(seen: &Inspection, app: &AppSettings) -> Option<(Reason, String)> {
    if let Some(missing) = &seen.missing {
        return Some((
            Reason::ToolMissing,
            one_line(&format!("not installed or not in PATH: {missing}")),
        ));
    }
    let error = seen.repo_error.as_ref()?;
    let hint = if error.contains("dubious ownership") {
        format!(
            "; on the host run: git config --global --add safe.directory '{}'",
            app.repo
        )
    } else {
        String::new()
    };
    // Git's own hint is spread over three lines; ours says the same in one.
    let cause = error.split(" To add an exception").next().unwrap_or(error);
    Some((Reason::NoRepo, one_line(&format!("{cause}{hint}"))))
}

fn obstacles(seen: &Inspection, app: &AppSettings) -> Vec<(Reason, String)> {
    let mut found = Vec::new();
    if let Some(trace) = &seen.under_way {
        let message = format!(
            "a merge, rebase or cherry-pick was not finished in {} ({trace})",
            app.repo
        );
        found.push((Reason::DirtyTree, one_line(&message)));
    }
    if seen.tree.dirty != Some(0) {
        found.push((Reason::DirtyTree, dirty_message(&seen.tree)));
    }
    if let Some(locks) = &seen.locks {
        let message = format!("git is at work or left a lock behind: {locks}");
        found.push((Reason::GitLocked, one_line(&message)));
    }
    found.extend(space(seen, app));
    found.extend(elsewhere(seen));
    found
}

/// What does not concern the repository.
fn elsewhere(seen: &Inspection) -> Vec<(Reason, String)> {
    let mut found = Vec::new();
    if let Some(word) = &seen.install_missing {
        let message = format!("{word} is not found in the PATH of a non-interactive login");
        found.push((Reason::NoInstallCommand, one_line(&message)));
    }
    if let Some(error) = &seen.sudo_error {
        let message = format!("sudo -n may not run systemctl restart: {error}");
        found.push((Reason::NoSudo, one_line(&message)));
    }
    if seen.unit.load_state != "loaded" {
        let state = if seen.unit.load_state.is_empty() {
            "not known to systemctl"
        } else {
            &seen.unit.load_state
        };
        found.push((
            Reason::UnitMissing,
            one_line(&format!("the unit is {state}")),
        ));
    }
    found
}

fn space(seen: &Inspection, app: &AppSettings) -> Option<(Reason, String)> {
    let wanted = u64::from(app.min_free_mib);
    if wanted == 0 {
        return None;
    }
    let free_mib = seen.free_kib.map(|kib| kib / 1024);
    if let Some(free) = free_mib.filter(|free| *free < wanted) {
        return Some((
            Reason::NoSpace,
            format!("{free} MiB are free, {wanted} MiB are asked for"),
        ));
    }
    let few = seen.free_inodes.filter(|free| *free < MIN_FREE_INODES)?;
    Some((
        Reason::NoSpace,
        format!("{few} inodes are free, {MIN_FREE_INODES} are asked for"),
    ))
}

fn wrong_way(seen: &Inspection, goal: &Goal) -> Option<(Reason, String)> {
    match (goal, seen.relation?) {
        (Goal::Update { .. }, Relation { ahead, behind }) if ahead > 0 => {
            Some(not_forward(ahead, behind))
        }
        _ => None,
    }
}

fn not_forward(ahead: u64, behind: u64) -> (Reason, String) {
    if behind == 0 {
        (
            Reason::Ahead,
            format!("the host has the target and {ahead} commits more"),
        )
    } else {
        (
            Reason::Diverged,
            format!("the host has {ahead} commits that the target lacks"),
        )
    }
}
