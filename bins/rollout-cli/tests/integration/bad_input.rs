//! What bad input gets: three lines at most, the right exit code, and nothing changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use local_fleet::ReleaseSpec;

use crate::support::{Place, Ran, Site, words};

const APP: &str =
    "[app]\nrepo = \"/srv/app\"\nservice = \"app\"\n[ssh]\nuser = \"deploy\"\nkey = \"id\"\n";
/// Its passphrase is `secret`.
const ENCRYPTED_KEY: &str = include_str!("encrypted_key");

/// Refused with this code, in at most three lines that hold this word, and nothing changed in the folder but what the
/// database keeps for itself.
fn check(place: &Place, line: &str, code: i32, word: &str) -> Ran {
    let before = inventory(place);
    let ran = place.run(&words(line));
    assert_eq!(ran.code, code, "{line}: {ran:#?}");
    assert_eq!(ran.stdout, "", "{line}");
    assert!(ran.stderr.lines().count() <= 3, "{line}: {}", ran.stderr);
    assert!(ran.stderr.starts_with("error: "), "{line}: {}", ran.stderr);
    assert!(
        ran.stderr.contains(word),
        "{line}: {word:?} is not in: {}",
        ran.stderr
    );
    assert_eq!(inventory(place), before, "{line}");
    ran
}

fn inventory(place: &Place) -> String {
    let hosts = place.run(&["hosts", "export", "--format", "json"]);
    let rollouts = place.run(&["rollouts", "list", "--json"]);
    format!("{}{}", hosts.stdout, rollouts.stdout)
}

fn configured() -> Place {
    let place = Place::new();
    place.write("rollout.toml", APP);
    place
}

fn with_host() -> Place {
    let place = configured();
    place.expect(0, &words("hosts add web-1 --address 192.0.2.1 --label eu"));
    place
}

#[test]
fn hosts_and_selectors() {
    let place = with_host();
    for (line, code, word) in [
        ("hosts show web-2", 8, "web-2"),
        ("hosts edit web-2 --port 23", 8, "web-2"),
        ("hosts remove web-2", 8, "web-2"),
        ("hosts trust web-2 -y", 8, "web-2"),
        ("hosts check --on web-2", 8, "web-2"),
        ("hosts trust", 2, "-y"),
        ("hosts add web-1 --address 192.0.2.2", 8, "web-1"),
        ("hosts add web-2 --address 192.0.2.1", 8, "web-1"),
        ("hosts add 'web 2' --address 192.0.2.2", 2, "host name"),
        ("hosts add web-2 --address 999.0.2.2", 2, "address"),
        ("hosts add web-2 --address 192.0.2.2 --port 0", 2, "port"),
        (
            "hosts add web-2 --address 192.0.2.2 --branch=--upload-pack=x",
            2,
            "option",
        ),
        (
            "hosts add web-2 --address 192.0.2.2 --repo app",
            2,
            "absolute",
        ),
        (
            "hosts add web-2 --address 192.0.2.2 --install ' '",
            2,
            "install",
        ),
        ("hosts add web-2 --address 192.0.2.2 --jump 'a b'", 8, "a b"),
        ("update --on web-2 -y", 8, "web-2"),
        ("update --on db-* -y", 8, "db-*"),
        ("update --on @us -y", 8, "@us"),
        ("update --on !web-1 -y", 8, "no host"),
        ("update --on web-1 --on !@eu -y", 8, "no host"),
        ("update --on 'we b' -y", 2, "selector"),
        ("plan --on web-2", 8, "web-2"),
        ("logs --host web-1", 8, "no rollout"),
        ("pause", 8, "no rollout"),
        ("retry 0123abcd", 8, "0123abcd"),
        (
            "watch 0193e1f0-0000-7000-8000-000000000000",
            8,
            "no rollout",
        ),
    ] {
        check(&place, line, code, word);
    }
}

