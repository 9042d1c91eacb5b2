//! Settings from real files and from what a binary passes in.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rollout_settings::{
    Layer, LeaseLayer, Origin, Places, RolloutLayer, Seconds, Settings, SettingsError, load,
};

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn places(&self) -> Places {
        Places {
            current_dir: Some(self.path("project")),
            home: Some(self.path("home")),
            ..Places::default()
        }
    }
}

fn read(text: &str) -> Result<Settings, SettingsError> {
    let folder = Folder::new();
    folder.write("project/rollout.toml", text);
    load(&folder.places(), Vec::new())
}

fn shown(settings: &Settings, key: &str) -> (String, String) {
    let entry = settings
        .entries()
        .iter()
        .find(|entry| entry.key == key)
        .unwrap();
    let origin = match &entry.origin {
        Origin::File(_) => "file".to_owned(),
        other => other.to_string(),
    };
    (
        entry.value.clone().unwrap_or_else(|| "none".to_owned()),
        origin,
    )
}

#[test]
fn a_plain_number_has_a_unit_or_counts_something() {
    let settings = read("").unwrap();
    let plain = |value: &Option<String>| value.as_deref().is_some_and(|v| v.parse::<u32>().is_ok());
    let numbers = settings
        .entries()
        .iter()
        .filter(|entry| plain(&entry.value));
    let bare: Vec<&str> = numbers
        .filter(|entry| entry.unit().is_none())
        .map(|entry| entry.key)
        .collect();
    let counts = [
        "ssh.port",
        "rollout.concurrency",
        "rollout.max_in_flight",
        "server.max_connections",
    ];
    assert_eq!(bare, counts);
}

#[test]
fn without_a_file_everything_is_a_default() {
    let folder = Folder::new();
    let settings = load(&folder.places(), Vec::new()).unwrap();
    assert_eq!(settings.file, None);
    assert!(
        settings
            .entries()
            .iter()
            .all(|entry| entry.origin == Origin::Default)
    );
    assert_eq!(settings.rollout.policy(0), fleet_types::Policy::default());
    assert_eq!(settings.app.install, "bun install");
    assert_eq!(settings.app.min_free_mib, 200);
    let database = folder.path("home/.local/state/rollout/rollout.db");
    assert_eq!(
        settings.database_url,
        format!("sqlite://{}", database.display())
    );
}

#[test]
fn a_later_word_wins_and_each_value_knows_whose_it_is() {
    let folder = Folder::new();
    folder.write(
        "project/rollout.toml",
        "[rollout]\nconcurrency = 7\nsettle = 0.5\nstages = \"20,100\"\n",
    );
    let environment = Layer {
        database_url: Some("postgres://u:p@h/db".into()),
        ..Layer::default()
    };
    let flags = Layer {
        rollout: RolloutLayer {
            concurrency: Some(2),
            ..RolloutLayer::default()
        },
        ..Layer::default()
    };
    let said = vec![(Origin::Environment, environment), (Origin::Flag, flags)];
    let settings = load(&folder.places(), said).unwrap();
    for (key, value, origin) in [
        ("database_url", "\"postgres://u:***@h/db\"", "environment"),
        ("rollout.concurrency", "2", "flag"),
        ("rollout.max_in_flight", "8", "default"),
        ("rollout.settle", "\"0.5s\"", "file"),
        ("rollout.stages", "[20, 100]", "file"),
        ("rollout.max_failures", "\"30%\"", "default"),
        ("app.service", "none", "default"),
    ] {
        assert_eq!(
            shown(&settings, key),
            (value.to_owned(), origin.to_owned()),
            "{key}"
        );
    }
    assert_eq!(
        settings.database_url, "postgres://u:p@h/db",
        "the value in force keeps its password"
    );
}

#[test]
fn the_files_are_looked_for_in_order() {
    let folder = Folder::new();
    folder.write(
        "home/.config/rollout/config.toml",
        "[rollout]\nconcurrency = 3\n",
    );
    assert_eq!(
        load(&folder.places(), Vec::new())
            .unwrap()
            .rollout
            .concurrency,
        3
    );
    folder.write("project/rollout.toml", "[rollout]\nconcurrency = 4\n");
    assert_eq!(
        load(&folder.places(), Vec::new())
            .unwrap()
            .rollout
            .concurrency,
        4
    );
    folder.write("elsewhere.toml", "[rollout]\nconcurrency = 5\n");
    let named = Places {
        config: Some("../elsewhere.toml".into()),
        ..folder.places()
    };
    assert_eq!(load(&named, Vec::new()).unwrap().rollout.concurrency, 5);
    let missing = Places {
        config: Some("missing.toml".into()),
        ..folder.places()
    };
    assert!(matches!(
        load(&missing, Vec::new()),
        Err(SettingsError::Unreadable { .. })
    ));
}

