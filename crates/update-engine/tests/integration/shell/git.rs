//! Git: what is refused untouched, what is taken back, and what a killed git leaves.

use std::fs;

use fleet_types::{AttemptStatus, CommitHash, Outcome, Phase, Previous, Progress, Reason, StepId};
use update_engine::Goal;

use super::place::Place;

#[tokio::test]
async fn a_good_release() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    let outcome = place.update(&new).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Success, Reason::Updated),
        "{outcome:?}"
    );
    place.assert_on(&new, "two");
    assert_eq!(place.branch(), "main");
    assert_eq!(
        place.git(&["rev-parse", "refs/rollout/previous"]),
        old.as_str()
    );
    assert_eq!(
        place.acts(),
        ["bun install", "systemctl restart app.service"]
    );
}

#[tokio::test]
async fn a_host_that_is_there_already_is_left_alone() {
    let place = Place::new();
    let outcome = place.update(&place.head()).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Success, Reason::Unchanged),
        "{outcome:?}"
    );
    assert!(!outcome.touched && place.acts().is_empty());
    assert!(
        !place.exists("state/app/.git/rollout"),
        "not even a lock was made"
    );
}

#[tokio::test]
async fn the_target_stays_though_the_branch_moves_on() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    place.release("three", "service=fail\n");
    let outcome = place.update(&new).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
}

#[track_caller]
fn assert_untouched(place: &Place, outcome: &Outcome, reason: Reason, said: &str) {
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Failed, reason),
        "{outcome:?}"
    );
    assert!(!outcome.touched && !outcome.needs_attention, "{outcome:?}");
    assert!(outcome.message.contains(said), "{outcome:?}");
    assert!(place.acts().is_empty(), "{:?}", place.acts());
    assert_eq!(place.read("state/running"), "one");
}

#[tokio::test]
async fn changes_by_hand_are_refused_and_kept() {
    for (file, staged) in [
        ("release", false),
        ("app.conf", true),
        ("only-in-one", false),
    ] {
        let place = Place::new();
        let (old, new) = (place.head(), place.release("two", "service=ok\n"));
        place.write(&format!("state/app/{file}"), "edited by hand\n");
        if staged {
            place.git(&["add", file]);
        }
        let outcome = place.update(&new).await;
        assert_untouched(&place, &outcome, Reason::DirtyTree, file);
        assert_eq!(place.head(), old);
        assert_eq!(place.read(&format!("state/app/{file}")), "edited by hand\n");
    }
}

#[tokio::test]
async fn at_most_twenty_files_are_named() {
    let place = Place::new();
    for number in 0..30 {
        place.write(&format!("origin/file {number:02}"), "x");
    }
    let new = place.commit_origin("many");
    place.git(&["pull", "--quiet"]);
    for number in 0..30 {
        fs::remove_file(place.path(&format!("state/app/file {number:02}"))).unwrap();
    }
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::DirtyTree, "file 19 and 10 more");
    assert!(!outcome.message.contains("file 20"));
}

#[tokio::test]
async fn an_untracked_file_in_the_way_is_kept() {
    for ignored in [false, true] {
        let place = Place::new();
        let (old, new) = (place.head(), place.release("two", "service=ok\n"));
        place.write("state/app/only-in-two", "mine");
        if ignored {
            place.write("state/app/.git/info/exclude", "node_modules\nonly-in-two\n");
        }
        let outcome = place.update(&new).await;
        assert_untouched(&place, &outcome, Reason::DirtyTree, "only-in-two");
        assert_eq!(
            (place.head(), place.read("state/app/only-in-two").as_str()),
            (old, "mine")
        );
        fs::remove_file(place.path("state/app/only-in-two")).unwrap();
        assert_eq!(place.update(&new).await.reason, Reason::Updated);
        place.assert_on(&new, "two");
    }
}

#[tokio::test]
async fn a_host_ahead_of_the_target_is_refused() {
    let place = Place::new();
    let old = place.head();
    place.release("two", "service=ok\n");
    place.git(&["pull", "--quiet"]);
    let outcome = place.update(&old).await;
    assert_untouched(&place, &outcome, Reason::Ahead, "1 commits more");
}

