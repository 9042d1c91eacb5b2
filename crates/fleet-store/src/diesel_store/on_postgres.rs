//! PostgreSQL: several processes at once, spoken to without a C library.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{Bool, Text};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::{AsyncConnectionWrapper, BlockOn};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use super::backend::{Access, Backend};
use super::migrations::Migrations;
use super::options::StoreOptions;
use super::postgres_tls::{self, Tls};
use super::postgres_url::{self, SslMode};
use super::rows::EventRow;
use super::schema::events;
use super::work::{DATABASE_TIME_KEPT, Trouble, Work};
use crate::clock::LeaseMoment;
use crate::error::StoreError;
use crate::records::Schema;

/// What the query bodies in `queries/` are compiled against here; `on_sqlite` compiles the same files once more.
pub(crate) type Conn = AsyncConnectionWrapper<AsyncPgConnection, OwnRuntime>;

/// Locks the rows that a query reads until the transaction ends, against writers and other lockers, not readers.
macro_rules! locked {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

/// The first row of a query that may have many.
macro_rules! one {
    ($conn:expr, $query:expr) => {
        $query.first($conn)
    };
}

/// The first so many rows.
macro_rules! at_most {
    ($conn:expr, $query:expr, $limit:expr) => {
        $query.limit($limit).load($conn)
    };
}

/// Whether a text matches a glob with `*` and `?` whose other characters are plain ones.
macro_rules! globbed {
    ($column:expr, $glob:expr) => {
        $column.like(super::super::as_like(&$glob))
    };
}

#[expect(
    clippy::duplicate_mod,
    reason = "the bodies are written once and compiled for each database"
)]
#[path = "queries/mod.rs"]
pub(crate) mod queries;