#[test]
fn paths_are_relative_to_the_file_and_a_tilde_is_home() {
    let folder = Folder::new();
    folder.write(
        "conf/rollout.toml",
        "database_url = \"sqlite://fleet.db\"\n[ssh]\nkey = \"keys/id\"\nknown_hosts = \"~/.ssh/known_hosts\"\npassphrase_file = \"/x/y\"\n",
    );
    let places = Places {
        config: Some(folder.path("conf/rollout.toml")),
        ..folder.places()
    };
    let settings = load(&places, Vec::new()).unwrap();
    assert_eq!(
        settings.database_url,
        format!("sqlite://{}", folder.path("conf/fleet.db").display())
    );
    assert_eq!(settings.ssh.key, Some(folder.path("conf/keys/id")));
    assert_eq!(
        settings.ssh.known_hosts,
        Some(folder.path("home/.ssh/known_hosts"))
    );
    assert_eq!(settings.ssh.passphrase_file, Some("/x/y".into()));
    let flag = Layer {
        database_url: Some("sqlite://fleet.db".into()),
        ..Layer::default()
    };
    let settings = load(&places, vec![(Origin::Flag, flag)]).unwrap();
    assert_eq!(
        settings.database_url,
        format!("sqlite://{}", folder.path("project/fleet.db").display())
    );
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_place() {
    for (text, line, column, word) in [
        ("[rollout]\nconcurency = 5\n", 2, 1, "concurency"),
        ("nonsense = 1\n", 1, 1, "nonsense"),
        ("[app]\nbranch = \"--upload-pack=x\"\n", 2, 10, "option"),
        ("[rollout]\nstages = [50, 10]\n", 2, 10, "ascend"),
        ("[rollout]\nstages = [10, 50]\n", 2, 10, "end at 100"),
        ("[rollout]\nmax_failures = 101\n", 2, 16, "0 to 100"),
        ("[rollout]\nmax_failures = \"30.5\"\n", 2, 16, "0 to 100"),
        ("[rollout]\nsettle = \"soon\"\n", 2, 10, "length of time"),
        ("[rollout]\nsettle = -1\n", 2, 10, "length of time"),
        ("[rollout]\norder = \"size\"\n", 2, 9, "size"),
        ("[ssh]\nport = 70000\n", 2, 8, "70000"),
        ("[app.timeouts]\npul = 3\n", 2, 1, "pul"),
        ("[server]\nport = 80\n", 2, 1, "port"),
        (
            "[server]\nlisten = \"localhost\"\n",
            2,
            10,
            "socket address",
        ),
        ("[server]\ntrusted_proxies = [\"x/8\"]\n", 2, 19, "prefix"),
        ("[health]\nfix = \"no\"\n", 2, 7, "boolean"),
        ("[history]\noutput_days = -1\n", 2, 15, "u32"),
        ("[history]\noutput_days = \"30d\"\n", 2, 15, "u32"),
        ("[rollout\n", 1, 9, ""),
    ] {
        match read(text) {
            Err(SettingsError::File {
                line: l,
                column: c,
                message,
                ..
            }) => {
                assert_eq!((l, c), (line, column), "{text:?}: {message}");
                assert!(message.contains(word), "{text:?}: {message}");
                assert!(!message.contains('\n'));
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn values_that_do_not_go_together_are_refused_with_their_key() {
    for (text, refused) in [
        ("[rollout]\nconcurrency = 0\n", "rollout.concurrency"),
        ("[rollout]\nmax_in_flight = 0\n", "rollout.max_in_flight"),
        ("[rollout]\nsettle = \"2h\"\n", "rollout.settle"),
        ("[lease]\nlease = 10\nfence = 10\n", "lease.fence"),
        ("[lease]\nrenew = 0\n", "lease.renew"),
        ("[lease]\nrenew = 25\n", "lease.renew"),
        ("[app]\ninstall = \" \"\n", "app.install"),
        ("[app]\ngenerated = [\"../x\"]\n", "app.generated"),
        ("[app.timeouts]\npull = 0\n", "app.timeouts.pull"),
        ("[ssh]\nport = 0\n", "ssh.port"),
        ("[health]\nevery = 0\n", "health.every"),
        ("[history]\noutput_days = 36501\n", "history.output_days"),
        ("[server]\nsession_idle = \"13h\"\n", "server.session_idle"),
        (
            "[server]\nsession_absolute = 0\nsession_idle = 0\n",
            "server.session_idle",
        ),
        ("[server]\nstop_grace = \"2h\"\n", "server.stop_grace"),
        ("[server]\nmax_connections = 1\n", "server.max_connections"),
        (
            "[server]\nallowed_hosts = [\"a b\"]\n",
            "server.allowed_hosts",
        ),
        ("database_url = \"mysql://x\"\n", "database_url"),
        ("database_url = \"sqlite://\"\n", "database_url"),
    ] {
        match read(text) {
            Err(SettingsError::Value { key, origin, .. }) => {
                assert_eq!(
                    (key, matches!(origin, Origin::File(_))),
                    (refused, true),
                    "{text:?}"
                );
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn outputs_are_kept_for_days_or_for_ever() {
    for (text, days, shown) in [
        ("", Some(30), ("30", "days")),
        ("output_days = 1", Some(1), ("1", "days")),
        ("output_days = 36500", Some(36_500), ("36500", "days")),
        ("output_days = 0", None, ("0", "(for ever)")),
    ] {
        let settings = read(&format!("[history]\n{text}\n")).unwrap();
        assert_eq!(settings.history.output_days.map(u32::from), days, "{text}");
        let mut entries = settings.entries().iter();
        let entry = entries.find(|entry| entry.key == "history.output_days");
        let entry = entry.unwrap();
        let value = entry.value.as_deref().unwrap();
        assert_eq!((value, entry.unit().unwrap()), shown);
    }
}

#[test]
fn lease_times_may_be_fractions() {
    let settings = read("[lease]\nlease = 3\n").unwrap();
    assert_eq!(settings.lease.fence, Duration::from_secs(2));
    assert_eq!(settings.lease.renew, Duration::from_millis(500));
    let settings =
        read("[lease]\nlease = 1.5\nfence = 1\nrenew = \"250ms\"\nslot_grace = 0\n").unwrap();
    assert_eq!(settings.lease.lease, Duration::from_millis(1500));
    assert_eq!(settings.lease.renew, Duration::from_millis(250));
    let folder = Folder::new();
    let flag = Layer {
        lease: LeaseLayer {
            lease: Some(Seconds(Duration::from_secs(60))),
            ..LeaseLayer::default()
        },
        ..Layer::default()
    };
    assert_eq!(
        load(&folder.places(), vec![(Origin::Flag, flag)])
            .unwrap()
            .lease
            .lease,
        Duration::from_secs(60)
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let settings = read("[app]\nrepo = \"/srv/app\"\ninstall = \"echo \\\"a\\\\b\\\"\"\n").unwrap();
    let mut text = String::new();
    for entry in settings.entries() {
        if let Some(value) = &entry.value {
            text.push_str(&format!("{} = {value}\n", entry.key));
        }
    }
    let again = read(&text).unwrap();
    assert_eq!(again.app, settings.app);
    assert_eq!(again.rollout, settings.rollout);
    assert_eq!(again.lease, settings.lease);
    assert_eq!(again.server, settings.server);
    assert_eq!(again.health, settings.health);
    assert_eq!(again.history, settings.history);
}

#[test]
fn a_server_speaks_plain_http_on_loopback_or_behind_a_proxy() {
    for (text, listens, cookies, proxies) in [
        ("", true, "false", "[]"),
        ("listen = \"[::1]:80\"", true, "false", "[]"),
        ("listen = \"0.0.0.0:80\"", false, "true", "[]"),
        ("listen = \"[::]:80\"", false, "true", "[]"),
        (
            "listen = \"10.0.0.1:80\"\nbehind_proxy = true",
            true,
            "true",
            "[\"127.0.0.1\", \"::1\"]",
        ),
        (
            "behind_proxy = true\nsecure_cookies = false\ntrusted_proxies = [\"10.0.0.0/8\"]",
            true,
            "false",
            "[\"10.0.0.0/8\"]",
        ),
    ] {
        // The command line reads the same file, and is not hindered by what only the server minds.
        let settings = read(&format!("[server]\n{text}\n")).unwrap();
        assert_eq!(settings.check_listen().is_ok(), listens, "{text}");
        assert_eq!(
            shown(&settings, "server.secure_cookies").0,
            cookies,
            "{text}"
        );
        assert_eq!(
            shown(&settings, "server.trusted_proxies").0,
            proxies,
            "{text}"
        );
    }
}