#[tokio::test]
async fn a_host_that_diverged_is_refused_before_and_after_the_fetch() {
    for fetched in [false, true] {
        let place = Place::new();
        let base = place.head();
        place.release("two", "service=ok\n");
        place.git(&["pull", "--quiet"]);
        place.git_at("origin", &["reset", "--quiet", "--hard", base.as_str()]);
        let rewritten = place.release("three", "service=ok\n");
        if fetched {
            place.git(&["fetch", "--quiet"]);
        }
        let before = place.head();
        let outcome = place.update(&rewritten).await;
        assert_untouched(&place, &outcome, Reason::Diverged, "");
        assert_eq!(place.head(), before);
        assert_eq!(place.status(), "");
    }
}

#[tokio::test]
async fn a_target_that_is_gone_and_a_remote_that_does_not_answer_are_told_apart() {
    let place = Place::new();
    let base = place.head();
    let gone = place.release("two", "service=ok\n");
    place.git_at("origin", &["reset", "--quiet", "--hard", base.as_str()]);
    place.git_at("origin", &["reflog", "expire", "--expire=now", "--all"]);
    place.git_at("origin", &["gc", "--quiet", "--prune=now"]);
    let outcome = place.update(&gone).await;
    assert_untouched(
        &place,
        &outcome,
        Reason::TargetGone,
        "the remote does not have the target",
    );

    fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
    let outcome = place.update(&gone).await;
    assert_untouched(&place, &outcome, Reason::FetchFailed, "origin");
    place.git(&["remote", "remove", "origin"]);
    let outcome = place.update(&gone).await;
    assert_untouched(&place, &outcome, Reason::FetchFailed, "origin");
}

#[tokio::test]
async fn a_commit_that_the_branch_has_lost_is_fetched_by_its_hash() {
    let place = Place::new();
    let base = place.head();
    let new = place.release("two", "service=ok\n");
    place.git_at("origin", &["branch", "kept"]);
    place.git_at("origin", &["reset", "--quiet", "--hard", base.as_str()]);
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    place.assert_on(&new, "two");
}

#[tokio::test]
async fn a_lock_file_is_refused_before_anything_is_touched() {
    for lock in [
        "index.lock",
        "HEAD.lock",
        "refs/heads/main.lock",
        "packed-refs.lock",
    ] {
        let place = Place::new();
        let new = place.release("two", "service=ok\n");
        place.write(&format!("state/app/.git/{lock}"), "");
        let outcome = place.update(&new).await;
        assert_untouched(&place, &outcome, Reason::GitLocked, lock);
        assert!(
            place.exists(&format!("state/app/.git/{lock}")),
            "it may be somebody's"
        );
    }
}

#[tokio::test]
async fn a_merge_under_way_is_refused() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    place.git(&["fetch", "--quiet"]);
    place.write("state/app/.git/MERGE_HEAD", new.as_str());
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::DirtyTree, "MERGE_HEAD");
}

#[tokio::test]
async fn places_that_are_no_repository_are_refused() {
    for (path, said) in [
        ("state", "not a git repository"),
        ("state/nowhere", "no folder"),
        ("state/app/node_modules", "not its top"),
        ("origin/.git", "no working tree"),
        ("empty", "no commit yet"),
    ] {
        let place = Place::new();
        place.git_at("", &["init", "--quiet", "empty"]);
        let mut spec = place.spec(&place.head());
        spec.app.repo = place.path(path).to_str().unwrap().parse().unwrap();
        let outcome = place.attempt(spec).await;
        assert_untouched(&place, &outcome, Reason::NoRepo, said);
    }
}

#[tokio::test]
async fn a_repository_of_somebody_else_comes_with_the_command_that_allows_it() {
    let place = Place::new();
    place.write("state/git.sh", "export GIT_TEST_ASSUME_DIFFERENT_OWNER=1\n");
    let outcome = place.update(&place.head()).await;
    assert_untouched(&place, &outcome, Reason::NoRepo, "dubious ownership");
    assert!(
        outcome
            .message
            .contains("git config --global --add safe.directory"),
        "{outcome:?}"
    );
}

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
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::GitLocked),
        "{outcome:?}"
    );
    place.assert_on(&old, "one");
    assert_eq!(place.branch(), "main");
    assert!(!place.exists("state/app/.git/refs/heads/main.lock"));
}

