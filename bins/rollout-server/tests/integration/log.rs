//! The hosts' own logs.

use std::time::Duration;

use local_fleet::{Change, ChangeKind, LocalHost};

/// What changed a host, in order.
pub(crate) fn changes(host: &LocalHost) -> Vec<Change> {
    local_fleet::changes(&host.log().unwrap())
}

/// When the installs and restarts of a host began, each of which was sent by itself. A pull is one command that calls
/// git several times: when these begin does not tell when it was sent.
pub(crate) fn installs_and_restarts(host: &LocalHost) -> Vec<Duration> {
    let sent = |change: &Change| matches!(change.kind, ChangeKind::Install | ChangeKind::Service);
    let changes = changes(host).into_iter();
    changes.filter(sent).map(|change| change.began).collect()
}

/// No two changing programs of a host that was updated at once.
pub(crate) fn never_overlap(host: &LocalHost) {
    let changes = changes(host);
    assert_eq!(wrong(&changes), None, "{}: {changes:#?}", host.name());
}

/// What is wrong with the changes of a host that was updated and on which nothing was killed.
fn wrong(changes: &[Change]) -> Option<String> {
    for pair in changes.windows(2) {
        let [one, next] = pair else { continue };
        if one.ended.is_none_or(|ended| ended > next.began) {
            return Some(format!("{} began while {} ran", next.command, one.command));
        }
    }
    let kinds = [ChangeKind::Tree, ChangeKind::Install, ChangeKind::Service];
    let unseen = |kind: &ChangeKind| changes.iter().all(|change| change.kind != *kind);
    let unseen = kinds.into_iter().find(unseen)?;
    Some(format!("nothing of the kind {unseen:?} was seen"))
}

/// Since this machine was booted.
pub(crate) fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds)
}

#[test]
fn what_is_wrong_with_changes_is_found() {
    let change = |kind, began, ended: Option<u64>| Change {
        command: format!("{kind:?}"),
        kind,
        process: 1,
        began: Duration::from_millis(began),
        ended: ended.map(Duration::from_millis),
    };
    let check = |changes: &[Change], expected: &str| {
        let wrong = wrong(changes).unwrap_or_default();
        assert!(wrong.contains(expected), "{wrong}");
        assert_eq!(wrong.is_empty(), expected.is_empty(), "{wrong}");
    };
    let pull = change(ChangeKind::Tree, 0, Some(100));
    let install = change(ChangeKind::Install, 100, Some(200));
    let restart = change(ChangeKind::Service, 200, Some(300));
    let another = change(ChangeKind::Tree, 50, Some(60));
    check(&[pull.clone(), install.clone(), restart.clone()], "");
    check(
        &[pull.clone(), another, install.clone(), restart.clone()],
        "Tree began while Tree ran",
    );
    check(
        &[
            change(ChangeKind::Tree, 0, None),
            install.clone(),
            restart.clone(),
        ],
        "Install began while Tree ran",
    );
    // A log without git is no proof.
    check(&[install.clone(), restart], "kind Tree");
    check(&[pull, install], "kind Service");
}
