//! Hosts: added, edited, imported, exported, trusted and looked at.

use std::fs;

use local_fleet::Fault;
use serde_json::Value;

use crate::support::{Place, Site, words};

fn place() -> Place {
    let place = Place::new();
    place.write(
        "rollout.toml",
        "[app]\nrepo = \"/srv/app\"\nservice = \"app\"\n[ssh]\nuser = \"deploy\"\nport = 2222\n",
    );
    place
}

fn hosts(place: &Place) -> Vec<fleet_types::view::Host> {
    let list = place.json(&["hosts", "list"]);
    serde_json::from_value(list["hosts"].clone()).unwrap()
}

#[test]
fn what_is_not_said_comes_from_the_configuration() {
    let place = place();
    place.expect(
        0,
        &words("hosts add web-1 --address 192.0.2.1 --label plan=s --label eu --owner acme"),
    );
    let all = [
        "hosts",
        "add",
        "web-2",
        "--address",
        "web-2.example.org",
        "--port",
        "22",
        "--user",
        "root",
        "--key",
        "keys/id",
        "--repo",
        "/opt/app",
        "--branch",
        "release/2",
        "--service",
        "app@2",
        "--install",
        "true",
        "--verify",
        "curl x",
    ];
    let ran = place.expect(0, &all);
    assert!(
        ran.stderr.contains("warning") && ran.stderr.contains("keys/id"),
        "a key that is not here: {ran:#?}"
    );
    let listed = hosts(&place);
    assert_eq!(
        (
            listed[0].port,
            listed[0].user.as_str(),
            listed[0].owner.as_deref()
        ),
        (2222, "deploy", Some("acme"))
    );
    assert_eq!(listed[0].labels["plan"], "s");
    let exported = place.json(&["hosts", "export"]);
    let (one, two) = (&exported["hosts"][0], &exported["hosts"][1]);
    assert_eq!(
        (&one["repo"], &one["install"]),
        (&Value::from("/srv/app"), &Value::from("bun install"))
    );
    assert_eq!(
        (&two["repo"], &two["branch"]),
        (&Value::from("/opt/app"), &Value::from("release/2"))
    );
    assert_eq!(two["key"], place.path("keys/id").display().to_string());
}

#[test]
fn an_edit_changes_what_was_said_and_nothing_else() {
    let place = place();
    place.expect(
        0,
        &words("hosts add web-1 --address 192.0.2.1 --label eu --verify x"),
    );
    place.expect(
        0,
        &words("hosts edit web-1 --rename web-9 --label plan=m --unlabel eu --verify ''"),
    );
    let exported = place.json(&["hosts", "export"]);
    let host = &exported["hosts"][0];
    assert_eq!(host["name"], "web-9");
    assert_eq!(host["labels"], serde_json::json!({ "plan": "m" }));
    assert_eq!(host["verify"], Value::Null);
    assert_eq!(host["address"], "192.0.2.1");
    let again = place.expect(0, &["hosts", "edit", "web-9", "--label", "plan=m"]);
    assert!(again.stderr.contains("like that already"), "{again:#?}");
    place.write(
        "rollout.toml",
        "[app]\nrepo = \"/x\"\nservice = \"y\"\ninstall = \"make\"\n[ssh]\nuser = \"deploy\"\n",
    );
    place.expect(0, &["hosts", "edit", "web-9", "--reset-app"]);
    let host = &place.json(&["hosts", "export"])["hosts"][0];
    assert_eq!(
        (&host["install"], &host["repo"]),
        (&Value::from("make"), &Value::from("/srv/app"))
    );
    place.expect(0, &["hosts", "remove", "web-9"]);
    assert!(hosts(&place).is_empty());
}

#[test]
fn an_import_is_a_difference_and_the_second_one_changes_nothing() {
    let place = place();
    place.expect(0, &["hosts", "add", "old", "--address", "192.0.2.9"]);
    place.write(
        "fleet.csv",
        "name,address,port,user,key,labels,owner\nweb-1,192.0.2.1,22,root,,plan=s;eu,acme\nweb-2,192.0.2.2,,,,,\n",
    );
    let dry = place.expect(0, &["hosts", "import", "fleet.csv", "--dry-run"]);
    assert!(
        dry.stdout
            .contains("+ 2 new   ~ 0 changed   = 0 same   1 host not in the file"),
        "{dry:#?}"
    );
    assert_eq!(hosts(&place).len(), 1);
    place.expect(0, &["hosts", "import", "fleet.csv", "--format", "csv"]);
    let listed = hosts(&place);
    assert_eq!(listed.len(), 3);
    assert_eq!(
        (listed[2].port, listed[2].user.as_str()),
        (2222, "deploy"),
        "defaults"
    );
    let again = place.expect(0, &["hosts", "import", "fleet.csv"]);
    assert!(
        again.stdout.contains("+ 0 new   ~ 0 changed   = 2 same"),
        "{again:#?}"
    );
    place.write("fleet.csv", "name,address,port\nweb-1,192.0.2.1,2200\n");
    let changed = place.expect(0, &["hosts", "import", "fleet.csv"]);
    assert!(changed.stdout.contains("port 22 → 2200"), "{changed:#?}");
    assert_eq!(
        hosts(&place)[1].labels["plan"],
        "s",
        "a column that is not there takes nothing away"
    );
}

