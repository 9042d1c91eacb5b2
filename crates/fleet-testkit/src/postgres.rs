//! PostgreSQL servers of the test's own: a folder and a port each, gone when the run ends.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::ports::free_port;
use crate::tools::{find, find_psql, text, until};

/// As root the server refuses to run; this user has nothing.
const NOBODY: u32 = 65_534;

/// How often another port is tried when someone took the free one.
const ATTEMPTS: usize = 5;

/// Stops the server and removes its folder once the other end of its input is closed: however the run ended. Before that
/// it stops and starts the server as it is told.
const KEEPER: &str = r#"
up() {
    "$BIN/postgres" -D "$ROOT/data" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$ROOT" \
        -c fsync=off -c max_connections=200 >>"$ROOT/log" 2>&1 &
    server=$!
}
up
while read -r word; do
    case "$word" in
        crash) kill -QUIT "$server"; wait "$server" ;;
        start) up ;;
        *) break ;;
    esac
done
kill -INT "$server" 2>/dev/null
wait "$server"
# Many databases take their time; nobody waits for what this says.
[ "$word" = again ] || exec rm -rf "$ROOT" >/dev/null 2>&1
"#;

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    settings: Vec<String>,
    files: Vec<(String, String)>,
}

impl PostgresOptions {
    /// Adds a line to `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }

    /// Puts a file into the folder of the server's data, for its eyes only: certificates, or `pg_hba.conf`, which says
    /// who may come in how. The user `postgres` has to be trusted on 127.0.0.1.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }
}

/// A running server. Whoever is on this machine is let in as `postgres`, unless its options say otherwise.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    root: PathBuf,
    /// Its input is what keeps the server up.
    keeper: Child,
}

impl Postgres {
    /// The one server that all tests of a program share; it starts at the first call.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is missing or does not start; ask [`is_left_out`](crate::is_left_out) first.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&PostgresOptions::default()))
    }

    /// Starts a server on a free port of 127.0.0.1, and on a socket in its folder, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is missing or does not start; ask [`is_left_out`](crate::is_left_out) first.
    #[must_use]
    pub fn start(options: &PostgresOptions) -> Self {
        let postgres = find("postgres").expect("postgresql is missing; run cargo xtask test");
        let bin = postgres
            .parent()
            .expect("a program is in a folder")
            .to_owned();
        let root = new_root();
        make_cluster(&bin, &root, options);
        // Another program may take the port between our look and the server's: then with another one.
        for _ in 0..ATTEMPTS {
            let port = free_port();
            // What another try said is not about this one.
            let _ = std::fs::remove_file(root.join("log"));
            let mut keeper = as_nobody(Path::new("/bin/sh"))
                .args(["-c", KEEPER])
                .env("BIN", &bin)
                .env("ROOT", &root)
                .env("PORT", port.to_string())
                .current_dir("/")
                .stdin(Stdio::piped())
                .spawn()
                .expect("a shell can be started");
            if is_up(&root, &mut keeper) {
                return Self { port, root, keeper };
            }
        }
        panic!("PostgreSQL did not start; see {}/log", root.display());
    }

    /// Stops it in the middle of what it does, as `pg_ctl stop -m immediate`: without a word to its clients, and what it
    /// did not write out it reads from its log when it starts again.
    ///
    /// # Panics
    ///
    /// When it does not stop.
    pub fn crash(&self) {
        self.tell("crash");
        let file = self.root.join("data/postmaster.pid");
        until("PostgreSQL has stopped", || !file.exists());
    }

    /// Starts it again on the same port and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&self) {
        self.tell("start");
        until("PostgreSQL answers again", || says_ready(&self.root));
    }

    fn tell(&self, word: &str) {
        let mut input = self.keeper.stdin.as_ref().expect("the keeper has an input");
        writeln!(input, "{word}").expect("the keeper reads");
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.root
    }

    /// The URL of a database on it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database of a name that no other one has; answers the name.
    pub fn new_database(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements in a database, each on its own; answers their rows, one a line, with `|` between the columns.
    ///
    /// # Panics
    ///
    /// When one of them fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = Command::new(find_psql().expect("psql is missing; run cargo xtask test"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c"])
            .arg(statements)
            .arg(self.url(database))
            .stdin(Stdio::null())
            .output()
            .expect("psql can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        end(&mut self.keeper, "end");
    }
}

fn end(keeper: &mut Child, word: &str) {
    if let Some(mut input) = keeper.stdin.take() {
        let _ = writeln!(input, "{word}");
    }
    let _ = keeper.wait();
}

fn new_root() -> PathBuf {
    let root = tempfile::Builder::new()
        .prefix("rollout-postgres-")
        .tempdir()
        .expect("a temporary folder can be made")
        .keep();
    give(&root, 0o700);
    root
}

fn make_cluster(bin: &Path, root: &Path, options: &PostgresOptions) {
    let data = root.join("data");
    let output = as_nobody(&bin.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
        .args(["--no-sync", "-D", text(&data)])
        .current_dir("/")
        .output()
        .expect("initdb can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed: {error}");
    let put = |name: &str, content: &str| {
        let path = data.join(name);
        crate::tools::write(&path, content);
        give(&path, 0o600);
    };
    for (name, content) in &options.files {
        put(name, content);
    }
    let file = data.join("postgresql.conf");
    let mut settings = std::fs::read_to_string(&file).expect("initdb wrote postgresql.conf");
    for line in &options.settings {
        settings += line;
        settings.push('\n');
    }
    put("postgresql.conf", &settings);
}

/// Gives a file or folder to the user that the server runs as.
fn give(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("the owner can set permissions");
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root can give files away");
    }
}

fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
        .arg(program);
    command
}

fn is_root() -> bool {
    // The owner of a process is the owner of its folder.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The last line of this file is what the server tells of itself, as pg_ctl reads it.
fn says_ready(root: &Path) -> bool {
    let told = std::fs::read_to_string(root.join("data/postmaster.pid")).unwrap_or_default();
    let mut lines = told.lines();
    lines.nth(7).is_some_and(|line| line.trim() == "ready")
}

/// Waits until the server takes connections; else the keeper is told to end.
fn is_up(root: &Path, keeper: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        if says_ready(root) {
            return true;
        }
        let log = std::fs::read_to_string(root.join("log")).unwrap_or_default();
        if log.contains("FATAL") {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    end(keeper, "again");
    false
}
