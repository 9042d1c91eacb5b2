//! `known_hosts` files: the same answer as OpenSSH's own client, for each of a table of files.

use std::path::Path;
use std::process::{Command, Stdio};

use fleet_testkit::{KeyKind, Sshd, TestKey, is_left_out, run};
use ssh_exec::{ConnectError, Endpoint, HostKeys};

use crate::host::{Host, connect};

/// What we say about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Unknown,
    Changed,
    Revoked,
}

/// Does OpenSSH's client accept the server's key?
fn openssh_accepts(sshd: &Sshd, key: &TestKey, file: &Path, address: &str) -> bool {
    let output = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "UpdateHostKeys=no",
        ])
        .args([
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ConnectTimeout=20",
        ])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", file.display()))
        .arg("-i")
        .arg(key.private())
        .args([
            "-p",
            &sshd.port().to_string(),
            "-l",
            sshd.user(),
            address,
            "exit 42",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(42) => true,
        _ => {
            assert!(
                error.contains("Host key verification failed"),
                "ssh failed otherwise: {error}"
            );
            false
        }
    }
}

async fn answer(host: &Host, file: &Path, address: &str) -> Answer {
    let host_keys = HostKeys {
        pinned: Vec::new(),
        known_hosts: Some(file.to_owned()),
    };
    let endpoint = Endpoint {
        host_keys,
        address: address.to_owned(),
        ..host.endpoint()
    };
    match connect(&endpoint).await {
        Ok(_) => Answer::Accepted,
        Err(ConnectError::HostKeyUnknown { .. }) => Answer::Unknown,
        Err(ConnectError::HostKeyChanged { .. }) => Answer::Changed,
        Err(ConnectError::HostKeyRevoked { .. }) => Answer::Revoked,
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_answer_is_opensshs() {
    use Answer::{Accepted, Changed, Revoked, Unknown};
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| options.host_keys(&[KeyKind::Ed25519, KeyKind::Rsa]));
    let lines = host.sshd.host_key_lines();
    let (own, own_rsa) = (lines[0].as_str(), lines[1].as_str());
    let other = TestKey::generate(host.folder.path(), "other", KeyKind::Ed25519)
        .public_line()
        .to_owned();
    let other = other.as_str();
    let other_rsa = TestKey::generate(host.folder.path(), "other-rsa", KeyKind::Rsa)
        .public_line()
        .to_owned();
    let ecdsa = TestKey::generate(host.folder.path(), "ecdsa", KeyKind::Ecdsa256)
        .public_line()
        .to_owned();
    let port = host.sshd.port();
    let name = format!("[127.0.0.1]:{port}");
    let table: Vec<(String, Answer)> = vec![
        (String::new(), Unknown),
        (format!("{name} {own}\n"), Accepted),
        (format!("{name} {own}"), Accepted),
        (format!("{name} {own} a comment # and more\n"), Accepted),
        (format!("{name}\t{own}\n"), Accepted),
        (format!("{name}   {}\n", own.replace(' ', "\t")), Accepted),
        (format!("  \t{name} {own}\n"), Accepted),
        (format!("{name} {own}\r\n"), Accepted),
        (format!("# {name} {own}\n"), Unknown),
        (format!("{name} {other}\n"), Changed),
        (format!("{name} {other}\n{name} {own}\n"), Accepted),
        (format!("{name} {own_rsa}\n"), Accepted),
        (format!("{name} {other}\n{name} {own_rsa}\n"), Changed),
        (format!("{name} {other_rsa}\n"), Changed),
        (format!("{name} {ecdsa}\n"), Changed),
        (format!("127.0.0.1 {own}\n"), Accepted),
        (format!("127.0.0.1 {other}\n"), Changed),
        (format!("{name} {other}\n127.0.0.1 {own}\n"), Changed),
        (format!("{name} {ecdsa}\n127.0.0.1 {own}\n"), Changed),
        (
            format!("@revoked {name} {other}\n127.0.0.1 {own}\n"),
            Accepted,
        ),
        (
            format!("@cert-authority {name} {other}\n127.0.0.1 {own}\n"),
            Accepted,
        ),
        (format!("127.0.0.1 {other}\n{name} {own}\n"), Accepted),
        (format!("[127.0.0.1]:{} {own}\n", port - 1), Unknown),
        (format!("[127.0.0.1]:22 {own}\n"), Unknown),
        (format!("[127.0.0.*]:{port} {own}\n"), Accepted),
        (format!("[127.0.0.?]:* {own}\n"), Accepted),
        (format!("* {own}\n"), Accepted),
        (format!("*,!{name} {own}\n"), Accepted),
        (format!("[127.*]:*,!{name} {own}\n"), Unknown),
        (format!("!{name} {own}\n"), Unknown),
        (format!("*,!{name},!127.0.0.1 {own}\n"), Unknown),
        (format!("elsewhere.example,{name} {own}\n"), Accepted),
        (format!("elsewhere.example, {name} {own}\n"), Unknown),
        (format!("@revoked {name} {own}\n"), Revoked),
        (format!("{name} {own}\n@revoked {name} {own}\n"), Revoked),
        (format!("@revoked * {own}\n{name} {own}\n"), Revoked),
        (format!("@revoked 127.0.0.1 {own}\n"), Revoked),
        (format!("@revoked {name} {other}\n{name} {own}\n"), Accepted),
        (
            format!("@revoked elsewhere.example {own}\n{name} {own}\n"),
            Accepted,
        ),
        (format!("@cert-authority * {own}\n"), Unknown),
        (
            format!("@cert-authority * {other}\n{name} {own}\n"),
            Accepted,
        ),
        (format!("@marker {name} {own}\n"), Unknown),
        (format!("@revoked\n{name} {own}\n"), Accepted),
        (
            format!("{name} ssh-ed25519 AAAAbroken\n{name} {own}\n"),
            Accepted,
        ),
        (format!("{name} ssh-ed25519\n{name} {own}\n"), Accepted),
        (format!("{name}\n{name} {own}\n"), Accepted),
        (
            format!("{name} ssh-rsa {}\n", own.split(' ').nth(1).unwrap()),
            Unknown,
        ),
        (
            format!("{name} no-such-type AAAA\n{name} {own}\n"),
            Accepted,
        ),
        (format!("|1|broken|hash {own}\n"), Unknown),
        (format!("|1||= {own}\n{name} {own}\n"), Accepted),
        (format!("\u{feff}{name} {own}\n"), Unknown),
    ];
    let mut differ = Vec::new();
    for (content, expected) in &table {
        check(&host, content, "127.0.0.1", *expected, &mut differ).await;
    }
    // As ssh-keygen hashes them.
    for (plain, expected) in [
        (name.as_str(), Accepted),
        ("127.0.0.1", Accepted),
        ("elsewhere.example", Unknown),
    ] {
        let content = hashed(&host, &format!("{plain} {own}\n"));
        assert!(content.starts_with("|1|"), "{content}");
        check(&host, &content, "127.0.0.1", expected, &mut differ).await;
        check(
            &host,
            &format!("@revoked {content}"),
            "127.0.0.1",
            if expected == Accepted {
                Revoked
            } else {
                Unknown
            },
            &mut differ,
        )
        .await;
    }
    // Names are compared without case, and by name rather than address.
    for (content, expected) in [
        (format!("[LOCALHOST]:{port} {own}\n"), Accepted),
        (format!("[localhost]:{port} {own}\n"), Accepted),
        (format!("[127.0.0.1]:{port} {own}\n"), Unknown),
    ] {
        check(&host, &content, "LocalHost", expected, &mut differ).await;
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// The file with its names hashed.
fn hashed(host: &Host, content: &str) -> String {
    let file = host.file("plain");
    std::fs::write(&file, content).unwrap();
    run("ssh-keygen", &["-q", "-H", "-f", file.to_str().unwrap()]);
    std::fs::read_to_string(file).unwrap()
}

async fn check(
    host: &Host,
    content: &str,
    address: &str,
    expected: Answer,
    differ: &mut Vec<String>,
) {
    let file = host.file("known_hosts");
    std::fs::write(&file, content).unwrap();
    let ours = answer(host, &file, address).await;
    let theirs = openssh_accepts(&host.sshd, &host.key, &file, address);
    if ours != expected || theirs != (ours == Answer::Accepted) {
        differ.push(format!(
            "{content:?}: ours {ours:?}, expected {expected:?}, openssh accepts: {theirs}"
        ));
    }
}