#[test]
fn an_ansible_inventory_is_imported_in_both_forms_and_its_groups_are_labels() {
    let place = place();
    place.write(
        "hosts",
        "[web]\nweb[01:03].example.org\n[db]\ndb ansible_host=192.0.2.9 ansible_user=root\n[eu:children]\nweb\n[web:vars]\nansible_ssh_common_args='-J ops@edge'\nansible_ssh_private_key_file=keys/web\n",
    );
    place.write(
        "fleet.yml",
        "all:\n  children:\n    eu:\n      children:\n        web:\n          hosts:\n            web[01:03].example.org:\n          vars:\n            ansible_ssh_common_args: -o ProxyJump=ops@edge\n            ansible_ssh_private_key_file: keys/web\n    db:\n      hosts:\n        db: {ansible_host: 192.0.2.9, ansible_user: root}\n",
    );
    let dry = place.expect(0, &["hosts", "import", "hosts", "--dry-run"]);
    assert!(
        dry.stdout.contains("+ 4 new") && hosts(&place).is_empty(),
        "{dry:#?}"
    );
    place.expect(0, &["hosts", "import", "hosts", "-y"]);
    let same = place.expect(0, &["hosts", "import", "fleet.yml"]);
    assert!(same.stdout.contains("= 4 same"), "{same:#?}");
    let on = |selector: &str| {
        let list = place.json(&["hosts", "list", "--on", selector]);
        list["hosts"].as_array().unwrap().len()
    };
    assert_eq!((on("@web"), on("@eu"), on("@db")), (3, 3, 1));
    let exported = place.json(&["hosts", "export", "--on", "web02*"]);
    let web = &exported["hosts"][0];
    assert_eq!(
        (&web["port"], &web["user"]),
        (&2222.into(), &"deploy".into())
    );
    assert_eq!(web["jump"], serde_json::json!(["ops@edge"]));
    assert_eq!(web["key"], place.path("keys/web").display().to_string());

    // What only says how to speak to a host leaves the way to it.
    place.write(
        "tuned.ini",
        "web[01:03].example.org ansible_ssh_common_args=-C\n[web]\nweb[01:03].example.org\n[eu:children]\nweb\n",
    );
    let same = place.expect(0, &["hosts", "import", "tuned.ini"]);
    assert!(same.stdout.contains("= 3 same"), "{same:#?}");

    // A label with a value is no group: what was said here by hand stays, and a group that it is not in any more goes.
    place.expect(0, &words("hosts edit db --label plan=s --label web"));
    let changed = place.expect(0, &["hosts", "import", "hosts"]);
    assert!(
        changed.stdout.contains("labels db;plan=s;web → db;plan=s"),
        "{changed:#?}"
    );
}

#[test]
fn an_ssh_configuration_is_imported() {
    let place = place();
    fs::create_dir(place.path("ssh")).unwrap();
    place.write(
        "ssh/config",
        "Host edge\n  HostName 192.0.2.9\n  User ops\n  Port 22\n\nHost web-1\n  HostName 192.0.2.1\nHost web-2\n  IdentityFile keys/two\nHost web-*\n  ProxyJump edge\n",
    );
    let dry = place.expect(0, &["hosts", "import", "ssh/config", "--dry-run"]);
    assert!(
        dry.stdout.contains("+ web-1   deploy@192.0.2.1:2222") && dry.stdout.contains("+ 3 new"),
        "{dry:#?}"
    );
    assert!(hosts(&place).is_empty());
    place.expect(0, &["hosts", "import", "ssh/config", "-y"]);
    let exported = place.json(&["hosts", "export"]);
    let of = |at: usize, field: &str| exported["hosts"][at][field].clone();
    assert_eq!((of(0, "user"), of(0, "port")), ("ops".into(), 22.into()));
    assert_eq!(of(1, "jump"), serde_json::json!(["ops@192.0.2.9:22"]));
    assert_eq!(of(2, "address"), "web-2");
    assert_eq!(
        of(2, "key"),
        place.path("ssh/keys/two").display().to_string(),
        "beside the file"
    );

    // What the file does not say stays as it is.
    place.expect(
        0,
        &words("hosts edit web-1 --port 2200 --label plan=s --label new"),
    );
    place.expect(0, &words("hosts edit web-2 --address 192.0.2.2"));
    let same = place.expect(0, &["hosts", "import", "ssh/config"]);
    assert!(same.stdout.contains("= 3 same"), "{same:#?}");
    fs::copy(place.path("ssh/config"), place.path("mine.txt")).unwrap();
    let shown = place.json(&["hosts", "import", "mine.txt", "--format", "ssh-config"]);
    assert_eq!(
        shown["unchanged"], 2,
        "another folder, another key: {shown}"
    );
}

