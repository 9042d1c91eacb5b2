//! Databases that cannot be used: refused with code 8, and left as they are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use fleet_testkit::{Postgres, is_left_out};

use crate::support::{Place, Ran};

fn refused(ran: &Ran, word: &str) {
    assert_eq!(ran.code, 8, "{ran:#?}");
    assert!(
        ran.stderr.starts_with("error: ") && ran.stderr.lines().count() <= 3,
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains(word),
        "{word:?} is not in: {}",
        ran.stderr
    );
}

fn place() -> Place {
    let place = Place::new();
    place.write(
        "rollout.toml",
        "database_url = \"sqlite://rollout.db\"\n[app]\nrepo = \"/srv/app\"\nservice = \"app\"\n",
    );
    place
}

const ADD: &[&str] = &["hosts", "add", "web-1", "--address", "192.0.2.1"];

#[test]
fn something_else() {
    let place = place();
    for content in [
        "this is a text that is longer than the head of a database file, over and over again",
        "x",
    ] {
        place.write("rollout.db", &content.repeat(50));
        let before = place.content();
        refused(&place.run(ADD), "not a rollout database");
        assert_eq!(place.content(), before);
    }
}

#[test]
fn a_folder_or_nowhere() {
    let place = place();
    fs::create_dir(place.path("rollout.db")).unwrap();
    refused(&place.run(ADD), "rollout.db");
    let ran = place.run(&["--database-url", "sqlite:///dev/null/rollout.db", "status"]);
    refused(&ran, "/dev/null/rollout.db");
}

#[test]
fn made_by_a_newer_program() {
    let place = place();
    place.expect(0, ADD);
    let database = place.path("rollout.db");
    let says = |sql: &str| {
        let mut conn = SqliteConnection::establish(&database.display().to_string()).unwrap();
        conn.batch_execute(&format!("{sql}; PRAGMA wal_checkpoint(TRUNCATE);"))
            .unwrap();
    };
    // The program knows its schema by the names of its migrations; a later one has a later name. As long as that only
    // adds something, older programs work on.
    says(
        "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99991231000000', CURRENT_TIMESTAMP); \
         ALTER TABLE hosts ADD COLUMN next_note TEXT",
    );
    place.expect(0, &["status"]);
    says("UPDATE compatibility SET since = 99991231000000");
    let before = fs::read(&database).unwrap();
    refused(
        &place.run(&["hosts", "add", "web-2", "--address", "192.0.2.2"]),
        "newer",
    );
    refused(&place.run(&["status"]), "newer");
    assert_eq!(fs::read(&database).unwrap(), before);
}

#[test]
fn read_only() {
    let place = place();
    place.expect(0, ADD);
    let rights = |file: u32, folder: u32| {
        for entry in fs::read_dir(place.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("rollout.db")
            {
                fs::set_permissions(path, fs::Permissions::from_mode(file)).unwrap();
            }
        }
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(folder)).unwrap();
    };
    let mut command = as_nobody(&place, &["hosts", "add", "web-2", "--address", "192.0.2.2"]);
    rights(0o444, 0o555);
    let before = place.content();
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(place.content(), before);
    rights(0o644, 0o755);
    refused(&ran, "read-only");
}

/// Rights on files do not hold for root, so a program that root starts runs as nobody.
fn as_nobody(place: &Place, arguments: &[&str]) -> Command {
    let program = place.path("program");
    fleet_testkit::copy_program(Path::new(env!("CARGO_BIN_EXE_rollout-cli")), &program);
    let template = place.command(arguments);
    let mut command = if fs::metadata(place.path("")).unwrap().uid() == 0 {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command
        .args(arguments)
        .current_dir(place.path(""))
        .env_clear();
    for (name, value) in template.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// A file system of a megabyte that is ours alone needs a mount namespace.
#[test]
#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn full() {
    let place = place();
    fs::create_dir(place.path("small")).unwrap();
    let script = format!(
        r#"set -e
        mount -t tmpfs -o size=1m none '{folder}'
        cd '{folder}'
        run() {{ '{program}' --database-url sqlite://rollout.db "$@"; }}
        run --config ../rollout.toml hosts add web-1 --address 192.0.2.1 -q
        cat /dev/zero > filler 2>/dev/null || true
        # Room for the files that a reader needs, and not for a change.
        truncate -s -40K filler
        code=0
        run --config ../rollout.toml hosts add web-2 --address 192.0.2.2 || code=$?
        rm filler
        run --config ../rollout.toml hosts export --format csv
        exit $code"#,
        folder = place.path("small").display(),
        program = env!("CARGO_BIN_EXE_rollout-cli"),
    );
    let mut command = place.command(&[]);
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command
        .current_dir(place.path(""))
        .env_clear()
        .envs(environment)
        .env("HOME", place.path("small"));
    let ran = Ran::of(command.output().unwrap());
    if ran.stderr.contains("unshare: ") || ran.stderr.contains("mount: ") {
        eprintln!(
            "left out, for it needs a file system of its own: {}",
            ran.stderr
        );
        return;
    }
    refused(
        &Ran {
            stdout: String::new(),
            ..ran.clone()
        },
        "no space",
    );
    assert!(
        ran.stdout.contains("web-1,") && !ran.stdout.contains("web-2,"),
        "{ran:#?}"
    );
}

#[test]
fn postgres_that_does_not_let_us_in_as_asked() {
    if is_left_out("postgres") {
        return;
    }
    let server = Postgres::shared();
    let url = server.url(&server.new_database());
    let place = place();
    let ran = place.run(&[
        "--database-url",
        &format!("{url}?sslmode=require"),
        "status",
    ]);
    refused(&ran, "is not safe");
    let lines: Vec<&str> = ran.stderr.lines().map(str::trim).collect();
    assert_eq!(
        lines[1..],
        [
            "the server does not speak TLS, which sslmode=require asks for",
            "set ssl = on in its postgresql.conf, or say sslmode=disable in the URL if the network is trusted",
        ]
    );
    let nowhere = format!("{url}_x");
    let ran = place.run(&["--database-url", &nowhere, "status"]);
    refused(&ran, "check that PostgreSQL runs there");

    // The password is in a file that others can read; then it is not, and this server asks for none.
    place.write("password", "s3cret\n");
    let toml = format!("database_url = \"{url}\"\ndatabase_password_file = \"password\"\n");
    place.write("rollout.toml", &toml);
    let mode = |mode| fs::set_permissions(place.path("password"), fs::Permissions::from_mode(mode));
    mode(0o644).unwrap();
    let ran = place.run(&["status"]);
    refused(&ran, "others can read it");
    mode(0o600).unwrap();
    let ran = place.expect(0, &["config", "show"]);
    assert!(!ran.stdout.contains("s3cret"), "{}", ran.stdout);
    place.expect(0, &["hosts", "list"]);
    place.write(
        "rollout.toml",
        &toml.replace("postgres@", "postgres:s3cret@"),
    );
    let ran = place.run(&["status"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
}
