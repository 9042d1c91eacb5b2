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
    /// It can be updated, and comes back here if that fails.
    Go(Previous),
}

/// Whether an untouched host may be updated; if not, why.
pub(crate) fn judge_inspection(
    seen: &Inspection,
    app: &AppSettings,
    goal: &Goal,
) -> Result<Decision, (Reason, String)> {
    if let Some(problem) = unusable(seen, app) {
        return Err(problem);
    }
    let head = seen.head().ok_or_else(|| unborn(app))?;
    let there = head == goal.target();
    let clean = seen.tree.dirty == Some(0) && seen.under_way.is_none();
    if there && clean && seen.unit.is_active() && !seen.unproven {
        return Ok(Decision::Unchanged);
    }
    if let Goal::Back { from, .. } = goal
        && head != from
        && !(there && seen.unproven)
    {
        let message = format!("HEAD is {}, not {} any more", head.short(), from.short());
        return Ok(Decision::MovedOn(message));
    }
    let obstacle = obstacles(seen, app)
        .into_iter()
        .next()
        .or_else(|| wrong_way(seen, goal));
    if let Some(problem) = obstacle {
        return Err(problem);
    }
    Ok(Decision::Go(Previous {
        version: head.clone(),
        branch: seen.tree.branch.clone(),
        was_active: seen.unit.is_active(),
    }))
}

fn unborn(app: &AppSettings) -> (Reason, String) {
    (Reason::NoRepo, format!("{} has no commit yet", app.repo))
}