#[tokio::test]
async fn generated_files_are_no_obstacle_either_way() {
    let place = Place::new();
    let old = place.head();
    place.write("state/app/bun.lock", "rewritten by the last install\n");
    place.git(&["add", "bun.lock"]);
    let bad = place.release("two", "service=loop\ninstall=touch\n");
    let outcome = place.update(&bad).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::CrashLoop),
        "{outcome:?}"
    );
    place.assert_on(&old, "one");
    assert_eq!(
        place.read("state/app/bun.lock"),
        "lock of one\n",
        "not what the bad release's install wrote"
    );

    let good = place.release("three", "service=ok\ninstall=touch\n");
    assert_eq!(place.update(&good).await.reason, Reason::Updated);
    assert_eq!(
        place.read("state/app/bun.lock"),
        "lock of three\n# resolved\n"
    );
    let next = place.release("four", "service=ok\n");
    assert_eq!(place.update(&next).await.reason, Reason::Updated);
    place.assert_on(&next, "four");
}

#[tokio::test]
async fn an_untracked_generated_file_gives_way_to_a_tracked_one_and_comes_back() {
    let place = Place::new();
    let old = place.head();
    place.write("state/app/.git/info/exclude", "node_modules\nbun.lockb\n");
    place.write("state/app/bun.lockb", "made by install");
    place.write("origin/bun.lockb", "tracked now");
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    assert_eq!(place.read("state/app/bun.lockb"), "tracked now");
    fs::remove_file(place.path("origin/bun.lockb")).unwrap();
    let newer = place.release("three", "service=loop\n");
    let outcome = place.update(&newer).await;
    assert_eq!(
        (outcome.status, place.head()),
        (AttemptStatus::RolledBack, new.clone()),
        "{outcome:?}"
    );
    assert_eq!(place.read("state/app/bun.lockb"), "tracked now");
    place.assert_on(&new, "two");
    assert_ne!(old, new);
}

#[tokio::test]
async fn head_stays_attached_or_detached_as_it_was() {
    for detached in [false, true] {
        for release in ["service=ok\n", "service=fail\n"] {
            let place = Place::new();
            let old = place.head();
            if detached {
                place.git(&["checkout", "--quiet", "--detach"]);
            }
            let new = place.release("two", release);
            let outcome = place.update(&new).await;
            let end = if release == "service=ok\n" {
                &new
            } else {
                &old
            };
            assert_eq!(outcome.version.as_ref(), Some(end), "{outcome:?}");
            assert_eq!(place.branch(), if detached { "" } else { "main" });
            let main = if detached { &old } else { end };
            assert_eq!(place.git(&["rev-parse", "main"]), main.as_str());
            assert_eq!(place.status(), "");
        }
    }
}

#[tokio::test]
async fn a_rollback_reattaches_a_head_that_was_detached_in_between() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    let progress = half_way(&place, &new, StepId::Install, back());
    fs::remove_file(place.path("state/app/.git/index.lock")).unwrap();
    place.git(&["checkout", "--quiet", "--force", "--detach", new.as_str()]);
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    assert_eq!(outcome.status, AttemptStatus::RolledBack, "{outcome:?}");
    assert_eq!(
        (place.branch().as_str(), place.git(&["rev-parse", "main"])),
        ("main", old.to_string())
    );
}

fn back() -> Phase {
    Phase::Back {
        step: StepId::Pull,
        reason: Reason::Timeout,
        message: "it took too long".to_owned(),
    }
}

