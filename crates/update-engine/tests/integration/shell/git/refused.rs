//! What is refused with the host untouched, and a person's files kept.

use std::fs;

use fleet_types::Reason;

use super::Place;
use crate::shell::assert_untouched;

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

/// A host that was asked where a branch points may have named a commit that a pull request brought to the remote.
#[tokio::test]
async fn a_commit_that_is_not_on_the_branch_that_was_asked_for_is_refused() {
    for fetched in [false, true] {
        let place = Place::new();
        let base = place.head();
        let foreign = place.release("two", "service=ok\n");
        place.git_at("origin", &["branch", "proposed"]);
        place.git_at("origin", &["reset", "--quiet", "--hard", base.as_str()]);
        if fetched {
            place.git(&["fetch", "--quiet", "origin"]);
        }
        let outcome = place.attempt(place.spec_on("main", &foreign)).await;
        assert_untouched(
            &place,
            &outcome,
            Reason::TargetGone,
            "not on the branch main",
        );
        assert_eq!(place.head(), base);

        // The fetch that fails leaves no trace; what an earlier one left there says nothing of this branch.
        place.git(&["fetch", "--quiet", "origin", "proposed"]);
        fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
        let outcome = place.attempt(place.spec_on("main", &foreign)).await;
        assert_untouched(&place, &outcome, Reason::FetchFailed, "origin");
        fs::rename(place.path("elsewhere"), place.path("origin")).unwrap();
        let outcome = place.attempt(place.spec_on("proposed", &foreign)).await;
        assert_eq!(outcome.reason, Reason::Updated, "{outcome:?}");
    }
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