#[test]
fn flags_of_an_update() {
    let place = with_host();
    for (line, word) in [
        ("update -y", "--all"),
        ("update", "--all"),
        ("update --all --on web-1 -y", "--on"),
        ("update --all", "-y"),
        ("update --all --no-input", "-y"),
        ("update --all -y --stages 50,10,100", "ascend"),
        ("update --all -y --stages 10,10,100", "ascend"),
        ("update --all -y --stages 10,50", "end at 100"),
        ("update --all -y --stages ''", "stages"),
        ("update --all -y --stages -5,100", "stages"),
        ("update --all -y --max-failures 101", "0 to 100"),
        ("update --all -y --max-failures -1", "0 to 100"),
        ("update --all -y --max-failures some", "0 to 100"),
        ("update --all -y --concurrency 0", "concurrency"),
        ("update --all -y --max-in-flight 0", "max-in-flight"),
        ("update --all -y --settle soon", "length of time"),
        ("update --all -y --settle 2h", "settle"),
        ("update --all -y --order size", "order"),
        (
            "update --all -y '--to=--upload-pack=touch /tmp/x'",
            "option",
        ),
        ("update --all -y --to 0123abc", "short commit"),
        ("update --all -y --dry-run --detach", "--detach"),
    ] {
        check(&place, line, 2, word);
    }
}

