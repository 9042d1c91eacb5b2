//! Moves that stopped half-way: a killed git, a full disk, a worker that died before or after it sent the pull.

use std::fs;
use std::process::Command;

use fleet_types::{AttemptStatus, Phase, Reason, StepId};

use super::{Place, back, half_way, on_record, resumed};
use crate::shell::assert_untouched;
use crate::support::assert_ended;

#[tokio::test]
async fn a_stale_ref_lock_leaves_the_new_files_under_the_old_head_and_is_seen_through() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    // The lock appears after the inspection: git rewrites tree and index, and fails only then.
    place.write(
        "state/git.sh",
        "[ \"$sub\" = merge ] && : >.git/refs/heads/main.lock\n",
    );
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::GitLocked);
    place.assert_on(&old, "one");
    assert_eq!(place.branch(), "main");
    assert!(!place.exists("state/app/.git/refs/heads/main.lock"));
}

#[tokio::test]
async fn a_killed_pull_is_carried_on_or_taken_back_to_the_last_file() {
    for phase in [Phase::Forward, back()] {
        let place = Place::new();
        let old = place.head();
        let new = place.release("two", "service=ok\n");
        let progress = half_way(&place, &new, StepId::Pull, phase.clone());
        let outcome = place.attempt(resumed(&place, &new, progress)).await;
        match phase {
            Phase::Forward => {
                assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
                place.assert_on(&new, "two");
            }
            Phase::Back { .. } => {
                assert_ended(&outcome, AttemptStatus::RolledBack, Reason::Timeout);
                place.assert_on(&old, "one");
            }
        }
        assert_eq!(place.branch(), "main");
        assert!(
            !place.exists("state/app/.git/index.lock")
                && !place.exists("state/app/.git/rollout/moving")
        );
    }
}

#[tokio::test]
async fn a_lock_whose_git_still_works_is_not_removed() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    let progress = half_way(&place, &new, StepId::Pull, back());
    // A process of this user that is called git and works in the repository. What this process wrote itself may still be
    // open in a child that another test is just starting, and could not be run then.
    let program = place.path("bin/git-at-work");
    let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status();
    assert!(copied.unwrap().success());
    let mut git = Command::new(&program)
        .arg("60")
        .current_dir(place.path("state/app"))
        .spawn()
        .unwrap();
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    git.kill().unwrap();
    git.wait().unwrap();
    assert_ended(&outcome, AttemptStatus::Failed, Reason::RollbackFailed);
    assert!(place.exists("state/app/.git/index.lock"));
}

#[tokio::test]
async fn a_half_move_is_taken_back_though_the_resumed_pull_stops_at_once() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    let progress = half_way(&place, &new, StepId::Pull, Phase::Forward);
    // Only a file that the target adds was written: index and tracked files look as before.
    fs::remove_file(place.path("state/app/.git/index.lock")).unwrap();
    place.git(&["checkout", "--quiet", "--force", "HEAD", "--", "."]);
    place.write(
        "state/git.sh",
        "[ \"$sub\" = update-ref ] && { echo 'fatal: no right to write' >&2; exit 128; }\n",
    );
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    assert_eq!(
        (outcome.status, outcome.touched),
        (AttemptStatus::RolledBack, true),
        "{outcome:?}"
    );
    place.assert_on(&old, "one");
}

#[tokio::test]
async fn a_half_move_that_git_cannot_tell_of_is_no_untouched_host() {
    for blind in ["status", "diff-tree"] {
        let place = Place::new();
        let (old, new) = (place.head(), place.release("two", "service=ok\n"));
        let die = "printf two >release; : >\"$ROLLOUT_TEST_STATE/blind\"; echo 'error: unable to read' >&2; exit 1";
        let see = format!(
            "[ \"$sub\" = {blind} ] && [ -e \"$ROLLOUT_TEST_STATE/blind\" ] && \
             {{ rm \"$ROLLOUT_TEST_STATE/blind\"; exit 128; }}"
        );
        place.write(
            "state/git.sh",
            &format!("[ \"$sub\" = merge ] && {{ {die}; }}\n{see}\n"),
        );
        let outcome = place.update(&new).await;
        assert_eq!(
            (outcome.status, outcome.touched),
            (AttemptStatus::RolledBack, true),
            "{blind}: {outcome:?}"
        );
        place.assert_on(&old, "one");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_untouched_or_with_the_commands_to_run_by_hand() {
    let full =
        "echo 'fatal: unable to write new index file: No space left on device' >&2; exit 128";
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=fail\n"));
    place.write(
        "state/git.sh",
        &format!("[ \"$sub\" = merge ] && {{ {full}; }}\n"),
    );
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::NoSpace, "No space left");
    assert_eq!(place.head(), old);

    place.write(
        "state/git.sh",
        &format!("case $sub in reset | read-tree) {full} ;; esac\n"),
    );
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::Failed, Reason::RollbackFailed);
    assert!(outcome.touched && outcome.needs_attention);
    let by_hand =
        format!("git reset --hard {old} && bun install && sudo systemctl restart app.service");
    assert!(
        outcome.message.contains("No space left") && outcome.message.ends_with(&by_hand),
        "{outcome:?}"
    );
    assert_eq!(outcome.version, Some(new), "where it really is");
    let restarts = place
        .acts()
        .iter()
        .filter(|act| act.starts_with("systemctl restart"))
        .count();
    assert_eq!(
        restarts, 1,
        "the service is not restarted on files that are not proven"
    );
}

#[tokio::test]
async fn a_move_that_dies_halfway_for_lack_of_space_is_taken_back() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    let die = "printf t >only-in-two; echo 'error: unable to write file: No space left on device' >&2; exit 1";
    place.write(
        "state/git.sh",
        &format!("[ \"$sub\" = merge ] && {{ {die}; }}\n"),
    );
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::NoSpace);
    place.assert_on(&old, "one");
    assert!(
        !place.exists("state/app/only-in-two"),
        "the half of the new release is gone"
    );
}

#[tokio::test]
async fn a_resumed_pull_that_had_not_begun_destroys_nothing() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    place.write("state/app/only-in-two", "mine");
    let progress = on_record(&place, StepId::Pull, Phase::Forward);
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    // It was on record as sent, and the facts prove that it changed nothing.
    assert_eq!(outcome.reason, Reason::DirtyTree, "{outcome:?}");
    assert_eq!(
        (place.head(), place.read("state/app/only-in-two").as_str()),
        (old, "mine")
    );
    assert!(!outcome.touched && place.acts().is_empty(), "{outcome:?}");
}

#[tokio::test]
async fn an_edit_on_a_host_whose_move_had_not_begun_is_kept() {
    for file in ["release", "kept-by-both"] {
        let place = Place::new();
        place.write("origin/kept-by-both", "same\n");
        place.commit_origin("more");
        place.git(&["pull", "--quiet"]);
        let (old, new) = (place.head(), place.release("two", "service=ok\n"));
        place.write(&format!("state/app/{file}"), "mine\n");
        let progress = on_record(&place, StepId::Pull, Phase::Forward);
        let outcome = place.attempt(resumed(&place, &new, progress)).await;
        assert_untouched(&place, &outcome, Reason::DirtyTree, file);
        assert_eq!(
            (place.head(), place.read(&format!("state/app/{file}"))),
            (old, "mine\n".to_owned())
        );
    }
}
