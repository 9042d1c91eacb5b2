//! Repositories that are not as usual: shallow, with submodules, with settings, hooks and names of their own.

use std::fs;

use fleet_types::{AttemptStatus, Reason};

use super::Place;
use crate::support::assert_ended;

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
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::CrashLoop);
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
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::CrashLoop);
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