#[test]
fn keys() {
    let place = with_host();
    let key = place.path("id");
    check(&place, "update --all -y", 8, "cannot be used");
    fs::write(&key, ENCRYPTED_KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    check(&place, "update --all -y", 8, "chmod 600");
    check(&place, "plan --all", 8, "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    check(&place, "update --all -y", 8, "passphrase");
    place.write(
        "rollout.toml",
        &format!("{APP}passphrase_file = \"secret\"\n"),
    );
    check(&place, "update --all -y", 8, "secret");
    let secret = place.write("secret", "wrong\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    check(&place, "update --all -y", 8, "others can read");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    check(&place, "update --all -y", 8, "does not open");
    place.write("secret", "secret\n");
    place.expect(0, &["plan", "--all"]);
    fs::write(&key, "not a key").unwrap();
    check(&place, "update --all -y", 8, "not a private key");
    place.write("rollout.toml", &APP.replace("key = \"id\"\n", ""));
    check(&place, "update --all -y", 8, "no key");
}

#[test]
fn files_to_import() {
    let place = with_host();
    for (name, text, word) in [
        (
            "a.csv",
            "name,address,port,user\nweb-2,192.0.2.2,22,deploy\nweb 3,192.0.2.3,22,deploy\n",
            "line 3",
        ),
        (
            "a.csv",
            "name,address,port,user\nweb-2,192.0.2.2,22\n",
            "line 2",
        ),
        (
            "a.csv",
            "name,address,port,user\nweb-2,192.0.2.2,0,deploy\n",
            "line 2",
        ),
        (
            "a.csv",
            "name,address,colour\nweb-2,192.0.2.2,red\n",
            "colour",
        ),
        (
            "a.csv",
            "name,address\nweb-2,192.0.2.2\n\nweb-2,192.0.2.3\n",
            "line 4",
        ),
        (
            "a.csv",
            "name,address\nweb-2,192.0.2.2\nweb-3,192.0.2.2\n",
            "web-3",
        ),
        ("a.csv", "name,address\nweb-2,192.0.2.1\n", "web-1"),
        (
            "a.csv",
            "name,address,repo\nweb-2,192.0.2.2,app\n",
            "line 2",
        ),
        (
            "a.json",
            "{\"hosts\":[\n{\"name\":\"web-2\",\"address\":\"192.0.2.2\"},\n{\"name\":\"web-3\"}]}",
            "line 3",
        ),
        (
            "a.json",
            "{\"hosts\":[{\"name\":\"a\",\"address\":\"h\",\"colour\":\"red\"}]}",
            "colour",
        ),
        ("a.json", "[", "line 1"),
        (
            "a.ini",
            "a\nb ansible_host='{{ x }}'\n",
            "line 2: a template",
        ),
        ("hosts", "a\n[b:vars]\nc=d\n", "line 2: there is no group"),
        ("a.yml", "all:\n  hosts:\n    a_/b:\n", "line 3: host name"),
        ("a.yaml", "all:\n  host:\n", "line 2"),
        ("config", "Host a\n  Include more\n", "line 2: Include"),
        ("config", "Host a\nHost b_/c\n", "line 2: host name"),
        ("config", "Host a\nHost a--\n", "line 2: address"),
        (
            "config",
            "Host a\nHostName 192.0.2.9\nHost b\nHostName 192.0.2.9\n",
            "config, line 3: b would be the same repository",
        ),
    ] {
        place.write(name, text);
        check(&place, &format!("hosts import {name}"), 8, word);
    }
    check(&place, "hosts import missing.csv", 8, "missing.csv");
    place.write("fleet.txt", "");
    check(
        &place,
        "hosts import fleet.txt",
        2,
        "--format csv, json, ansible or ssh-config",
    );
    check(&place, "hosts import fleet.txt --format ini", 2, "ini");
}

#[test]
fn configurations() {
    let place = with_host();
    for (text, word) in [
        ("[rollout]\nconcurency = 5\n", "line 2"),
        ("[rollout]\nstages = [50, 10, 100]\n", "ascend"),
        ("[rollout]\nstages = [10, 50]\n", "end at 100"),
        ("[rollout]\nmax_failures = 101\n", "0 to 100"),
        ("[rollout]\nconcurrency = 0\n", "rollout.concurrency"),
        ("[app]\nbranch = \"-x\"\n", "option"),
        ("database_url = \"mysql://u:hidden@h/db\"\n", "database_url"),
        ("[rollout\n", "line 1"),
    ] {
        place.write("bad.toml", text);
        for command in ["config validate", "status", "update --all -y"] {
            let line = format!("--config bad.toml {command}");
            let ran = check(&place, &line, 2, word);
            assert!(!ran.stderr.contains("hidden"), "{}", ran.stderr);
        }
    }
    check(&place, "--config missing.toml status", 2, "missing.toml");
    check(&place, "--database-url rollout.db status", 2, "sqlite://");
    check(
        &place,
        "init --repo /srv/app --service app --user deploy",
        2,
        "--force",
    );
    let empty = Place::new();
    check(&empty, "init --no-input", 2, "--repo");
    check(&empty, "hosts add a --address 192.0.2.1", 2, "repo");
}

#[test]
fn a_commit_or_branch_that_does_not_exist() {
    let site = Site::new(3, "[rollout]\nsettle = 0\n");
    let nowhere = "0123456789abcdef0123456789abcdef01234567";
    let before = site.heads();
    for target in [nowhere, "no-such-branch"] {
        let ran = site
            .place
            .expect(8, &["update", "--to", target, "--all", "-y"]);
        assert!(
            ran.stdout.contains("before any host was touched"),
            "{ran:#?}"
        );
        assert!(ran.stdout.contains(target), "{ran:#?}");
    }
    let ran = site
        .place
        .expect(8, &["update", "--to", nowhere, "--all", "-y", "--json"]);
    let summary = ran.lines().pop().unwrap();
    assert_eq!(summary["rollout"]["reason"], "cannot_resolve_target");
    assert_eq!(summary["rollout"]["counts"]["skipped"], 3);
    assert_eq!(site.heads(), before);
    assert_eq!(site.status().fleet.updating, 0);
}

#[test]
fn hosts_that_follow_different_branches() {
    let site = Site::new(2, "");
    site.release(ReleaseSpec::good("two"));
    site.place
        .expect(0, &["hosts", "edit", "web-02", "--branch", "release"]);
    check(&site.place, "update --all -y", 8, "branch");
}
