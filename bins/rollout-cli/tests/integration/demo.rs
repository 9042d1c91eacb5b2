//! The demo does what it announces.

use crate::support::{Place, words};

#[test]
fn one_broken_host_is_taken_back_and_named() {
    let place = Place::new();
    // Settings play no part, not even ones that cannot be read.
    place.write("rollout.toml", "nonsense");
    let ran = place.expect(0, &["demo", "--seed", "3"]);
    let expected = ran
        .stderr
        .lines()
        .find(|line| line.starts_with("Release"))
        .unwrap();
    let broken = expected
        .split("crash-loops on ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(
        ran.stdout.contains("✓ 19 updated   ↩ 1 rolled back"),
        "{ran:#?}"
    );
    assert!(
        ran.stdout.contains(&format!("↩ {broken}")) && ran.stdout.contains("crash_loop"),
        "{ran:#?}"
    );
    assert!(
        ran.stderr.contains("what was announced happened") && ran.stderr.contains("Next:"),
        "{ran:#?}"
    );
    assert!(
        !ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'),
        "no codes in a pipe"
    );
    let left: Vec<_> = place.content().into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [place.path("rollout.toml")], "nothing is left behind");
}

#[test]
fn a_share_of_broken_hosts_halts_it() {
    let place = Place::new();
    let ran = place.expect(0, &["demo", "--break", "40%", "--seed", "3"]);
    assert!(
        ran.stdout.contains("Halted") && ran.stdout.contains("in stage 2/3"),
        "{ran:#?}"
    );
    assert!(
        ran.stdout.contains("same cause on") && ran.stdout.contains("10 not started"),
        "{ran:#?}"
    );
    let ran = place.expect(0, &words("demo --hosts 4 --break 1 --seed 1 --json"));
    let last = ran.lines().pop().unwrap();
    assert_eq!(
        (&last["type"], &last["rollout"]["state"]),
        (&"summary".into(), &"halted".into())
    );
}

#[test]
fn a_good_release_reaches_every_host() {
    let ran = Place::new().expect(0, &["demo", "--hosts", "3", "--break", "0"]);
    assert!(ran.stdout.contains("Completed   3 hosts on"), "{ran:#?}");
}
