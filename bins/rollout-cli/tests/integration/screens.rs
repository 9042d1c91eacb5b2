//! Configuration, completions, manual pages, doctor, init, and what goes where.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Place, Site, words};

#[test]
fn every_setting_knows_where_it_came_from() {
    let place = Place::new();
    place.write("rollout.toml", "[rollout]\nconcurrency = 7\n");
    let shown = place
        .command(&["config", "show", "--json"])
        .env("ROLLOUT_DATABASE_URL", "postgres://u:hidden@h/db")
        .output();
    let shown: Value = serde_json::from_slice(&shown.unwrap().stdout).unwrap();
    let setting = |key: &str| {
        shown["settings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["key"] == key)
            .unwrap()
            .clone()
    };
    assert_eq!(
        setting("database_url")["value"],
        "\"postgres://u:***@h/db\""
    );
    assert_eq!(setting("database_url")["origin"], "environment");
    assert!(
        setting("rollout.concurrency")["origin"]
            .as_str()
            .unwrap()
            .contains("rollout.toml")
    );
    assert_eq!(setting("rollout.max_in_flight")["value"], "28");
    assert_eq!(setting("app.branch")["origin"], "default");
    let text = place
        .command(&["config", "show"])
        .env("ROLLOUT_DATABASE_URL", "postgres://u:hidden@h/db")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&text.stdout).contains("hidden"));
    place.expect(0, &["config", "validate"]);
}

#[test]
fn the_configuration_is_found_where_it_was_said() {
    let place = Place::new();
    fs::create_dir_all(place.path(".config/rollout")).unwrap();
    place.write(
        ".config/rollout/config.toml",
        "[rollout]\nconcurrency = 3\n",
    );
    let concurrency = |place: &Place, variable: Option<&str>| {
        let mut command = place.command(&["config", "show", "--json"]);
        command.envs(variable.map(|file| ("ROLLOUT_CONFIG", file)));
        let shown: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let settings = shown["settings"].as_array().unwrap().clone();
        settings
            .iter()
            .find(|entry| entry["key"] == "rollout.concurrency")
            .unwrap()["value"]
            .clone()
    };
    assert_eq!(concurrency(&place, None), "3");
    place.write("rollout.toml", "[rollout]\nconcurrency = 4\n");
    assert_eq!(concurrency(&place, None), "4");
    place.write("other.toml", "[rollout]\nconcurrency = 5\n");
    assert_eq!(concurrency(&place, Some("other.toml")), "5");
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.expect(0, &["completions", shell]).stdout;
        assert!(
            script.contains("rollout-cli") && script.contains("rollback"),
            "{shell}"
        );
    }
    place.expect(0, &["man", "pages"]);
    let pages = fs::read_dir(place.path("pages")).unwrap().count();
    assert!(pages > 20, "{pages} pages");
    assert!(
        fs::read_to_string(place.path("pages/rollout-cli-update.1"))
            .unwrap()
            .contains("max\\-failures")
    );
    assert!(place.expect(0, &["man"]).stdout.contains(".TH rollout-cli"));
    let help = place.expect(0, &["--help"]).stdout;
    assert!(
        help.contains("another rollout is active") && help.contains("130"),
        "{help}"
    );
}

#[test]
fn init_writes_what_config_reads() {
    let place = Place::new();
    fs::create_dir(place.path(".ssh")).unwrap();
    place.write(".ssh/id_ed25519", "");
    let flags = [
        "init",
        "--repo",
        "/srv/app",
        "--service",
        "app.service",
        "--user",
        "deploy",
        "--branch",
        "live",
    ];
    let ran = place.expect(0, &flags);
    assert!(ran.stderr.contains("Next:"), "{ran:#?}");
    let text = fs::read_to_string(place.path("rollout.toml")).unwrap();
    for line in [
        "repo = \"/srv/app\"",
        "branch = \"live\"",
        "user = \"deploy\"",
        "key = \"~/.ssh/id_ed25519\"",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in {text}"
        );
    }
    place.expect(0, &["config", "validate"]);
    place.expect(0, &[flags.as_slice(), &["--force", "--key", "/k"]].concat());
    assert!(
        fs::read_to_string(place.path("rollout.toml"))
            .unwrap()
            .contains("key = \"/k\"")
    );
}

#[test]
fn doctor_finds_what_is_wrong() {
    let site = Site::new(1, "");
    let found = |site: &Site| -> Vec<(String, String)> {
        let ran = site.place.run(&["doctor", "--json"]);
        let checks: Value = serde_json::from_str(&ran.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let check = |check: &Value| (text(&check["name"]), text(&check["result"]));
        checks["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(check)
            .collect()
    };
    let is = |found: &[(String, String)], name: &str, result: &str| {
        assert!(
            found.contains(&(name.to_owned(), result.to_owned())),
            "{name} is not {result}: {found:?}"
        );
    };
    let good = found(&site);
    for name in [
        "configuration",
        "database",
        "disk",
        "key",
        "agent",
        "clock",
        "fleet",
    ] {
        is(&good, name, "ok");
    }
    site.place.expect(0, &["doctor"]);
    let key = site.fleet.description().client_key;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    is(&found(&site), "key", "bad");
    let ran = site.place.expect(8, &["doctor"]);
    assert!(
        ran.stdout.contains("✗ bad") && ran.stdout.contains("→"),
        "{ran:#?}"
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    site.place.expect(
        0,
        &words("hosts add new --address 192.0.2.1 --repo /srv/app"),
    );
    is(&found(&site), "fleet", "bad");
}

#[test]
fn a_fresh_machine_is_told_what_to_do() {
    let place = Place::new();
    let ran = place.expect(0, &["status"]);
    assert!(
        ran.stdout.contains("0 hosts") && ran.stdout.contains("hosts add"),
        "{ran:#?}"
    );
    let status: fleet_types::view::Status =
        serde_json::from_value(place.json(&["status"])).unwrap();
    assert_eq!((status.fleet.hosts, status.rollout), (0, None));
    let database = place.path(".local/state/rollout/rollout.db");
    assert!(database.exists());
    let mode = fs::metadata(database.parent().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "the folder is for its owner alone");
    assert_eq!(
        place.json(&["hosts", "list"]),
        serde_json::json!({ "hosts": [] })
    );
    assert_eq!(
        place.json(&["rollouts", "list"]),
        serde_json::json!({ "rollouts": [] })
    );
}

#[test]
fn colours_only_where_they_are_wanted() {
    let site = Site::new(1, "[rollout]\nsettle = 0\n");
    site.place.expect(0, &["update", "--all", "-y"]);
    let status = |arguments: &[&str], no_color: bool| {
        let mut command = site.place.command(arguments);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        String::from_utf8(command.output().unwrap().stdout)
            .unwrap()
            .contains('\x1b')
    };
    assert!(!status(&["status"], false), "a pipe");
    assert!(status(&["status", "--color", "always"], false));
    assert!(!status(&["status", "--color", "never"], false));
    assert!(!status(&["status"], true));
}
