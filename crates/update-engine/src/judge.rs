//! What the facts mean. Every decision of an attempt is made here, from facts alone: no connection, no clock.

use fleet_types::{AppSettings, CommitHash, Previous, Reason, StepId};
use ssh_exec::CommandOutput;

use crate::attempt::Goal;
use crate::facts::{Inspection, Relation, Tree, Unit};
use crate::failure::{Effect, Failure, one_line, telling_line, with_detail};

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

fn dirty_message(tree: &Tree) -> String {
    let Some(count) = tree.dirty else {
        return "git could not tell whether files were changed".to_owned();
    };
    let named = tree.dirty_files.join(", ");
    let more = count.saturating_sub(tree.dirty_files.len() as u64);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    one_line(&format!("changed by hand: {named}{more}"))
}

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
            with_detail("the remote does not have the target", &said),
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
    let as_before = tree.is_exactly(&previous.version) && tree.branch == previous.branch;
    // What git refuses it refuses before the first write; otherwise a file that only the target has tells of a half move.
    let no_rest =
        early || output.fact("refused").is_some() || output.fact("added_present") == Some("0");
    let effect = if as_before && no_rest {
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

fn space_or(said: &str, other: Reason) -> Reason {
    if said.contains("No space left") || said.contains("Disk quota exceeded") {
        Reason::NoSpace
    } else {
        other
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
        return Err(Failure::new(
            step,
            Reason::RestartFailed,
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
