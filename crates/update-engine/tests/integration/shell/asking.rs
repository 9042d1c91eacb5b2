//! Looking at a host and resolving a target through it, on real git.

use std::fs;

use fleet_types::{CommitHash, Reason, TargetRef};
use update_engine::{ResolveError, look, resolve_target};

use super::place::Place;
use crate::support::endpoint;

async fn resolve(place: &Place, target: &str) -> Result<CommitHash, ResolveError> {
    let target: TargetRef = target.parse().unwrap();
    resolve_target(&place.transport(), &endpoint(), &place.app(), &target).await
}

#[tokio::test]
async fn a_branch_is_asked_of_the_remote_and_nothing_is_changed() {
    let place = Place::new();
    let new = place.release("two", "service=ok\n");
    // A branch whose name ends in the same words must not be taken for it.
    place.git_at(
        "origin",
        &["update-ref", "refs/remotes/x/refs/heads/main", "HEAD~1"],
    );
    place.git_at("origin", &["branch", "feature/x", "HEAD~1"]);
    let before = place.head();
    assert_eq!(resolve(&place, "main").await.unwrap(), new);
    assert_eq!(resolve(&place, "feature/x").await.unwrap(), before);
    assert_eq!((place.head(), place.status().as_str()), (before, ""));
    assert!(!place.exists("state/app/.git/rollout") && !place.exists("state/app/.git/FETCH_HEAD"));
}

#[tokio::test]
async fn a_commit_is_looked_for_here_and_then_there() {
    let place = Place::new();
    let here = place.head();
    assert_eq!(resolve(&place, here.as_str()).await.unwrap(), here);
    let there = place.release("two", "service=ok\n");
    place.release("three", "service=ok\n");
    assert_eq!(resolve(&place, there.as_str()).await.unwrap(), there);
    place.git_at("origin", &["branch", "aside", here.as_str()]);
    place.git_at("origin", &["checkout", "--quiet", "aside"]);
    let aside = place.release("four", "service=ok\n");
    assert_eq!(
        resolve(&place, aside.as_str()).await.unwrap(),
        aside,
        "on no branch that the host follows"
    );
    assert_eq!(place.head(), here);
    assert!(!place.exists("state/app/.git/FETCH_HEAD"));
}

/// What one host says decides for all of them.
#[tokio::test]
async fn a_host_cannot_put_another_commit_in_the_place_of_the_one_asked_for() {
    let place = Place::new();
    let other = place.head();
    let asked = place.release("two", "service=ok\n");
    let place = place.with_login_shell(&format!("/bin/sh \"$@\" | sed 's/{asked}/{other}/g'\n"));
    let error = resolve(&place, asked.as_str()).await.unwrap_err();
    let ResolveError::Unanswered { message, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(
        message.contains(&format!("names another commit: {other}")),
        "{message}"
    );
}

#[tokio::test]
async fn what_does_not_exist_and_what_could_not_be_asked_are_told_apart() {
    let place = Place::new();
    let nowhere = "0123456789abcdef0123456789abcdef01234567";
    for target in ["no-such-branch", nowhere] {
        let error = resolve(&place, target).await.unwrap_err();
        assert!(
            matches!(&error, ResolveError::Missing { .. }),
            "{target}: {error:?}"
        );
        assert!(error.to_string().contains("origin"), "{error}");
    }
    fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
    for target in ["main", nowhere] {
        let error = resolve(&place, target).await.unwrap_err();
        assert!(
            matches!(
                &error,
                ResolveError::Unanswered {
                    reason: Reason::FetchFailed,
                    ..
                }
            ),
            "{target}: {error:?}"
        );
    }
    fs::rename(place.path("state/app"), place.path("state/gone")).unwrap();
    let error = resolve(&place, "main").await.unwrap_err();
    assert!(
        matches!(
            error,
            ResolveError::Unanswered {
                reason: Reason::NoRepo,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_look_tells_what_a_host_is_like_and_changes_nothing() {
    let place = Place::new();
    let seen = look(&place.transport(), &endpoint(), &place.app())
        .await
        .unwrap();
    assert_eq!(
        (seen.version, seen.branch.as_deref()),
        (Some(place.head()), Some("main"))
    );
    assert_eq!(
        (seen.active, seen.service.as_str()),
        (true, "active (running)")
    );
    assert_eq!((seen.dirty_files, seen.problems), (vec![], vec![]));

    place.write("state/app/release", "edited");
    place.write("state/no-sudo", "");
    place.write(
        "state/unit",
        "active=failed\nrestarts=0\nlives=1\npid=0\nmode=fail\nresult=exit-code\n",
    );
    let seen = look(&place.transport(), &endpoint(), &place.app())
        .await
        .unwrap();
    assert_eq!(
        (seen.dirty_files, seen.active),
        (vec!["release".to_owned()], false)
    );
    let reasons: Vec<Reason> = seen.problems.iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::DirtyTree, Reason::NoSudo]);
    assert!(!place.exists("state/app/.git/rollout"));
}
