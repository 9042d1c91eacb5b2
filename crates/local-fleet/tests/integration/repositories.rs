//! The origin's commits, and clones that git cannot work with.

use local_fleet::{CommandPoint, Fault, LocalFleet, ReleaseSpec};

use crate::client::{End, run};
use crate::{fleet, start};

const FETCH: &str = "cd app; git fetch -q origin main";
const MERGE: &str = "cd app; git merge -q --ff-only origin/main";

/// git's status for a lock in the way differs between its versions.
const LOCKED_MERGE: &str = "cd app; git merge -q --ff-only origin/main || exit 99";

#[tokio::test]
async fn the_same_releases_have_the_same_hashes() {
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let (_folder, fleet) = fleet(1).await;
        fleet
            .add_release(ReleaseSpec::good("Second"))
            .await
            .unwrap();
        hashes.push(fleet.releases());
        fleet.stop().await;
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0][1].commit.len(), 40);
}

#[tokio::test]
async fn a_forced_push_makes_the_hosts_diverge() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let two = fleet
        .add_release(ReleaseSpec::good("Second"))
        .await
        .unwrap();
    assert_eq!(
        run(
            host,
            &format!("{FETCH}; git merge -q --ff-only origin/main")
        )
        .await
        .end,
        End::Status(0)
    );
    let other = fleet
        .replace_release(ReleaseSpec::good("Second, otherwise"))
        .await
        .unwrap();
    assert_eq!(
        run(host, &format!("{FETCH}; git merge -q --ff-only FETCH_HEAD"))
            .await
            .end,
        End::Status(128)
    );
    assert_eq!(host.head().await.unwrap(), two.commit);
    assert_eq!(
        host.git(&["rev-parse", "FETCH_HEAD"]).await.unwrap(),
        other.commit
    );
    fleet.stop().await;
}

#[tokio::test]
async fn branches_and_lost_commits() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    let side = fleet
        .add_branch("fix/login", ReleaseSpec::good("Side"))
        .await
        .unwrap();
    let lost = fleet.lost_release(ReleaseSpec::good("Lost")).await.unwrap();
    assert_eq!(
        run(
            host,
            "cd app; git fetch -q origin fix/login; git rev-parse FETCH_HEAD"
        )
        .await
        .stdout
        .trim(),
        side.commit
    );
    let output = run(
        host,
        &format!("cd app; git fetch -q origin {}", lost.commit),
    )
    .await;
    assert_eq!(output.end, End::Status(128), "{output:?}");
    assert_eq!(
        run(host, "cd app; git ls-remote -q origin")
            .await
            .stdout
            .lines()
            .count(),
        3
    );
    let main = fleet
        .add_release(ReleaseSpec::good("Main goes on"))
        .await
        .unwrap();
    assert_eq!(main.id, "r4");
    assert_eq!(
        host.git(&["ls-remote", "origin", "refs/heads/main"])
            .await
            .unwrap(),
        format!("{}\trefs/heads/main", main.commit)
    );
    fleet.stop().await;
}

/// Sets a fault on a host that is one release behind and runs scripts; then takes it back and runs the last one again.
async fn check(fault: Fault, scripts: &[(&str, u32)], after: u32) {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    fleet
        .add_release(ReleaseSpec::good("Second"))
        .await
        .unwrap();
    host.git(&["fetch", "-q"]).await.unwrap();
    host.set_fault(fault.clone()).await.unwrap();
    for (script, status) in scripts {
        let output = run(host, script).await;
        assert_eq!(
            output.end,
            End::Status(*status),
            "{fault:?}: {script}: {output:?}"
        );
    }
    host.clear_faults().await.unwrap();
    let (last, _) = scripts.last().unwrap();
    let output = run(host, last).await;
    assert_eq!(
        output.end,
        End::Status(after),
        "{fault:?} taken back: {last}: {output:?}"
    );
    assert_eq!(
        run(host, "cd app; git status --porcelain; command -v df")
            .await
            .stdout
            .lines()
            .count(),
        1
    );
    fleet.stop().await;
}

