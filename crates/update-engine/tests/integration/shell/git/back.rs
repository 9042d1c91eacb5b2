//! Moves back: to the version before, and what they keep of a person's.

use std::fs;

use fleet_types::{AttemptStatus, CommitHash, Reason, StepId};
use update_engine::Goal;

use super::{Place, back, half_way, on_record, resumed};
use crate::support::assert_ended;

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
    assert_ended(&outcome, AttemptStatus::Skipped, Reason::MovedOn);
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
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::RestartFailed);
    place.assert_on(&new, "three");
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

#[tokio::test]
async fn a_rollback_does_not_force_a_host_that_is_back_already_and_was_edited() {
    let place = Place::new();
    let (old, new) = (place.head(), place.release("two", "service=ok\n"));
    place.write("state/app/app.conf", "mine\n");
    let progress = on_record(&place, StepId::RollbackInstall, back());
    let outcome = place.attempt(resumed(&place, &new, progress)).await;
    assert_ended(&outcome, AttemptStatus::Failed, Reason::RollbackFailed);
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
async fn a_way_back_that_was_proven_leaves_no_mark() {
    let place = Place::new();
    let (old, bad) = (place.head(), place.release("two", "service=fail\n"));
    assert_eq!(place.update(&bad).await.status, AttemptStatus::RolledBack);
    assert_eq!(place.update(&old).await.reason, Reason::Unchanged);
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
    assert_ended(&outcome, AttemptStatus::Failed, Reason::NoPrevious);
    // The cause is gone: bun works on this host now.
    place.write_tool(
        "bun",
        "echo \"begin bun $*\" >>\"$ROLLOUT_TEST_STATE/log\"\nmkdir -p node_modules\ncat release >node_modules/installed\n",
    );
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::Success, Reason::Updated);
    place.assert_on(&new, "two");
    assert_eq!(place.update(&new).await.reason, Reason::Unchanged);
}
