//! Where a case runs: a database, and the clock and the processes that all stores on it share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use fleet_store::*;
use tempfile::TempDir;

use crate::postgres;

pub(crate) struct Place {
    pub(crate) clock: ManualClock,
    pub(crate) processes: ManualProcesses,
    url: String,
    _folder: Option<TempDir>,
}

impl Place {
    fn new(url: String, folder: Option<TempDir>) -> Self {
        Self {
            clock: ManualClock::new(),
            processes: ManualProcesses::default(),
            url,
            _folder: folder,
        }
    }

    pub(crate) fn memory() -> Self {
        Self::new("sqlite::memory:".to_owned(), None)
    }

    pub(crate) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", folder.path().display());
        Self::new(url, Some(folder))
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::new(postgres::database().await?, None))
    }

    /// One more store on this database.
    pub(crate) async fn store(&self) -> DieselStore {
        self.store_with(Arc::new(self.clock.clone())).await
    }

    /// One more store, of a later version of the program: it has one more migration.
    pub(crate) async fn store_of(&self, version: &Version) -> Result<DieselStore, StoreError> {
        DieselStore::open(&self.url, self.options_of(version)).await
    }

    pub(crate) fn options_of(&self, version: &Version) -> StoreOptions {
        StoreOptions {
            clock: Arc::new(self.clock.clone()),
            processes: Arc::new(self.processes.clone()),
            more_migrations: Some(version.0.path().to_owned()),
            ..StoreOptions::default()
        }
    }

    /// One more store on this database that goes by another clock.
    pub(crate) async fn store_with(&self, clock: Arc<dyn Clock>) -> DieselStore {
        let options = StoreOptions {
            clock,
            processes: Arc::new(self.processes.clone()),
            ..StoreOptions::default()
        };
        DieselStore::open(&self.url, options).await.unwrap()
    }

    /// Keeps every store from writing, until released.
    pub(crate) async fn hold_writers(&self) -> Hold {
        if self.is_postgres() {
            let client = self.client().await;
            let lock = "BEGIN; LOCK TABLE hosts, feed IN ACCESS EXCLUSIVE MODE";
            client.batch_execute(lock).await.unwrap();
            return Hold::Postgres(client);
        }
        let path = self.url.strip_prefix("sqlite://").unwrap();
        let mut conn = SqliteConnection::establish(path).unwrap();
        conn.batch_execute("BEGIN IMMEDIATE").unwrap();
        Hold::Sqlite(conn)
    }

    /// Keeps whoever locks a host of this PostgreSQL waiting, until released.
    pub(crate) async fn hold_hosts(&self) -> Hold {
        let client = self.client().await;
        let rows = "BEGIN; SELECT 1 FROM hosts FOR UPDATE";
        client.batch_execute(rows).await.unwrap();
        Hold::Postgres(client)
    }

    /// Reads of this PostgreSQL all that is about hosts, as a dump does, until released.
    pub(crate) async fn hold_readers(&self) -> Hold {
        let client = self.client().await;
        let lock = "BEGIN; LOCK TABLE hosts IN ACCESS SHARE MODE";
        client.batch_execute(lock).await.unwrap();
        Hold::Postgres(client)
    }

    /// Waits until so many calls wait for a lock of this PostgreSQL.
    pub(crate) async fn until_waiting(&self, calls: usize) {
        let client = self.client().await;
        let waiting = "SELECT 1 FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let begun = Instant::now();
        while client.query(waiting, &[]).await.unwrap().len() < calls {
            assert!(
                begun.elapsed() < Duration::from_secs(4),
                "{calls} do not wait"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nobody else is on this PostgreSQL: it still does what a process asked for that was killed.
    pub(crate) async fn until_left(&self) {
        if !self.is_postgres() {
            return;
        }
        let client = self.client().await;
        let others = "SELECT 1 FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let begun = Instant::now();
        while !client.query(others, &[]).await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "others stay");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn client(&self) -> tokio_postgres::Client {
        let connecting = tokio_postgres::connect(&self.url, tokio_postgres::NoTls);
        let (client, connection) = connecting.await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Sends SQL past the store, as somebody with the database's password might. What the database said against it.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), String> {
        if self.is_postgres() {
            let client = self.client().await;
            let told = client.batch_execute(sql).await;
            return told.map_err(|error| format!("{error:?}"));
        }
        let path = self.url.strip_prefix("sqlite://").unwrap();
        let mut conn = SqliteConnection::establish(path).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        conn.batch_execute(sql).map_err(|error| error.to_string())
    }

    /// Fails unless the table has so many rows.
    pub(crate) async fn assert_rows(&self, table: &str, rows: u32) {
        // A division by zero is an error on one database and NULL on the other, a broken constraint is one on both.
        let sql = format!(
            "BEGIN; CREATE TEMPORARY TABLE counted (n INTEGER CHECK (n = {rows})); \
             INSERT INTO counted SELECT count(*) FROM {table}; ROLLBACK"
        );
        let told = self.execute(&sql).await;
        assert!(told.is_ok(), "{table}, expected {rows} rows: {told:?}");
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }
}

/// The migrations of a later version of the program, beside those that there are.
pub(crate) struct Version(TempDir);

impl Version {
    /// Its schema, far beyond ours.
    pub(crate) const SCHEMA: Schema = Schema(900);

    /// It adds, and takes nothing away.
    pub(crate) fn expands() -> Self {
        Self::with("ALTER TABLE hosts ADD COLUMN later_note TEXT;")
    }

    /// Who does not know it cannot go on.
    pub(crate) fn contracts() -> Self {
        Self::with(
            "ALTER TABLE hosts ADD COLUMN later_note TEXT; UPDATE compatibility SET since = 900;",
        )
    }

    fn with(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let migration = folder.path().join("0900_later");
        std::fs::create_dir(&migration).unwrap();
        std::fs::write(migration.join("up.sql"), sql).unwrap();
        Self(folder)
    }
}

/// A lock that keeps stores from writing.
pub(crate) enum Hold {
    Sqlite(SqliteConnection),
    Postgres(tokio_postgres::Client),
}

impl Hold {
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(mut conn) => conn.batch_execute("ROLLBACK").unwrap(),
            Self::Postgres(client) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}

/// Nothing may be wrong in the store.
pub(crate) async fn assert_consistent(store: &DieselStore) {
    let wrong = store.consistency_check().await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