#[tokio::test]
async fn repository_faults_are_set_and_taken_back() {
    check(
        Fault::DiskFull,
        &[
            (FETCH, 1),
            ("cd app; git reset -q --hard", 128),
            ("cd app; git rev-parse HEAD", 0),
            (MERGE, 128),
        ],
        0,
    )
    .await;
    check(Fault::ReadOnlyRepository, &[(FETCH, 255), (MERGE, 128)], 0).await;
    check(Fault::StaleIndexLock, &[(FETCH, 0), (LOCKED_MERGE, 99)], 0).await;
    check(
        Fault::fails(CommandPoint::Git("fetch"), 42),
        &[("cd app; git -C . -c a.b=c fetch -q", 42)],
        0,
    )
    .await;
    check(Fault::DirtyTree, &[("cd app; git diff --quiet HEAD", 1)], 0).await;
    check(
        Fault::DetachedHead,
        &[("cd app; git symbolic-ref -q HEAD", 1)],
        1,
    )
    .await;
    let space = "cd app; [ $(df -Pk . | awk 'NR == 2 { print $4 }') -eq 12 ]";
    check(Fault::LowSpace(12), &[(space, 0)], 1).await;
    check(Fault::NoBun, &[("cd app; command -v bun", 127)], 0).await;
    check(
        Fault::UnitMasked,
        &[("sudo -n systemctl restart app", 1)],
        0,
    )
    .await;
}

/// The trap: git says that it failed, `HEAD` has not moved, and the files are the new ones.
#[tokio::test]
async fn a_stale_ref_lock_leaves_new_files_under_the_old_head() {
    let (_folder, fleet) = fleet(1).await;
    let host = &fleet.hosts()[0];
    fleet
        .add_release(ReleaseSpec::good("Second"))
        .await
        .unwrap();
    run(host, FETCH).await;
    host.set_fault(Fault::StaleRefLock).await.unwrap();
    assert_ne!(run(host, MERGE).await.end, End::Status(0));
    assert_eq!(host.head().await.unwrap(), fleet.first_release().commit);
    assert_ne!(host.changes().await.unwrap(), "");
    let restarted = run(host, "cd app; bun install; sudo -n systemctl restart app").await;
    assert_eq!(restarted.end, End::Status(0));
    let state = host.service_state().await.unwrap();
    assert_eq!(
        (state.commit, state.release.as_deref()),
        (Some(fleet.first_release().commit), Some("r2"))
    );
    host.clear_faults().await.unwrap();
    assert_eq!(
        run(host, "cd app; git reset -q --hard").await.end,
        End::Status(0)
    );
    assert_eq!(host.changes().await.unwrap(), "");
    fleet.stop().await;
}

#[tokio::test]
async fn names_that_are_no_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = async |first: &'static str, second: &'static str| {
        let names = move |number| if number == 0 { first } else { second }.to_owned();
        let fleet = LocalFleet::builder()
            .hosts(2)
            .names(names)
            .root(folder.path())
            .start()
            .await;
        fleet.unwrap_err().to_string()
    };
    for bad in ["../up", "", "-n", ".", "a b", "é"] {
        assert!(
            message("good", bad)
                .await
                .ends_with("is no name for a host"),
            "{bad:?}"
        );
    }
    assert_eq!(message("same", "same").await, "two hosts are named same");
    let (_kept, hundred) = fleet(101).await;
    assert!(hundred.host("demo-007").is_some() && hundred.host("demo-07").is_none());
    hundred.stop().await;
    let (folder, fleet) = start(LocalFleet::builder()).await;
    let again = LocalFleet::builder()
        .root(folder.path().join("fleet"))
        .start()
        .await
        .unwrap_err();
    assert!(again.to_string().contains("open it"), "{again}");
    fleet.stop().await;
}
