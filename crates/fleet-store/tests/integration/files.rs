//! SQLite files that are not what they should be: what, why and what to do is said, and nothing is changed.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use fleet_store::*;
use fleet_types::{Seq, Verb};
use tempfile::TempDir;

use crate::fleet::*;
use crate::place::assert_consistent;

struct Spot {
    folder: TempDir,
    path: PathBuf,
}

impl Spot {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        Self { folder, path }
    }

    async fn open(&self) -> Result<DieselStore, StoreError> {
        open(&self.path, StoreOptions::default()).await
    }

    fn sql(&self, sql: &str) {
        let mut conn = SqliteConnection::establish(self.path.to_str().unwrap()).unwrap();
        conn.batch_execute(sql).unwrap();
    }

    /// How many pages the database has, used or free.
    fn pages(&self) -> i64 {
        let mut conn = SqliteConnection::establish(self.path.to_str().unwrap()).unwrap();
        let count = diesel::dsl::sql::<diesel::sql_types::BigInt>(
            "SELECT page_count FROM pragma_page_count()",
        );
        count.get_result(&mut conn).unwrap()
    }
}

async fn open(path: &Path, options: StoreOptions) -> Result<DieselStore, StoreError> {
    DieselStore::open(&format!("sqlite://{}", path.display()), options).await
}

#[tokio::test]
async fn urls_of_others_are_refused() {
    for url in [
        "",
        "store.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///a\0b",
        "mysql://u:secret@h/db",
        "postgres:/x",
        "http://u:secret@x",
    ] {
        let refused = DieselStore::open(url, StoreOptions::default()).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, StoreError::Url { .. }), "{refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

#[tokio::test]
async fn file_and_folder_are_made_for_this_user_alone() {
    let spot = Spot::new();
    let path = spot.folder.path().join("a/b/store.db");
    let options = StoreOptions {
        create: false,
        ..StoreOptions::default()
    };
    let missing = open(&path, options.clone()).await.unwrap_err();
    assert!(matches!(missing, StoreError::Open { .. }), "{missing}");
    assert!(!path.parent().unwrap().exists());

    let store = open(&path, StoreOptions::default()).await.unwrap();
    add_hosts(&store, 1).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let id = store.id();
    drop(store);
    assert!(!path.with_extension("db-wal").exists(), "closed properly");
    let again = open(&path, options).await.unwrap();
    assert_eq!(again.id(), id);
    assert_eq!(again.host_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn files_of_others_stay_as_they_are() {
    let spot = Spot::new();
    fs::write(&spot.path, "Dear diary, ".repeat(100)).unwrap();
    let before = fs::read(&spot.path).unwrap();
    let refused = spot.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::NotOurs { .. }), "{refused}");
    assert_eq!(fs::read(&spot.path).unwrap(), before);

    fs::remove_file(&spot.path).unwrap();
    spot.sql("CREATE TABLE songs (title TEXT)");
    let before = fs::read(&spot.path).unwrap();
    let refused = spot.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::NotOurs { .. }), "{refused}");
    assert_eq!(fs::read(&spot.path).unwrap(), before);

    let refused = open(spot.folder.path(), StoreOptions::default()).await;
    assert!(matches!(refused, Err(StoreError::Open { .. })));

    fs::write(&spot.path, "").unwrap();
    spot.open().await.unwrap();
}

#[tokio::test]
async fn a_schema_that_cannot_be_understood_is_refused() {
    let spot = Spot::new();
    drop(spot.open().await.unwrap());
    spot.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('later')");
    let refused = spot.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    spot.sql("DELETE FROM __diesel_schema_migrations WHERE version = 'later'");
    drop(spot.open().await.unwrap());
    // Another history: newer than ours, and without one of ours.
    spot.sql(
        "DELETE FROM __diesel_schema_migrations WHERE version = '0005'; \
         INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')",
    );
    let refused = spot.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::TooNew { .. }), "{refused}");
}