/// Everything that keeps a host from being updated, the most basic first.
pub(crate) fn problems(seen: &Inspection, app: &AppSettings) -> Vec<(Reason, String)> {
    match unusable(seen, app) {
        Some(problem) if problem.0 == Reason::ToolMissing => vec![problem],
        Some(problem) => std::iter::once(problem).chain(elsewhere(seen)).collect(),
        None if seen.head().is_none() => std::iter::once(unborn(app))
            .chain(elsewhere(seen))
            .collect(),
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_types::CommitHash;

    use super::*;
    use crate::facts::{Tree, Unit};
    use crate::testing::SimFleet;

    fn commit(digit: char) -> CommitHash {
        String::from(digit).repeat(40).parse().unwrap()
    }

    /// A healthy host on `a` that does not have `b` yet.
    fn healthy() -> Inspection {
        Inspection {
            tree: Tree {
                head: Some(commit('a')),
                branch: Some("main".into()),
                dirty: Some(0),
                dirty_files: vec![],
            },
            free_kib: Some(10_000_000),
            free_inodes: Some(1_000_000),
            unit: Unit {
                load_state: "loaded".into(),
                active_state: "active".into(),
                ..Unit::default()
            },
            ..Inspection::default()
        }
    }

    fn decide(change: impl FnOnce(&mut Inspection), goal: &Goal) -> String {
        let mut seen = healthy();
        change(&mut seen);
        match judge_inspection(&seen, &SimFleet::app(), goal) {
            Ok(Decision::Unchanged) => "unchanged".to_owned(),
            Ok(Decision::MovedOn(message)) => format!("moved on: {message}"),
            Err((reason, message)) => format!("{reason}: {message}"),
            Ok(Decision::Go(previous)) => {
                let was = if previous.was_active {
                    "active"
                } else {
                    "down"
                };
                format!(
                    "go from {} {:?} {was}",
                    previous.version.short(),
                    previous.branch
                )
            }
        }
    }

    type Change = Box<dyn FnOnce(&mut Inspection)>;

    fn change(f: impl FnOnce(&mut Inspection) + 'static) -> Change {
        Box::new(f)
    }

    #[test]
    fn updates() {
        let down = |seen: &mut Inspection| seen.unit.active_state = "failed".into();
        let there = |seen: &mut Inspection| seen.tree.head = Some(commit('b'));
        let relation =
            |ahead, behind| change(move |seen| seen.relation = Some(Relation { ahead, behind }));
        let table: Vec<(Change, &str)> = vec![
            (change(|_| {}), "go from aaaaaaaaaa Some(\"main\") active"),
            (change(down), "go from aaaaaaaaaa Some(\"main\") down"),
            (
                change(|seen| seen.tree.branch = None),
                "go from aaaaaaaaaa None active",
            ),
            (change(there), "unchanged"),
            (
                change(move |seen| {
                    there(seen);
                    seen.sudo_error = Some("no".into());
                    seen.free_kib = Some(0);
                    seen.locks = Some("index.lock".into());
                }),
                "unchanged",
            ),
            (
                change(move |seen| {
                    there(seen);
                    down(seen);
                }),
                "go from bbbbbbbbbb Some(\"main\") down",
            ),
            (
                change(move |seen| {
                    there(seen);
                    seen.tree.dirty = Some(1);
                    seen.tree.dirty_files = vec!["app.js".into()];
                }),
                "dirty_tree: changed by hand: app.js",
            ),
            (
                change(|seen| seen.tree.dirty = None),
                "dirty_tree: git could not tell whether files were changed",
            ),
            (
                change(|seen| seen.missing = Some("flock timeout".into())),
                "tool_missing: not installed or not in PATH: flock timeout",
            ),
            (
                change(|seen| {
                    seen.repo_error = Some(
                        "fatal: detected dubious ownership in repository at '/srv/app' To add an exception for this \
                         directory, call: git config --global --add safe.directory /srv/app"
                            .into(),
                    );
                }),
                "no_repo: fatal: detected dubious ownership in repository at '/srv/app'; on the host run: git config \
                 --global --add safe.directory '/srv/app'",
            ),
            (
                change(|seen| seen.tree.head = None),
                "no_repo: /srv/app has no commit yet",
            ),
            (
                change(|seen| seen.under_way = Some("rebase-merge".into())),
                "dirty_tree: a merge, rebase or cherry-pick was not finished in /srv/app (rebase-merge)",
            ),
            (
                change(|seen| seen.locks = Some("/srv/app/.git/index.lock".into())),
                "git_locked: git is at work or left a lock behind: /srv/app/.git/index.lock",
            ),
            (
                change(|seen| seen.free_kib = Some(499 * 1024)),
                "no_space: 499 MiB are free, 500 MiB are asked for",
            ),
            (
                change(|seen| seen.free_kib = Some(500 * 1024)),
                "go from aaaaaaaaaa Some(\"main\") active",
            ),
            (
                change(|seen| seen.free_kib = None),
                "go from aaaaaaaaaa Some(\"main\") active",
            ),
            (
                change(|seen| seen.free_inodes = Some(9)),
                "no_space: 9 inodes are free, 10000 are asked for",
            ),
            (
                change(|seen| seen.install_missing = Some("bun".into())),
                "no_install_command: bun is not found in the PATH of a non-interactive login",
            ),
            (
                change(|seen| seen.sudo_error = Some("sudo: a password is required".into())),
                "no_sudo: sudo -n may not run systemctl restart: sudo: a password is required",
            ),
            (
                change(|seen| seen.unit.load_state = "masked".into()),
                "unit_missing: the unit is masked",
            ),
            (
                change(|seen| seen.unit.load_state.clear()),
                "unit_missing: the unit is not known to systemctl",
            ),
            (relation(0, 3), "go from aaaaaaaaaa Some(\"main\") active"),
            (
                relation(2, 0),
                "ahead: the host has the target and 2 commits more",
            ),
            (
                relation(2, 1),
                "diverged: the host has 2 commits that the target lacks",
            ),
        ];
        for (change, expected) in table {
            assert_eq!(
                decide(
                    change,
                    &Goal::Update {
                        target: commit('b'),
                        branch: None,
                    }
                ),
                expected
            );
        }
    }

    #[test]
    fn ways_back() {
        let back = Goal::Back {
            from: commit('a'),
            to: commit('b'),
        };
        let on = |digit| change(move |seen: &mut Inspection| seen.tree.head = Some(commit(digit)));
        let table: Vec<(Change, &str)> = vec![
            (on('a'), "go from aaaaaaaaaa Some(\"main\") active"),
            (on('b'), "unchanged"),
            (
                on('c'),
                "moved on: HEAD is cccccccccc, not aaaaaaaaaa any more",
            ),
            (
                change(|seen| {
                    seen.tree.head = Some(commit('b'));
                    seen.unit.active_state = "failed".into();
                }),
                "moved on: HEAD is bbbbbbbbbb, not aaaaaaaaaa any more",
            ),
            (
                change(|seen| {
                    seen.tree.head = Some(commit('c'));
                    seen.tree.dirty = Some(4);
                }),
                "moved on: HEAD is cccccccccc, not aaaaaaaaaa any more",
            ),
            (
                change(|seen| {
                    seen.relation = Some(Relation {
                        ahead: 5,
                        behind: 0,
                    })
                }),
                "go from aaaaaaaaaa Some(\"main\") active",
            ),
            (
                change(|seen| seen.locks = Some("x.lock".into())),
                "git_locked: git is at work or left a lock behind: x.lock",
            ),
        ];
        for (change, expected) in table {
            assert_eq!(decide(change, &back), expected);
        }
    }

    #[test]
    fn a_look_names_all_problems_that_can_be_known() {
        let mut seen = healthy();
        seen.locks = Some("x.lock".into());
        seen.free_kib = Some(1);
        seen.sudo_error = Some("no".into());
        let reasons = |seen: &Inspection| -> Vec<Reason> {
            problems(seen, &SimFleet::app())
                .into_iter()
                .map(|(reason, _)| reason)
                .collect()
        };
        assert_eq!(
            reasons(&seen),
            [Reason::GitLocked, Reason::NoSpace, Reason::NoSudo]
        );
        seen.repo_error = Some("no such folder".into());
        assert_eq!(reasons(&seen), [Reason::NoRepo, Reason::NoSudo]);
        seen.missing = Some("git".into());
        assert_eq!(reasons(&seen), [Reason::ToolMissing]);
        assert_eq!(reasons(&healthy()), []);
    }
}