/// A pull that was killed with a part of the new files written, its lock left behind, and everything else as before.
fn half_way(place: &Place, new: &CommitHash, step: StepId, phase: Phase) -> Progress {
    let previous = Previous {
        version: place.head(),
        branch: Some("main".to_owned()),
        was_active: true,
    };
    place.git(&["fetch", "--quiet", "origin", new.as_str()]);
    fs::create_dir(place.path("state/app/.git/rollout")).unwrap();
    place.write(
        "state/app/.git/rollout/moving",
        &format!("{} {new}\n", previous.version),
    );
    place.write("state/app/.git/index.lock", "half an index");
    place.write("state/app/only-in-two", "t");
    fs::remove_file(place.path("state/app/only-in-one")).unwrap();
    place.write("state/app/release", "two");
    Progress {
        previous: Some(previous),
        touched: true,
        phase,
        step: Some(step),
    }
}

fn resumed(place: &Place, target: &CommitHash, progress: Progress) -> update_engine::AttemptSpec {
    update_engine::AttemptSpec {
        progress,
        ..place.spec(target)
    }
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
                assert_eq!(
                    (outcome.status, outcome.reason),
                    (AttemptStatus::RolledBack, Reason::Timeout)
                );
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
    // A process of this user that is called git and works in the repository.
    fs::copy("/bin/sleep", place.path("bin/git-at-work")).unwrap();
    let mut git = std::process::Command::new(place.path("bin/git-at-work"))
        .arg("60")
        .current_dir(place.path("state/app"))
        .spawn()
        .unwrap();
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    git.kill().unwrap();
    git.wait().unwrap();
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Failed, Reason::RollbackFailed),
        "{outcome:?}"
    );
    assert!(place.exists("state/app/.git/index.lock"));
}

#[tokio::test]
async fn a_resumed_pull_that_had_not_begun_destroys_nothing() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    place.write("state/app/only-in-two", "mine");
    let previous = Previous {
        version: old.clone(),
        branch: Some("main".to_owned()),
        was_active: true,
    };
    let progress = Progress {
        previous: Some(previous),
        touched: true,
        phase: Phase::Forward,
        step: Some(StepId::Pull),
    };
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
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Failed, Reason::RollbackFailed)
    );
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
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::NoSpace),
        "{outcome:?}"
    );
    place.assert_on(&old, "one");
    assert!(
        !place.exists("state/app/only-in-two"),
        "the half of the new release is gone"
    );
}

#[tokio::test]
async fn the_previous_version_survives_gits_clean_up_and_a_rewritten_origin() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    let back = |from: &CommitHash, to: &CommitHash| {
        let goal = Goal::Back {
            from: from.clone(),
            to: to.clone(),
        };
        update_engine::AttemptSpec {
            goal,
            ..place.spec(to)
        }
    };
    assert_eq!(
        place.attempt(back(&new, &old)).await.reason,
        Reason::Updated
    );
    // The origin takes the release away, and the host forgets all that no ref names.
    place.git_at("origin", &["reset", "--quiet", "--hard", old.as_str()]);
    place.git(&["fetch", "--quiet"]);
    fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
    let forget = || {
        place.git(&["update-ref", "-d", "ORIG_HEAD"]);
        let _ = fs::remove_file(place.path("state/app/.git/FETCH_HEAD"));
        place.git(&["reflog", "expire", "--expire=now", "--all"]);
        place.git(&["gc", "--quiet", "--prune=now"]);
    };
    forget();
    let outcome = place.attempt(back(&old, &new)).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
    assert_eq!(place.branch(), "main");

    // The same without the ref, to see that it is what kept the commit.
    assert_eq!(
        place.attempt(back(&new, &old)).await.reason,
        Reason::Updated
    );
    place.git(&["update-ref", "-d", "refs/rollout/previous"]);
    forget();
    let outcome = place.attempt(back(&old, &new)).await;
    assert_eq!(
        (outcome.reason, outcome.touched),
        (Reason::FetchFailed, false),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn going_back_skips_a_host_that_moved_on_and_refuses_edits() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    let newer = place.release("three", "service=ok\n");
    assert_eq!(place.update(&newer).await.reason, Reason::Updated);
    let back = |from: &CommitHash| {
        let mut spec = place.spec(&old);
        spec.goal = Goal::Back {
            from: from.clone(),
            to: old.clone(),
        };
        spec
    };
    let outcome = place.attempt(back(&new)).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Skipped, Reason::MovedOn),
        "{outcome:?}"
    );
    assert!(!outcome.touched);
    place.write("state/app/release", "edited");
    let outcome = place.attempt(back(&newer)).await;
    assert_eq!(
        (outcome.reason, outcome.touched),
        (Reason::DirtyTree, false),
        "{outcome:?}"
    );
    place.git(&["checkout", "--quiet", "release"]);
    place.write("state/app/only-in-one", "mine");
    let outcome = place.attempt(back(&newer)).await;
    assert_eq!(
        (outcome.reason, outcome.touched),
        (Reason::DirtyTree, false),
        "{outcome:?}"
    );
    assert_eq!(place.read("state/app/only-in-one"), "mine");
    fs::remove_file(place.path("state/app/only-in-one")).unwrap();
    assert_eq!(place.attempt(back(&newer)).await.reason, Reason::Updated);
    place.assert_on(&old, "one");
    assert_eq!(place.attempt(back(&newer)).await.reason, Reason::Unchanged);
}

