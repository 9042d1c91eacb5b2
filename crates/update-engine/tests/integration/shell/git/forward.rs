//! Moves forward: a good release, whatever the branch and the generated files do meanwhile.

use std::fs;

use fleet_types::{AttemptStatus, Reason};

use super::Place;
use crate::support::assert_ended;

#[tokio::test]
async fn a_good_release() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    let outcome = place.update(&new).await;
    assert_ended(&outcome, AttemptStatus::Success, Reason::Updated);
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
    assert_ended(&outcome, AttemptStatus::Success, Reason::Unchanged);
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
    let outcome = place.attempt(place.spec_on("main", &new)).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
}

#[tokio::test]
async fn a_branch_whose_commit_is_here_already_is_not_fetched_again() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    place.release("three", "service=fail\n");
    place.git(&["fetch", "--quiet"]);
    fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
    let outcome = place.attempt(place.spec_on("main", &new)).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
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
async fn generated_files_are_no_obstacle_either_way() {
    let place = Place::new();
    let old = place.head();
    place.write("state/app/bun.lock", "rewritten by the last install\n");
    place.git(&["add", "bun.lock"]);
    let bad = place.release("two", "service=loop\ninstall=touch\n");
    let outcome = place.update(&bad).await;
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::CrashLoop);
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
async fn a_place_for_messages_that_cannot_be_written_is_no_obstacle() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    fs::create_dir_all(place.path("state/app/.git/rollout/said")).unwrap();
    let outcome = place.update(&new).await;
    assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    place.assert_on(&new, "two");
}