#[tokio::test]
async fn rows_that_make_no_sense_are_named() {
    let spot = Spot::new();
    let store = spot.open().await.unwrap();
    let hosts = add_hosts(&store, 2).await;
    for (sql, table) in [
        ("UPDATE hosts SET spec = '{' WHERE name = 'h001'", "hosts"),
        (
            "UPDATE hosts SET spec = spec || ' ', name = '-' WHERE name = 'h002'",
            "hosts",
        ),
    ] {
        spot.sql(sql);
        let refused = store.host_list().await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Corrupt { table: found, .. } if *found == table),
            "{refused}"
        );
    }
    spot.sql("UPDATE hosts SET name = 'h002', spec = (SELECT trim(spec)) WHERE name = '-'");
    let (id, worker) = start(&store, one_stage(&hosts[1..])).await;
    let claimed = claim(&store, id, worker).await;
    spot.sql("UPDATE attempts SET progress = '[]'");
    let event = started(fleet_types::StepId::Inspect);
    let refused = store.attempt_record(&claimed.lease, &event).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(
            refused,
            LeaseError::Store(StoreError::Corrupt {
                table: "attempts",
                ..
            })
        ),
        "{refused}"
    );
    // An event of a kind that a newer program wrote is left out, and does not end the page.
    spot.sql(
        "UPDATE feed SET seq = seq + 3; \
         INSERT INTO events (seq, at, kind) SELECT seq - 2, 0, 'moon.rose' FROM feed; \
         INSERT INTO events (seq, at, kind) SELECT seq - 1, 0, 'moon.set' FROM feed; \
         INSERT INTO events (seq, at, kind, host) SELECT seq, 0, 'host.added', 'x' FROM feed",
    );
    let last = store.status().await.unwrap().seq;
    let page = store.events_after(Seq(last.0 - 3), None, 1).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].seq, last);
    // Whoever gets fewer than they asked for knows that there are no more.
    let all = store.events_after(Seq(0), None, 1000).await.unwrap();
    let most = u32::try_from(all.len()).unwrap();
    for limit in 1..=most {
        let page = store.events_after(Seq(0), None, limit).await.unwrap();
        assert_eq!(page, all[..page.len()]);
        assert_eq!(page.len(), usize::try_from(limit).unwrap());
    }
}