#[tokio::test]
async fn going_back_to_a_version_that_does_not_run_any_more_ends_where_it_began() {
    let place = Place::new();
    let broken = place.release("two", "service=fail\n");
    let new = place.release("three", "service=ok\n");
    assert_eq!(place.update(&new).await.reason, Reason::Updated);
    let mut spec = place.spec(&broken);
    spec.goal = Goal::Back {
        from: new.clone(),
        to: broken,
    };
    let outcome = place.attempt(spec).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::RestartFailed),
        "{outcome:?}"
    );
    place.assert_on(&new, "three");
}

#[tokio::test]
async fn a_shallow_clone_goes_forward_and_back() {
    let place = Place::new();
    place.release("two", "service=ok\n");
    let base = place.release("three", "service=ok\n");
    fs::rename(place.path("state/app"), place.path("state/full")).unwrap();
    let origin = format!("file://{}", place.path("origin").display());
    place.git_at(
        "state",
        &["clone", "--quiet", "--depth", "1", &origin, "app"],
    );
    fs::rename(
        place.path("state/full/node_modules"),
        place.path("state/app/node_modules"),
    )
    .unwrap();
    place.write("state/app/.git/info/exclude", "node_modules\n");
    place.release("four", "service=ok\n");
    let bad = place.release("five", "service=loop\n");
    let outcome = place.update(&bad).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::CrashLoop),
        "{outcome:?}"
    );
    place.assert_on(&base, "three");
    let good = place.release("six", "service=ok\n");
    assert_eq!(place.update(&good).await.reason, Reason::Updated);
    place.assert_on(&good, "six");
}

#[tokio::test]
async fn submodules_follow_both_ways() {
    let place = Place::new();
    place.write("home/.gitconfig", "");
    place.git_at("", &["init", "--quiet", "-b", "main", "library"]);
    place.write("library/lib", "v1");
    place.git_at("library", &["add", "--all"]);
    place.git_at("library", &["commit", "--quiet", "-m", "v1"]);
    let library = place.path("library");
    place.git_at(
        "origin",
        &[
            "submodule",
            "--quiet",
            "add",
            library.to_str().unwrap(),
            "lib",
        ],
    );
    let first = place.release("two", "service=ok\n");
    place.write("state/git.sh", "export GIT_ALLOW_PROTOCOL=file\n");
    assert_eq!(place.update(&first).await.reason, Reason::Updated);
    assert_eq!(place.read("state/app/lib/lib"), "v1");

    place.write("library/lib", "v2");
    place.git_at("library", &["commit", "--quiet", "-am", "v2"]);
    place.git_at("origin/lib", &["pull", "--quiet", "origin", "main"]);
    let bad = place.release("three", "service=loop\n");
    let outcome = place.update(&bad).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::CrashLoop),
        "{outcome:?}"
    );
    assert_eq!(place.read("state/app/lib/lib"), "v1");
    place.assert_on(&first, "two");
    let good = place.release("four", "service=ok\n");
    assert_eq!(place.update(&good).await.reason, Reason::Updated);
    assert_eq!(place.read("state/app/lib/lib"), "v2");
}

