//! People, tokens and the audit trail, without a server.

use std::io::Write;
use std::process::Stdio;

use access_secrets::{token_hash, verify_password};
use fleet_store::{Access, DieselStore, PasswordHash, StoreOptions};
use serde_json::Value;

use crate::support::{Place, Ran, words};

const PASSWORD: &str = "correct horse battery";

/// Runs with this on standard input.
fn piped(place: &Place, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = place.command(arguments);
    command.stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::of(child.wait_with_output().unwrap())
}

fn add(place: &Place, name: &str, role: &str) -> Ran {
    let arguments = ["users", "add", name, "--role", role, "--password-stdin"];
    let ran = piped(place, &arguments, format!("{PASSWORD}\n").as_bytes());
    assert_eq!(ran.code, 0, "{ran:#?}");
    ran
}

fn place() -> Place {
    let place = Place::new();
    place.write("rollout.toml", "database_url = \"sqlite://rollout.db\"\n");
    place
}

/// What the store holds, asked without the program.
fn stored<T>(place: &Place, ask: impl AsyncFnOnce(DieselStore) -> T) -> T {
    let url = format!("sqlite://{}", place.path("rollout.db").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = DieselStore::open(&url, StoreOptions::default())
            .await
            .unwrap();
        ask(store).await
    })
}

fn hash_of(place: &Place, name: &str) -> Option<PasswordHash> {
    let name = name.parse().unwrap();
    stored(place, async |store| {
        store.user_get(&name).await.unwrap().unwrap().password
    })
}

fn fits(hash: Option<PasswordHash>, password: &str) -> bool {
    let verified = verify_password(password.to_owned(), hash);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(verified)
        .unwrap()
}

fn actions(place: &Place, arguments: &[&str]) -> Vec<String> {
    let trail = place.json(&[&["audit"], arguments].concat());
    let action = |row: &Value| row["action"].as_str().unwrap().to_owned();
    trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(action)
        .collect()
}

#[test]
fn people_are_added_locked_out_and_let_in_again() {
    let place = place();
    place.expect(0, &["users", "list"]);
    add(&place, "anna", "admin");
    add(&place, "vera", "viewer");
    let first = hash_of(&place, "anna");
    assert!(fits(first.clone(), PASSWORD) && !fits(first.clone(), "another"));

    let arguments = ["users", "passwd", "anna", "--password-stdin"];
    assert_eq!(piped(&place, &arguments, b"a new pass phrase\r\n").code, 0);
    let second = hash_of(&place, "anna");
    assert!(fits(second.clone(), "a new pass phrase") && !fits(second, PASSWORD));

    let refused = place.expect(8, &["users", "disable", "anna"]);
    assert!(refused.stderr.contains("last admin"), "{refused:#?}");
    place.expect(0, &["users", "disable", "vera"]);
    let listed = place.json(&["users", "list"]);
    let people = listed["users"].as_array().unwrap();
    assert_eq!(people[0]["name"], "anna");
    assert_eq!(people[0]["role"], "admin");
    assert!(people[0]["disabled_at"].is_null() && people[1]["disabled_at"].is_string());
    let table = place.expect(0, &["users", "list"]).stdout;
    assert!(
        table.contains("locked out") && table.contains("may sign in"),
        "{table}"
    );
    place.expect(0, &["users", "enable", "vera"]);
    assert!(place.json(&["users", "list"])["users"][1]["disabled_at"].is_null());
    for shown in [listed.to_string(), table] {
        assert!(!shown.contains("argon2"), "no hash goes out: {shown}");
    }
}