#[tokio::test]
async fn damaged_file_is_an_error_and_no_panic() {
    let spot = Spot::new();
    let store = spot.open().await.unwrap();
    add_hosts(&store, 300).await;
    drop(store);
    let mut file = fs::OpenOptions::new().write(true).open(&spot.path).unwrap();
    let length = file.metadata().unwrap().len();
    for page in (4096..length).step_by(8192) {
        file.seek(SeekFrom::Start(page)).unwrap();
        file.write_all(&[0xa5; 512]).unwrap();
    }
    drop(file);
    let refused = match spot.open().await {
        Ok(store) => store.host_list().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(refused.to_string().contains("damaged"), "{refused}");
}

#[tokio::test]
async fn full_disk_loses_nothing_that_was_answered() {
    let spot = Spot::new();
    let options = StoreOptions {
        max_pages: Some(120),
        ..StoreOptions::default()
    };
    let store = open(&spot.path, options).await.unwrap();
    let mut added = 0;
    let refused = loop {
        let new = (0..10).map(|n| host(&format!("f{added}-{n}"))).collect();
        match store.host_add(new, &actor()).await {
            Ok(_) => added += 1,
            Err(HostError::Store(error)) => break error,
            Err(error) => panic!("{error}"),
        }
        assert!(added < 100, "120 pages never filled");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("free some space"), "{refused}");
    assert!(added > 0);
    assert_eq!(store.host_list().await.unwrap().len(), 10 * added);
    assert_consistent(&store).await;
    drop(store);

    // Space again: the same store goes on.
    let store = spot.open().await.unwrap();
    add_hosts(&store, 50).await;
    assert_eq!(store.host_list().await.unwrap().len(), 10 * added + 50);
    assert_consistent(&store).await;
}

#[tokio::test]
async fn held_by_another_process_for_too_long() {
    let spot = Spot::new();
    let options = StoreOptions {
        busy: Duration::from_millis(100),
        ..StoreOptions::default()
    };
    let store = open(&spot.path, options).await.unwrap();
    let mut other = SqliteConnection::establish(spot.path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let calls = (0..20).map(|n| {
        let who = actor();
        let store = &store;
        async move { store.host_add(vec![host(&format!("h{n}"))], &who).await }
    });
    for refused in futures_util::future::join_all(calls).await {
        let Err(HostError::Store(StoreError::Busy { cause })) = refused else {
            panic!("{refused:?}");
        };
        assert!(cause.contains("another process"), "{cause}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "they wait together, not one after the other"
    );
    assert!(
        store.host_list().await.unwrap().is_empty(),
        "reading goes on"
    );
    other.batch_execute("ROLLBACK").unwrap();
    add_hosts(&store, 1).await;
}

/// Runs one of the tests below by itself, as a user without any right.
fn as_nobody(test: &str, path: &Path) -> Output {
    let program = std::env::current_exe().unwrap();
    // The test program itself may lie where that user may not look.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("test");
    fleet_testkit::copy_program(&program, &copy);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(&copy);
        command
    } else {
        Command::new(&copy)
    };
    command
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("STORE_TEST_PATH", path)
        .current_dir("/")
        .output()
        .unwrap()
}

#[tokio::test]
async fn read_only_file_and_folder() {
    let spot = Spot::new();
    drop(spot.open().await.unwrap());
    let may = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    if rustix::process::geteuid().is_root() {
        chown(spot.folder.path(), Some(65_534), Some(65_534)).unwrap();
        chown(&spot.path, Some(65_534), Some(65_534)).unwrap();
    }
    for (file, folder, said) in [
        (0o400, 0o700, "may not write the file"),
        (0o600, 0o500, "may not write its folder"),
        (0o200, 0o700, "may not read the file"),
    ] {
        may(&spot.path, file);
        may(spot.folder.path(), folder);
        let output = as_nobody("files::refused_as_nobody", &spot.path);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(text.contains(said), "{text}");
        may(spot.folder.path(), 0o700);
    }
    let missing = spot.folder.path().join("missing/store.db");
    may(spot.folder.path(), 0o500);
    let output = as_nobody("files::refused_as_nobody", &missing);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    may(spot.folder.path(), 0o700);
    assert!(text.contains("is read-only"), "{text}");
}

#[tokio::test]
#[ignore = "run by read_only_file_and_folder, as another user"]
async fn refused_as_nobody() {
    let path = PathBuf::from(std::env::var_os("STORE_TEST_PATH").unwrap());
    let refused = open(&path, StoreOptions::default()).await.unwrap_err();
    println!("{refused}");
}

#[tokio::test]
async fn the_audit_trail_cannot_be_rewritten() {
    let spot = Spot::new();
    let store = spot.open().await.unwrap();
    add_hosts(&store, 1).await;
    drop(store);
    let mut conn = SqliteConnection::establish(spot.path.to_str().unwrap()).unwrap();
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let refused = conn.batch_execute(sql).unwrap_err();
        assert!(refused.to_string().contains("never"), "{sql}: {refused}");
    }
}

/// Who is signed in can look while nothing can be written.
#[tokio::test]
async fn sessions_hold_while_nothing_can_be_written() {
    let spot = Spot::new();
    let clock = ManualClock::new();
    let options = StoreOptions {
        busy: Duration::from_millis(100),
        clock: std::sync::Arc::new(clock.clone()),
        ..StoreOptions::default()
    };
    let store = open(&spot.path, options).await.unwrap();
    let anna = NewUser {
        name: "anna".parse().unwrap(),
        role: fleet_types::Role::Admin,
        password: None,
    };
    store.user_add(anna, &actor()).await.unwrap();
    let session = NewSession {
        checked: None,
        id: SessionId(uuid::Uuid::now_v7()),
        secret: SecretHash([1; 32]),
        user: "anna".parse().unwrap(),
        source: "192.0.2.1".to_owned(),
    };
    store.session_open(session, &actor()).await.unwrap();
    clock.advance(Duration::from_secs(120));

    let mut other = SqliteConnection::establish(spot.path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let refused = store.host_add(vec![host("a")], &actor()).await.unwrap_err();
    assert!(matches!(refused, HostError::Store(StoreError::Busy { .. })));
    let times = SessionTimes::default();
    let found = store.session_find(&SecretHash([1; 32]), times).await;
    assert_eq!(found.unwrap().unwrap().user.as_str(), "anna");
}

/// A rollout that is over, of a hundred hosts with a hundred steps each, all of which printed something.
async fn ten_thousand_outputs(spot: &Spot, store: &DieselStore, hosts: &[HostRecord]) {
    let (id, worker) = start(store, one_stage(hosts)).await;
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    let record = store.rollout_advance(id).await.unwrap();
    assert!(!record.state.is_active(), "{record:?}");
    store.worker_leave(worker).await.unwrap();
    // Lengths of all kinds, below and above that of a page.
    spot.sql(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100) \
         INSERT INTO steps (rollout, position, number, step, started_at, finished_at, duration_ms, output) \
         SELECT rollout, position, n, 'install', 1, 2, 1, json_object('exit', 0, 'stdout', \
            hex(zeroblob((position * 7919 + n * 104729) % 6000)), 'stderr', 'x', 'total_bytes', 1) \
         FROM attempts, numbers WHERE rollout = '{id}'; \
         UPDATE attempts SET steps = 100 WHERE rollout = '{id}';"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_of_old_outputs_is_used_again() {
    let (spot, clock) = (Spot::new(), ManualClock::new());
    let options = StoreOptions {
        clock: Arc::new(clock.clone()),
        ..StoreOptions::default()
    };
    let store = open(&spot.path, options).await.unwrap();
    let hosts = add_hosts(&store, 100).await;
    let month = std::num::NonZeroU32::new(30).unwrap();
    let mut pages = Vec::new();
    for _ in 0..3 {
        ten_thousand_outputs(&spot, &store, &hosts).await;
        pages.push(spot.pages());
        clock.advance(Duration::from_secs(31 * 86_400));
        let mut outputs = 0;
        loop {
            let removed = store.outputs_remove(month, 100).await.unwrap();
            assert!(removed.outputs <= 100, "{removed:?}");
            outputs += removed.outputs;
            if !removed.more {
                break;
            }
        }
        assert_eq!(outputs, 10_000);
    }
    // What stays of each rollout is small beside what it printed, some 60 MB.
    assert!(pages[0] > 10_000, "{pages:?}");
    for two in pages.windows(2) {
        assert!(two[1] - two[0] < pages[0] / 20, "{pages:?}");
    }
}