#[tokio::test]
async fn settings_and_hooks_of_the_host_do_not_get_in_the_way() {
    let place = Place::new();
    for (name, value) in [
        ("pull.rebase", "false"),
        ("merge.ff", "false"),
        ("branch.main.mergeOptions", "--no-ff"),
        ("core.quotePath", "true"),
        ("status.showUntrackedFiles", "all"),
        ("status.branch", "true"),
        ("color.ui", "always"),
        ("diff.renames", "copies"),
        ("gc.auto", "1"),
    ] {
        place.git(&["config", name, value]);
    }
    for hook in [
        "post-merge",
        "post-checkout",
        "reference-transaction",
        "pre-merge-commit",
    ] {
        let path = place.path(&format!("state/app/.git/hooks/{hook}"));
        fs::write(&path, "#!/bin/sh\nsleep 600\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let old = place.head();
    let bad = place.release("two", "service=loop\n");
    assert_eq!(place.update(&bad).await.status, AttemptStatus::RolledBack);
    place.assert_on(&old, "one");
    let good = place.release("three", "service=ok\n");
    assert_eq!(place.update(&good).await.reason, Reason::Updated);
    place.assert_on(&good, "three");
}

#[tokio::test]
async fn names_that_are_code_elsewhere_are_names_here() {
    let place = Place::new();
    let evil = "a;touch$IFS'owned'$(touch-owned)`id`";
    place.git(&["checkout", "--quiet", "-b", evil]);
    let old = place.head();
    let bad = place.release("two", "service=fail\n");
    let mut spec = place.spec(&bad);
    spec.app.install = "bun install 'two words' \"$HOME\" \\; --upload-pack=x".to_owned();
    spec.app
        .generated
        .push("it's; $(touch owned) a file".replace('\'', ""));
    let outcome = place.attempt(spec).await;
    assert_eq!(outcome.status, AttemptStatus::RolledBack, "{outcome:?}");
    place.assert_on(&old, "one");
    assert_eq!(place.branch(), evil);
    let seen = format!(
        "bun install two words {} ; --upload-pack=x",
        place.path("home").display()
    );
    assert_eq!(place.acts()[0], seen);
    assert!(
        !place.exists("owned") && !place.exists("state/app/owned") && !place.exists("home/owned")
    );
}

#[tokio::test]
async fn a_repository_with_spaces_in_its_path_and_its_files() {
    let place = Place::new();
    place.write("origin/a b \"c\" ü", "x");
    let old = place.head();
    let new = place.release("two", "service=fail\n");
    fs::rename(place.path("state/app"), place.path("state/my app")).unwrap();
    std::os::unix::fs::symlink(place.path("state/my app"), place.path("state/app")).unwrap();
    let mut spec = place.spec(&new);
    spec.app.repo = place
        .path("state/my app")
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let outcome = place.attempt(spec).await;
    assert_eq!(outcome.status, AttemptStatus::RolledBack, "{outcome:?}");
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
async fn an_edit_made_after_the_look_is_kept() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    // The second look at the tree is the pull's.
    place.write(
        "state/git.sh",
        "if [ \"$sub\" = status ]; then\n  [ ! -e \"$ROLLOUT_TEST_STATE/seen\" ] || echo mine >app.conf\n  \
         : >\"$ROLLOUT_TEST_STATE/seen\"\nfi\n",
    );
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::DirtyTree, "app.conf");
    assert_eq!(
        (place.head(), place.read("state/app/app.conf").as_str()),
        (old, "mine\n")
    );
}

/// A worker died after it put the pull on record and before it sent it.
fn not_begun(place: &Place, step: StepId, phase: Phase) -> Progress {
    Progress {
        previous: Some(Previous {
            version: place.head(),
            branch: Some("main".to_owned()),
            was_active: true,
        }),
        touched: true,
        phase,
        step: Some(step),
    }
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
        let progress = not_begun(&place, StepId::Pull, Phase::Forward);
        let outcome = place.attempt(resumed(&place, &new, progress)).await;
        assert_untouched(&place, &outcome, Reason::DirtyTree, file);
        assert_eq!(
            (place.head(), place.read(&format!("state/app/{file}"))),
            (old, "mine\n".to_owned())
        );
    }
}