/// A glob as a pattern of `LIKE`.
fn as_like(glob: &str) -> String {
    let mut like = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Keeps others out while the schema is brought up to date.
const MIGRATION_LOCK: i64 = 1_380_930_636;

/// A table that somebody reads for long, as a dump does, is not waited for: whoever comes after waits behind us, renewals
/// of leases too.
const TABLES_AT_ONCE: &str = "SET LOCAL lock_timeout = '1s'";

/// For so long a migration is tried again, with pauses in which those who queued behind it get their turn.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);
const MIGRATION_PAUSE: Duration = Duration::from_secs(2);

/// For connecting, and for a server that stops answering.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tables of ours whose names in a database without our schema mean that it is somebody else's.
const TELLING: [&str; 4] = ["hosts", "rollouts", "attempts", "meta"];

/// Sessions go by these whatever the server's defaults: durable commits, no endless waits for locks or for a process that
/// was frozen in mid-transaction. What such a one holds keeps others from renewing their leases in time, so that it is cut
/// off well before these run out.
const SESSION: &str = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";

/// Drives one connection: each has a runtime of its own on its own thread, so it depends on no other one and on no paused
/// clock.
pub(crate) struct OwnRuntime(Arc<Runtime>);

thread_local! {
    static RUNTIME: RefCell<Option<Arc<Runtime>>> = const { RefCell::new(None) };
}

impl BlockOn for OwnRuntime {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn get_runtime() -> Self {
        RUNTIME.with_borrow_mut(|kept| {
            let runtime = kept.get_or_insert_with(|| {
                let runtime = Builder::new_current_thread().enable_all().build();
                Arc::new(runtime.expect("the system has file descriptors left for a runtime"))
            });
            Self(Arc::clone(runtime))
        })
    }
}

/// Where the database is.
pub(crate) struct Postgres {
    config: Config,
    mode: SslMode,
    tls: Option<Tls>,
    migrations: Migrations,
}

/// Why there is no connection.
enum Refused {
    /// It would not be safe.
    Unsafe(postgres_tls::Unsafe),
    Other(String),
}

impl From<String> for Refused {
    fn from(cause: String) -> Self {
        Self::Other(cause)
    }
}

impl fmt::Display for Postgres {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        f.write_str(&hosts.join(","))?;
        if let Some(port) = self.config.get_ports().first() {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({self})")
    }
}

diesel::define_sql_function! {
    /// The database's clock, from our schema.
    fn lease_clock_ms() -> BigInt;
}

/// The time that leases go by: the database's, asked once a transaction, and again when that took long.
pub(crate) fn lease_moment(conn: &mut Conn, work: &mut Work) -> QueryResult<LeaseMoment> {
    if work.inputs.clock.rules_the_database() {
        return Ok(work.inputs.clock.lease_moment());
    }
    if let Some((moment, asked)) = &work.database_time
        && asked.elapsed() < DATABASE_TIME_KEPT
    {
        return Ok(moment.clone());
    }
    let at = diesel::select(lease_clock_ms()).get_result(conn)?;
    let moment = LeaseMoment {
        era: "database".into(),
        at,
    };
    work.database_time = Some((moment.clone(), Instant::now()));
    Ok(moment)
}

/// Round trips are what costs here. A statement of many rows takes two, to prepare and to run it; one of a single row
/// stays prepared.
pub(crate) fn insert_events(conn: &mut Conn, rows: &[EventRow]) -> QueryResult<()> {
    if rows.len() <= 2 {
        for row in rows {
            diesel::insert_into(events::table)
                .values(row)
                .execute(conn)?;
        }
        return Ok(());
    }
    for some in rows.chunks(500) {
        diesel::insert_into(events::table)
            .values(some)
            .execute(conn)?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

/// Whether there is a table of this name where ours would be.
pub(crate) fn has_table(conn: &mut Conn, table: &str) -> QueryResult<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables \
               WHERE schemaname = current_schema() AND tablename = $1) AS found";
    diesel::sql_query(sql)
        .bind::<Text, _>(table)
        .get_result::<Found>(conn)
        .map(|row| row.found)
}

/// Lets a transaction that reads wait for something else, such as a slow disk. Nobody waits for it but a migration, and for
/// one that was frozen not without end.
pub(crate) fn take_your_time(conn: &mut Conn) -> QueryResult<()> {
    conn.batch_execute("SET LOCAL idle_in_transaction_session_timeout = '15min'")
}

/// Lets rows of the audit trail keep their numbers, until they are numbered again.
pub(crate) fn allow_audit_ids(conn: &mut Conn) -> QueryResult<()> {
    conn.batch_execute("ALTER TABLE audit ALTER COLUMN id SET GENERATED BY DEFAULT")
}

/// New rows of the audit trail go on after the last one.
pub(crate) fn renumber_audit(conn: &mut Conn) -> QueryResult<()> {
    conn.batch_execute(
        "ALTER TABLE audit ALTER COLUMN id SET GENERATED ALWAYS; \
         SELECT setval(pg_get_serial_sequence('audit', 'id'), max(id)) FROM audit HAVING max(id) IS NOT NULL",
    )
}

/// PostgreSQL checks its constraints itself.
#[cfg(feature = "testing")]
pub(crate) fn integrity(_: &mut Conn) -> QueryResult<Vec<String>> {
    Ok(Vec::new())
}

impl Postgres {
    pub(crate) fn new(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let asked = postgres_url::read(url, PATIENCE)?;
        let mut config = asked.config;
        if let Some(password) = &options.password {
            config.password(password.reveal());
        }
        let mut postgres = Self {
            config,
            mode: asked.mode,
            tls: None,
            migrations: Migrations::new(&MIGRATIONS, options),
        };
        let tls = Tls::new(asked.mode, &asked.roots);
        postgres.tls = tls.map_err(|cause| StoreError::Tls {
            database: postgres.to_string(),
            cause,
            help: "say sslrootcert=FILE in the URL, with certificates of authorities in PEM form"
                .to_owned(),
        })?;
        Ok(postgres)
    }

    /// The schema that this program knows.
    pub(crate) fn schema_known(&self) -> Result<Schema, Trouble> {
        self.migrations.known::<diesel::pg::Pg>()
    }

    /// Connects and brings the schema up to date. Not from a thread of an async runtime.
    pub(crate) fn open(&self, work: &mut Work) -> Result<(Conn, String, i64), StoreError> {
        let mut conn = self.establish().map_err(|refused| {
            let database = self.to_string();
            match refused {
                Refused::Unsafe(postgres_tls::Unsafe { cause, help }) => StoreError::Tls {
                    database,
                    cause,
                    help,
                },
                Refused::Other(cause) => StoreError::Open { database, cause },
            }
        })?;
        let id = self
            .migrate(&mut conn, work)
            .map_err(|trouble| self.explain_trouble(&trouble))?;
        let last =
            queries::open::last_seq(&mut conn).map_err(|error| Backend::explain(self, &error))?;
        Ok((conn, id, last))
    }

    fn establish(&self) -> Result<Conn, Refused> {
        let runtime = OwnRuntime::get_runtime();
        let conn = runtime.block_on(async {
            // Connecting has a limit of its own; what comes after it could take for ever.
            let limit = PATIENCE * 3;
            let connected = tokio::time::timeout(limit, self.connect_safely()).await;
            connected.unwrap_or_else(|_| Err(format!("no answer within {limit:?}").into()))
        })?;
        let mut conn = Conn::from(conn);
        conn.batch_execute(SESSION).map_err(chain)?;
        Ok(conn)
    }

    async fn connect_safely(&self) -> Result<AsyncPgConnection, Refused> {
        let refuse = |error: tokio_postgres::Error| match postgres_tls::explain(&error, self.mode) {
            Some(told) => Refused::Unsafe(told),
            None => Refused::Other(chain(error)),
        };
        let made = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(refuse)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            Some(tls) => {
                let tls = tls.clone();
                let (client, connection) = self.config.connect(tls).await.map_err(refuse)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        };
        made.map_err(|error| Refused::Other(chain(error)))
    }

    fn migrate(&self, conn: &mut Conn, work: &mut Work) -> Result<String, Trouble> {
        self.check_owner(conn)?;
        if let Some(id) = queries::open::settled(conn, work, &self.migrations)? {
            return Ok(id);
        }
        let since = Instant::now();
        loop {
            let tried = conn.transaction(|conn| {
                // Waits for whoever is at it; that may take longer than any other lock.
                conn.batch_execute(&format!(
                    "SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
                ))?;
                conn.batch_execute(TABLES_AT_ONCE)?;
                self.check_owner(conn)?;
                queries::open::migrate(conn, work, &self.migrations)
            });
            match tried {
                Err(trouble)
                    if is_waited_in_vain(&trouble) && since.elapsed() < MIGRATION_PATIENCE =>
                {
                    std::thread::sleep(MIGRATION_PAUSE);
                }
                tried => return tried,
            }
        }
    }

    /// Before anything is changed: a database of somebody else must stay as it is.
    fn check_owner(&self, conn: &mut Conn) -> Result<(), Trouble> {
        let migrated = has_table(conn, "__diesel_schema_migrations")?;
        let mut ours = 0;
        for table in TELLING {
            ours += usize::from(has_table(conn, table)?);
        }
        if (migrated && ours == TELLING.len()) || (!migrated && ours == 0) {
            return Ok(());
        }
        Err(Trouble::Known(StoreError::NotOurs {
            database: self.to_string(),
            cause: "its tables are those of another program; use a database or a schema of its own"
                .to_owned(),
        }))
    }
}

impl Backend for Postgres {
    type Conn = Conn;

    const SAVEPOINTS: bool = false;

    /// A writer spends most of its time waiting for answers.
    const WRITERS: usize = 4;

    /// Small enough that all writers get some: locks are held until the last job of a group is done.
    const GROUP: usize = 16;

    /// As long as a lock is waited for: who has not answered by then may never answer, and a process must be able to end.
    const PARTING: Option<Duration> = Some(Duration::from_secs(6));

    fn connect(&self, _: Access) -> Result<Conn, StoreError> {
        self.establish().map_err(|refused| {
            let cause = match refused {
                Refused::Unsafe(told) => told.to_string(),
                Refused::Other(cause) => cause,
            };
            StoreError::Unavailable {
                cause: format!("{self}: {cause}"),
            }
        })
    }

    fn begin(conn: &mut Conn, access: Access) -> QueryResult<()> {
        conn.batch_execute(match access {
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        })
    }

    /// An answer of `COMMIT` says nothing about whether the transaction had failed before; a statement in front of it
    /// does, in the same round trip.
    fn commit(conn: &mut Conn) -> QueryResult<()> {
        conn.batch_execute("SELECT 1; COMMIT")
    }

    fn flush(conn: &mut Conn, work: &mut Work) -> QueryResult<i64> {
        queries::feed::append(conn, &mut work.events)
    }

    fn worth_another_try(&self, error: &Error) -> bool {
        match error {
            Error::DatabaseError(
                // Two processes raced for a unique key: the second look finds what the first one wrote.
                DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::UniqueViolation,
                _,
            ) => true,
            Error::DatabaseError(_, told) => told.message().contains("deadlock detected"),
            _ => false,
        }
    }

    fn is_broken(error: &Error) -> bool {
        matches!(
            error,
            Error::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection,
                _
            )
        )
    }

    #[cfg(feature = "crash-points")]
    fn error_of(fault: crate::crash_points::CallFault) -> Option<Error> {
        use crate::crash_points::CallFault as F;
        use DatabaseErrorKind as K;
        let (kind, message) = match fault {
            F::Busy => (K::Unknown, "canceling statement due to lock timeout"),
            F::Io => (
                K::Unknown,
                "could not read block 1 in file: Input/output error",
            ),
            F::Full => (K::Unknown, "could not extend file: No space left on device"),
            F::Lost => (K::UnableToSendCommand, "connection closed"),
            F::Race => (K::SerializationFailure, "could not serialize access"),
            F::Twice => (
                K::UniqueViolation,
                "duplicate key value violates unique constraint",
            ),
            F::ReadOnly => (
                K::ReadOnlyTransaction,
                "cannot execute UPDATE in a read-only transaction",
            ),
            F::LostAfter | F::Uncommitted => return None,
        };
        super::watched::error(kind, message)
    }

    fn explain(&self, error: &Error) -> StoreError {
        let Error::DatabaseError(kind, told) = error else {
            return StoreError::Database {
                cause: error.to_string(),
            };
        };
        let message = told.message();
        let says = |text: &str| message.contains(text);
        if says("deadlock detected") || says("lock timeout") {
            return StoreError::Busy {
                cause: format!("{self}: {message}"),
            };
        }
        let unavailable = Self::is_broken(error)
            || says("terminating connection")
            || says("shutting down")
            || says("starting up");
        if unavailable {
            return StoreError::Unavailable {
                cause: format!("{self}: {message}"),
            };
        }
        if matches!(kind, DatabaseErrorKind::ReadOnlyTransaction) {
            return StoreError::ReadOnly {
                database: self.to_string(),
                cause: "the server takes no changes; it may be a replica".to_owned(),
            };
        }
        if says("No space left") || says("could not extend file") {
            return StoreError::Full {
                database: self.to_string(),
                cause: message.to_owned(),
            };
        }
        StoreError::Database {
            cause: message.to_owned(),
        }
    }
}

/// Whether a migration did not get what others had locked.
fn is_waited_in_vain(trouble: &Trouble) -> bool {
    let says = |text: &str| text.contains("lock timeout") || text.contains("deadlock detected");
    match trouble {
        Trouble::Database(Error::DatabaseError(_, told)) => says(told.message()),
        Trouble::Refused(text) => says(text),
        _ => false,
    }
}

/// An error with its causes, which hold the useful part.
fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
