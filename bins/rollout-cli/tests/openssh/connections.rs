//! Connections as the hosts see them.

use std::sync::Arc;
use std::time::Duration;

use fleet_testkit::{is_left_out, until};

use crate::site::Site;
use crate::tap::{Gauge, Span, Tap};

/// How many hosts.
const HOSTS: usize = 12;
/// How long their services settle.
const SETTLE: Duration = Duration::from_millis(1500);

#[test]
fn five_at_once_and_none_while_a_host_settles() {
    if is_left_out("sshd") {
        return;
    }
    let gauge = Arc::new(Gauge::default());
    let mut site = Site::bare(HOSTS);
    let taps: Vec<Tap> = site
        .machines
        .iter()
        .enumerate()
        .map(|(number, machine)| Tap::start(&gauge, number, machine.port))
        .collect();
    for (machine, tap) in site.machines.iter_mut().zip(&taps) {
        machine.port = tap.port();
    }
    site.import();
    site.program.expect(0, &["hosts", "trust", "--all", "-y"]);
    assert!(
        gauge.highest() <= 5,
        "{} to fetch host keys",
        gauge.highest()
    );
    let target = site.good_release();

    let accepted = || -> usize {
        let machines = site.machines.iter();
        machines.map(|machine| machine.sshd.connections()).sum()
    };
    until("all are closed, and sshd has noted each", || {
        gauge.open() == 0 && accepted() == gauge.spans().len()
    });
    gauge.reset();
    let before = accepted();
    let arguments = [
        "update",
        "--all",
        "-y",
        "--to",
        &target,
        "--stages",
        "100",
        "--concurrency",
        "5",
        "--max-in-flight",
        "12",
        "--settle",
        "1.5s",
    ];
    site.program.roll_out(0, &arguments);
    site.assert_all_on(&target);
    // The limit is kept, and used.
    assert_eq!(gauge.highest(), 5);
    let spans = gauge.spans();
    until("sshd has noted each of them, and no other", || {
        accepted() - before == spans.len()
    });
    // Two an attempt, and those on which the first hosts were asked whether there is such a commit.
    let asked = spans.len() - 2 * HOSTS;
    assert!(asked <= 5, "{asked} more than two for each host");
    let waits: Vec<(Span, Span)> = (0..HOSTS).map(|host| pair(&spans, host)).collect();
    for (before, after) in &waits {
        let wait = after.opened.duration_since(before.closed.unwrap());
        // The wait begins with the restart; closing takes its time.
        assert!(
            wait > SETTLE - Duration::from_millis(500),
            "host {}: {wait:?}",
            before.host
        );
    }
    // More of them settled at once than may have a connection: the wait costs no slot.
    let most = waits
        .iter()
        .map(|(before, _)| settling(&waits, before))
        .max()
        .unwrap();
    assert!(most > 5, "{most} settled at once");
}

/// The two connections of a host's attempt: up to the settle wait, and from its end.
#[track_caller]
fn pair(spans: &[Span], host: usize) -> (Span, Span) {
    let mine: Vec<&Span> = spans.iter().filter(|span| span.host == host).collect();
    let [.., before, after] = mine[..] else {
        panic!("host {host}: {mine:#?}");
    };
    (*before, *after)
}

/// How many were between their two connections when this one was closed.
fn settling(waits: &[(Span, Span)], at: &Span) -> usize {
    let moment = at.closed.unwrap();
    waits
        .iter()
        .filter(|(before, after)| before.closed.unwrap() <= moment && moment < after.opened)
        .count()
}