#[tokio::test]
async fn a_rollback_does_not_force_a_host_that_is_back_already_and_was_edited() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    place.write("state/app/app.conf", "mine\n");
    let progress = not_begun(&place, StepId::RollbackInstall, back());
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Failed, Reason::RollbackFailed),
        "{outcome:?}"
    );
    assert!(
        outcome.needs_attention && outcome.message.contains("app.conf"),
        "{outcome:?}"
    );
    assert_eq!(
        (place.head(), place.read("state/app/app.conf").as_str()),
        (old, "mine\n")
    );
}

#[tokio::test]
async fn what_a_forced_checkout_throws_away_is_kept_under_a_ref() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=fail\n"));
    // The edit is made while the release is being installed.
    place.write(
        "bin/bun",
        &place.read("bin/bun").replace(
            "mkdir -p",
            "[ \"$(cat release)\" = one ] || echo mine >only-in-two\nmkdir -p",
        ),
    );
    let outcome = place.update(&new).await;
    assert_eq!(outcome.status, AttemptStatus::RolledBack, "{outcome:?}");
    place.assert_on(&old, "one");
    assert_eq!(
        place.git(&["show", "refs/rollout/discarded:only-in-two"]),
        "mine"
    );
}

#[tokio::test]
async fn a_file_of_a_person_that_the_target_brings_survives_a_move_that_would_die_halfway() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    place.write("state/app/only-in-two", "my secret");
    place.write("state/app/.git/info/exclude", "node_modules\nonly-in-two\n");
    place.write(
        "state/git.sh",
        "[ \"$sub\" = merge ] && { echo 'error: unable to write file: No space left on device' >&2; exit 1; }\n",
    );
    let outcome = place.update(&new).await;
    assert_untouched(&place, &outcome, Reason::DirtyTree, "only-in-two");
    assert_eq!(
        (place.head(), place.read("state/app/only-in-two").as_str()),
        (old, "my secret")
    );
    assert!(!place.exists("state/app/.git/rollout/moving"));
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
async fn a_host_whose_last_update_was_never_proven_is_not_called_unchanged() {
    let place = Place::new();
    let new = place.release("two", "service=ok\ninstall=fail\n");
    // Neither the way forward nor the way back comes to its end: the files are new, the process is the old one.
    place.write(
        "state/git.sh",
        "case $sub in reset | read-tree) echo 'fatal: no' >&2; exit 128 ;; esac\n",
    );
    let outcome = place.update(&new).await;
    assert_eq!(outcome.reason, Reason::RollbackFailed, "{outcome:?}");
    assert_eq!(
        (place.head(), place.read("state/running").as_str()),
        (new.clone(), "one")
    );
    fs::remove_file(place.path("state/git.sh")).unwrap();

    let outcome = place.update(&new).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Failed, Reason::NoPrevious),
        "{outcome:?}"
    );
    // The cause is gone: bun works on this host now.
    place.write_tool(
        "bun",
        "echo \"begin bun $*\" >>\"$ROLLOUT_TEST_STATE/log\"\nmkdir -p node_modules\ncat release >node_modules/installed\n",
    );
    let outcome = place.update(&new).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Success, Reason::Updated),
        "{outcome:?}"
    );
    place.assert_on(&new, "two");
    assert_eq!(place.update(&new).await.reason, Reason::Unchanged);
}

#[tokio::test]
async fn a_way_back_that_was_proven_leaves_no_mark() {
    let place = Place::new();
    let (old, bad) = (place.head(), place.release("two", "service=fail\n"));
    assert_eq!(place.update(&bad).await.status, AttemptStatus::RolledBack);
    assert_eq!(place.update(&old).await.reason, Reason::Unchanged);
}

#[tokio::test]
async fn a_place_for_messages_that_cannot_be_written_is_no_obstacle() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    fs::create_dir_all(place.path("state/app/.git/rollout/said")).unwrap();
    let outcome = place.update(&new).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
}
