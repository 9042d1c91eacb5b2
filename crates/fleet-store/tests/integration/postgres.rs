//! A PostgreSQL server of this test run: its own folder, port and user, gone when the run ends.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// As root the server refuses to run; this user has nothing.
const NOBODY: u32 = 65_534;

/// Stops the server and removes its folder once the test run, which holds the other end of its input, is over: however
/// it ended.
const KEEPER: &str = r#"
"$BIN/postgres" -D "$ROOT/data" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c max_connections=200 >"$ROOT/log" 2>&1 &
server=$!
read -r end
kill -INT "$server" 2>/dev/null
wait "$server"
rm -rf "$ROOT"
"#;

struct Server {
    port: u16,
    /// Its input is what keeps the server up.
    _keeper: Child,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();

/// A fresh database; none when this run is to do without PostgreSQL.
pub(crate) async fn database(name: &str) -> Option<String> {
    let without = std::env::var("ROLLOUT_TEST_WITHOUT").unwrap_or_default();
    if without.split([',', ' ']).any(|tool| tool == "postgres") {
        println!("skipped: postgres");
        return None;
    }
    let server = SERVER
        .get_or_init(|| async { tokio::task::spawn_blocking(start).await.unwrap() })
        .await;
    let port = server.port;
    let url = |database: &str| format!("postgres://postgres@127.0.0.1:{port}/{database}");
    let (client, connection) = tokio_postgres::connect(&url("postgres"), tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    client
        .batch_execute(&format!("CREATE DATABASE \"{name}\""))
        .await
        .unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    Some(url(name))
}

fn start() -> Server {
    let bin = programs().expect("postgresql is missing; run cargo xtask test");
    let root = tempfile::Builder::new()
        .prefix("store-postgres-")
        .tempdir()
        .unwrap()
        .keep();
    let as_root = rustix::process::geteuid().is_root();
    if as_root {
        chown(&root, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
    let initdb = run_as(as_root, &bin.join("initdb"))
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ])
        .arg(root.join("data"))
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        initdb.status.success(),
        "{}",
        String::from_utf8_lossy(&initdb.stderr)
    );
    // Another program may take the port between our look and the server's: then with another one.
    for _ in 0..5 {
        let port = free_port();
        let mut keeper = run_as(as_root, Path::new("/bin/sh"))
            .args(["-c", KEEPER])
            .env("BIN", &bin)
            .env("ROOT", &root)
            .env("PORT", port.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        if answers(port, &mut keeper) {
            return Server {
                port,
                _keeper: keeper,
            };
        }
    }
    panic!("the server did not start; see {}/log", root.display());
}

fn run_as(as_root: bool, program: &Path) -> Command {
    if !as_root {
        return Command::new(program);
    }
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
        .arg(program);
    command
}

/// Where initdb and postgres are.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut packaged: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    packaged.sort();
    folders.extend(packaged.into_iter().rev());
    folders.into_iter().find(|folder| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until the server takes connections, or the keeper was told to end because it does not.
fn answers(port: u16, keeper: &mut Child) -> bool {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    while began.elapsed() < Duration::from_secs(30) {
        let connected = runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls));
        if connected.is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut input = keeper.stdin.take().unwrap();
    let _ = input.write_all(b"end\n");
    false
}