#[test]
fn what_is_exported_can_be_imported() {
    let place = place();
    place.expect(
        0,
        &words("hosts add web-1 --address 192.0.2.1 --label plan=s --install 'echo \"a, b\"'"),
    );
    place.expect(
        0,
        &words("hosts add web-2 --address 2001:db8::1 --verify x --jump ops@edge:2200"),
    );
    for format in ["csv", "json"] {
        let exported = place
            .expect(0, &["hosts", "export", "--format", format])
            .stdout;
        let file = format!("fleet.{format}");
        place.write(&file, &exported);
        let same = place.expect(0, &["hosts", "import", &file]);
        assert!(same.stdout.contains("= 2 same"), "{same:#?}");
        let other = self::place();
        fs::copy(place.path(&file), other.path(&file)).unwrap();
        other.expect(0, &["hosts", "import", &file]);
        assert_eq!(
            other
                .expect(0, &["hosts", "export", "--format", format])
                .stdout,
            exported
        );
    }
    let listed = place.expect(0, &["hosts", "list", "--json"]).stdout;
    place.write("listed.json", &listed);
    let same = place.expect(0, &["hosts", "import", "listed.json"]);
    assert!(same.stdout.contains("= 2 same"), "{same:#?}");
}

#[test]
fn keys_are_pinned_and_a_changed_one_only_for_a_host_that_is_named() {
    let site = Site::new(3, "");
    let place = &site.place;
    let shown = place.json(&["hosts", "trust", "--all", "-y"]);
    let keys = site.fleet.hosts()[0].host_key();
    assert!(
        shown["hosts"][0]["keys"][0]["fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("SHA256:")
    );
    assert_eq!(shown["hosts"][0]["finding"], "unchanged");
    assert!(
        place
            .expect(0, &["hosts", "show", "web-01"])
            .stdout
            .contains(&keys)
    );
    let none = place.expect(0, &["hosts", "trust", "-y"]);
    assert!(
        none.stderr.contains("every host has a pinned key"),
        "{none:#?}"
    );

    site.wait(site.fleet.hosts()[1].set_fault(Fault::HostKeyChanged))
        .unwrap();
    let ran = place.expect(3, &["hosts", "trust", "--all", "-y"]);
    assert!(
        ran.stdout.contains("CHANGED") && ran.stderr.contains("hosts trust web-02"),
        "{ran:#?}"
    );
    let check = place.run(&["hosts", "check", "--json"]);
    let check: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!(
        check["hosts"][1]["problems"][0]["reason"],
        "host_key_changed"
    );
    place.expect(0, &["hosts", "trust", "web-02", "-y"]);
    place.expect(0, &["hosts", "check"]);

    site.wait(site.fleet.hosts()[2].set_fault(Fault::Down))
        .unwrap();
    let ran = place.expect(8, &["hosts", "trust", "web-03", "-y"]);
    assert!(ran.stdout.contains("could not reach web-03"), "{ran:#?}");
}

#[test]
fn a_check_says_what_an_update_would_refuse_and_changes_nothing() {
    let site = Site::new(4, "");
    let set = |number: usize, fault| {
        site.wait(site.fleet.hosts()[number].set_fault(fault))
            .unwrap()
    };
    set(1, Fault::DirtyTree);
    set(2, Fault::Down);
    set(3, Fault::NoSudo);
    let ran = site.place.run(&["hosts", "check", "--json"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    let problem = |number: usize| seen["hosts"][number]["problems"][0]["reason"].clone();
    assert_eq!(seen["hosts"][0]["problems"], serde_json::json!([]));
    assert_eq!(seen["hosts"][0]["version"], site.heads()[0]);
    assert_eq!(
        [problem(1), problem(2), problem(3)],
        ["dirty_tree", "unreachable", "no_sudo"]
    );
    let text = site.place.run(&["hosts", "check"]).stdout;
    assert!(text.contains("unreachable") && text.contains("✓"), "{text}");
    assert!(site.fleet.max_connections_seen() <= 5);
}