#[test]
fn people_who_are_refused_leave_nothing_behind() {
    let place = place();
    add(&place, "anna", "admin");
    let before = place.json(&["users", "list"]);
    let with_password =
        |name: &'static str| ["users", "add", name, "--role", "viewer", "--password-stdin"];
    for (arguments, input, code, said) in [
        (&with_password("otto")[..], &b"short\n"[..], 2, "at least 8"),
        (&with_password("otto"), b"password123\n", 2, "guess"),
        (&with_password("otto"), b"", 2, "at least 8"),
        (
            &with_password("otto"),
            b"one line\nand another\n",
            2,
            "more than one line",
        ),
        (
            &with_password("otto"),
            b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\n",
            2,
            "UTF-8",
        ),
        (&with_password("otto"), &[b'x'; 5000], 2, "at most 1024"),
        (&with_password("anna"), b"long enough\n", 8, "already"),
        (&with_password("--x"), b"long enough\n", 2, "--x"),
        (&with_password("a b"), b"long enough\n", 2, "a b"),
        (&["users", "add", "otto", "--role", "root"], b"", 2, "role"),
        (&["users", "add", "otto"], b"", 2, "--role"),
        (
            &["users", "add", "otto", "--role", "viewer"],
            b"long enough\n",
            2,
            "--password-stdin",
        ),
        (
            &["users", "add", "otto", "--role", "viewer", "--no-input"],
            b"",
            2,
            "--password-stdin",
        ),
        (
            &["users", "passwd", "otto", "--password-stdin"],
            b"long enough\n",
            8,
            "no user otto",
        ),
        (&["users", "disable", "otto"], b"", 8, "no user otto"),
        (&["users", "enable", "otto"], b"", 8, "no user otto"),
    ] {
        let ran = piped(&place, arguments, input);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {ran:#?}");
        assert!(
            ran.stderr.lines().count() <= 3 && ran.stdout.is_empty(),
            "{ran:#?}"
        );
        assert!(
            !ran.stderr.contains("long enough"),
            "no password is repeated: {ran:#?}"
        );
    }
    assert_eq!(place.json(&["users", "list"]), before);
    assert!(fits(hash_of(&place, "anna"), PASSWORD));
}

#[test]
fn a_token_is_shown_once_and_holds_until_it_is_revoked() {
    let place = place();
    let create = [
        "tokens",
        "create",
        "ci",
        "--role",
        "operator",
        "--expires",
        "90d",
    ];
    let made = place.json(&create);
    assert_eq!(made.as_object().unwrap().len(), 2, "id and token: {made}");
    let text = made["token"].as_str().unwrap().to_owned();
    let hash = token_hash(&text).unwrap();
    let found = || stored(&place, async |store| store.token_find(&hash).await.unwrap());
    let record = found().unwrap();
    assert_eq!(record.id.to_string(), made["id"].as_str().unwrap());
    let life = record
        .expires_at
        .unwrap()
        .since(record.created_at)
        .as_secs();
    assert!((7_775_990..=7_776_010).contains(&life), "{life}");

    let twice = place.expect(8, &create);
    assert!(twice.stderr.contains("token ci already"), "{twice:#?}");
    let shown = place.expect(0, &["tokens", "create", "lens", "--role", "viewer"]);
    let line = shown
        .stdout
        .lines()
        .find(|line| line.starts_with("token"))
        .unwrap();
    assert!(
        token_hash(line.rsplit(' ').next().unwrap()).is_some(),
        "{shown:#?}"
    );

    place.expect(0, &["tokens", "revoke", "ci"]);
    assert!(found().is_none());
    place.expect(8, &["tokens", "revoke", "ci"]);
    // By its id once more: it is ended, and stays so.
    place.expect(0, &["tokens", "revoke", made["id"].as_str().unwrap()]);
    let listed = place.json(&["tokens", "list"]);
    let table = place.expect(0, &["tokens", "list"]).stdout;
    assert!(
        table.contains("revoked") && table.contains("until revoked"),
        "{table}"
    );
    let database = place.content();
    let held = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(
        !database.iter().any(|(_, bytes)| held(bytes)),
        "the store holds a hash alone"
    );
    assert!(!listed.to_string().contains("rlt_") && !table.contains("rlt_"));
}

#[test]
fn tokens_that_are_refused() {
    let place = place();
    for (line, code, said) in [
        ("tokens create ci", 2, "--role"),
        ("tokens create ci --role king", 2, "role"),
        ("tokens create ci --role viewer --expires 90", 2, "90d"),
        (
            "tokens create ci --role viewer --expires 0d",
            2,
            "one minute",
        ),
        (
            "tokens create ci --role viewer --expires 9999999999999d",
            2,
            "3650d",
        ),
        ("tokens revoke ci", 8, "no token ci"),
        (
            "tokens revoke 0193b5a1-7c1e-7000-8000-000000000000",
            8,
            "no token",
        ),
    ] {
        let ran = place.expect(code, &words(line));
        assert!(ran.stderr.contains(said), "{line}: {ran:#?}");
        assert!(ran.stderr.lines().count() <= 3, "{ran:#?}");
    }
    assert_eq!(
        place.json(&["tokens", "list"])["tokens"],
        serde_json::json!([])
    );
}

#[test]
fn the_audit_trail_tells_who_did_what() {
    let place = place();
    add(&place, "anna", "admin");
    place.expect(0, &["tokens", "create", "ci", "--role", "viewer"]);
    place.expect(0, &["tokens", "revoke", "ci"]);
    let all = actions(&place, &[]);
    assert_eq!(
        all.len(),
        3,
        "the newest first, one for each change: {all:?}"
    );
    assert_eq!(actions(&place, &["--limit", "1"]), all[..1]);
    assert_eq!(actions(&place, &["--since", "1h"]), all);
    assert_eq!(actions(&place, &["--action", &all[1]]), all[1..2]);
    let actor = place.json(&["audit"])["entries"][0]["actor"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(actor.starts_with("tester@"), "{actor}");
    assert_eq!(actions(&place, &["--actor", &actor]), all);
    assert_eq!(
        actions(&place, &["--actor", "nobody"]),
        Vec::<String>::new()
    );
    let table = place.expect(0, &["audit"]).stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains("cli on ") && table.contains("anna"),
        "{table}"
    );
    place.expect(2, &["audit", "--since", "soon"]);
    place.expect(2, &["audit", "--limit", "0"]);
}
