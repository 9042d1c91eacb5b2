//! Hosts that cannot be reached, or are not who they were, or do not let us in, or whose shell is in the way.

use std::fs;

use fleet_testkit::{KeyKind, Sshd, TestKey, is_left_out, until};
use fleet_types::RolloutState;
use tokio::net::TcpSocket;

use crate::program::Ended;
use crate::site::{Site, options_of};

/// Everything in one stage that goes on whatever fails.
const ALL_AT_ONCE: [&str; 9] = [
    "update",
    "--all",
    "-y",
    "--settle",
    "0",
    "--stages",
    "100",
    "--max-failures",
    "100%",
];

/// The host must have failed for this reason, with no command sent to it.
#[track_caller]
fn assert_untouched(site: &Site, ended: &Ended, name: &str, reason: &str) {
    assert_eq!(
        ended.part(name),
        ("failed".to_owned(), reason.to_owned(), false),
        "{:#?}",
        ended.summary.host(name)
    );
    assert!(!ended.summary.host(name).needs_attention);
    site.assert_on(name, &site.first());
    let machine = site.machine(name);
    assert_eq!(machine.commands(), Vec::<String>::new());
}

#[test]
fn a_host_that_is_down_fails_untouched_and_the_others_go_on() {
    if is_left_out("sshd") {
        return;
    }
    let mut site = Site::new(10);
    let target = site.good_release();
    let down = site
        .machines
        .iter_mut()
        .find(|machine| machine.host.name() == "web-08")
        .unwrap();
    down.sshd.stop();
    // Nobody else gets the port meanwhile: bound, and nobody listens.
    let holder = TcpSocket::new_v4().unwrap();
    holder.set_reuseaddr(true).unwrap();
    holder.bind(([127, 0, 0, 1], down.port).into()).unwrap();

    let ended = site
        .program
        .roll_out(3, &["update", "--all", "-y", "--settle", "0"]);
    assert_eq!(
        ended.summary.rollout.state,
        RolloutState::CompletedWithFailures
    );
    assert_untouched(&site, &ended, "web-08", "unreachable");
    for machine in site
        .machines
        .iter()
        .filter(|machine| machine.host.name() != "web-08")
    {
        assert_eq!(ended.part(machine.host.name()).1, "updated");
        site.assert_on(machine.host.name(), &target);
    }
    drop(holder);
}

#[test]
fn hosts_that_prove_nothing_get_no_command() {
    if is_left_out("sshd") {
        return;
    }
    let mut site = Site::bare(4);
    let stranger = TestKey::generate(&site.path(""), "stranger", KeyKind::Ed25519);
    site.machines[3].key = stranger.private().to_owned();
    site.import();
    // All but web-03.
    let trusted = ["hosts", "trust", "web-01", "web-02", "web-04", "-y"];
    site.program.expect(0, &trusted);
    let target = site.good_release();
    let asked: Vec<_> = site
        .machines
        .iter()
        .map(|machine| machine.sshd.sessions())
        .collect();
    assert_eq!(asked, [0; 4]);

    let impostor = impostor(&mut site, 1);
    let ended = site
        .program
        .roll_out(3, &[&ALL_AT_ONCE[..], &["--to", &target]].concat());
    site.assert_on("web-01", &target);
    for (name, reason) in [
        ("web-02", "host_key_changed"),
        ("web-03", "host_key_unknown"),
        ("web-04", "auth_refused"),
    ] {
        assert_untouched(&site, &ended, name, reason);
    }
    assert!(
        impostor.connections() >= 1,
        "it was not even asked: {}",
        impostor.log()
    );
    assert_eq!(impostor.sessions(), 0);
    assert!(!impostor.log().contains("Accepted"), "{}", impostor.log());
    assert_eq!(site.machines[2].sshd.sessions(), 0);
    assert_eq!(site.machines[3].sshd.sessions(), 0);
}

/// Puts another server, with another key, in the place of one.
fn impostor(site: &mut Site, number: usize) -> Sshd {
    let root = site.path("fleet");
    let key = TestKey::generate(&site.path(""), "any", KeyKind::Ed25519);
    let machine = &mut site.machines[number];
    machine.sshd.stop();
    let options = options_of(&machine.host, &root, &key)
        .line(format!("ListenAddress 127.0.0.1:{}", machine.port));
    let impostor = Sshd::start(options);
    let port = machine.port;
    until("it listens in the other's place", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    impostor
}

#[test]
fn start_up_files_may_talk_but_not_end_the_shell() {
    if is_left_out("sshd") {
        return;
    }
    let site = Site::new(3);
    let target = site.good_release();
    for (name, file) in [
        (
            "web-02",
            "echo Welcome; echo 'disk is 90 % full' >&2; printf 'no line end'\n",
        ),
        ("web-03", "echo maintenance; exit 0\n"),
    ] {
        let machine = site.machine(name);
        fs::write(machine.sshd.home().join(".bashrc"), file).unwrap();
        // bash reads it by itself; other login shells are made to.
        let command = r#". \"$HOME/.bashrc\"; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""#;
        let public = fs::read_to_string(machine.key.with_extension("pub")).unwrap();
        let line = format!("command=\"{command}\" {}", public.trim());
        machine.sshd.set_authorized(&[&line]);
    }
    let ended = site.program.roll_out(3, &ALL_AT_ONCE);
    for name in ["web-01", "web-02"] {
        assert_eq!(ended.part(name).1, "updated");
        site.assert_on(name, &target);
    }
    assert_untouched(&site, &ended, "web-03", "shell_broken");
    assert!(
        site.machine("web-03").sshd.sessions() > 0,
        "it was never asked"
    );
}
