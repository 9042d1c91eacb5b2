//! SQLite: one file, one writer at a time, durable at every commit.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use fleet_types::{Planted, planted};

use super::backend::{Access, Backend};
use super::migrations::Migrations;
use super::options::StoreOptions;
use super::prepared::update;
use super::rows::EventRow;
use super::schema::events;
use super::sqlite_file;
use super::work::{Trouble, Work};
use crate::clock::LeaseMoment;
use crate::error::{MoveError, StoreError};
use crate::records::Schema;

/// What the query bodies in `queries/` are compiled against here; `on_postgres` compiles the same files once more.
pub(crate) type Conn = SqliteConnection;

/// Locks the rows that a query reads until the transaction ends. Here the whole file is locked already.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}

/// The first row of a query that may have many. A `LIMIT` is a bound value, for which SQLite would plan the query anew
/// each time; without one, rows that nobody asks for are not looked for either.
macro_rules! one {
    ($conn:expr, $query:expr) => {
        $query.get_result($conn)
    };
}

/// The first so many rows, for the same reason.
macro_rules! at_most {
    ($conn:expr, $query:expr, $limit:expr) => {{
        let most = usize::try_from($limit).unwrap_or(0);
        $query
            .load_iter::<_, diesel::connection::DefaultLoadingMode>($conn)
            .and_then(|rows| rows.take(most).collect::<QueryResult<Vec<_>>>())
    }};
}

/// Whether a text matches a glob with `*` and `?` whose other characters are plain ones.
macro_rules! globbed {
    ($column:expr, $glob:expr) => {
        super::super::glob($glob, $column)
    };
}

#[path = "queries/mod.rs"]
pub(crate) mod queries;

diesel::define_sql_function! {
    /// `text GLOB pattern`, which unlike `LIKE` tells small letters from capital ones.
    fn glob(pattern: Text, text: Text) -> Bool;
}

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Marks a file as ours; set by the first migration.
const APPLICATION_ID: i64 = 1_380_930_636;

/// Where the file is.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    /// None: in memory, gone with its connection.
    path: Option<PathBuf>,
    busy: Duration,
    migrations: Migrations,
    #[cfg(feature = "testing")]
    max_pages: Option<u32>,
}

/// The time that leases go by.
pub(crate) fn lease_moment(_: &mut Conn, work: &mut Work) -> QueryResult<LeaseMoment> {
    let mut moment = work.inputs.clock.lease_moment();
    if planted(Planted::LeaseByWallClock) {
        moment.at = work.now().0;
    }
    Ok(moment)
}

/// One prepared statement run for each is the fastest here.
pub(crate) fn insert_events(conn: &mut Conn, rows: &[EventRow]) -> QueryResult<()> {
    for row in rows {
        diesel::insert_into(events::table)
            .values(row)
            .execute(conn)?;
    }
    Ok(())
}

/// A reader that waits for something else than the database keeps nobody waiting here.
pub(crate) fn take_your_time(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}

/// Rows of the audit trail may have any number that is free.
pub(crate) fn allow_audit_ids(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}

/// New rows get numbers after the last one by themselves.
pub(crate) fn renumber_audit(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}

/// What SQLite finds wrong with the file and with its references.
#[cfg(feature = "testing")]
pub(crate) fn integrity(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let names = |rows: Vec<Name>| rows.into_iter().map(|row| row.name);
    let file = "SELECT integrity_check AS name FROM pragma_integrity_check";
    let file = diesel::sql_query(file).load::<Name>(conn)?;
    let references = "SELECT \"table\" AS name FROM pragma_foreign_key_check";
    let references = diesel::sql_query(references).load::<Name>(conn)?;
    Ok(names(file)
        .filter(|line| line != "ok")
        .chain(names(references))
        .collect())
}

impl Sqlite {
    pub(crate) fn file(path: &str, options: &StoreOptions) -> Self {
        Self::at(Some(PathBuf::from(path)), options)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn memory(options: &StoreOptions) -> Self {
        Self::at(None, options)
    }

    fn at(path: Option<PathBuf>, options: &StoreOptions) -> Self {
        Self {
            path,
            busy: options.busy,
            migrations: Migrations::new(&MIGRATIONS, options),
            #[cfg(feature = "testing")]
            max_pages: options.max_pages,
        }
    }

    fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => ":memory:".to_owned(),
        }
    }

    /// The schema that this program knows.
    pub(crate) fn schema_known(&self) -> Result<Schema, Trouble> {
        self.migrations.known::<diesel::sqlite::Sqlite>()
    }

    /// Whether the database is one connection and ends with it.
    pub(crate) fn is_memory(&self) -> bool {
        self.path.is_none()
    }

    /// Makes sure that the file is there, is ours, can be written, and has today's schema.
    pub(crate) fn open(
        &self,
        create: bool,
        work: &mut Work,
    ) -> Result<(Conn, String, i64), StoreError> {
        if let Some(path) = &self.path {
            sqlite_file::prepare(path, create)?;
        }
        let mut conn = self.establish()?;
        self.check_owner(&mut conn)?;
        self.tune(&mut conn, Access::Write)?;
        let id = self.migrate(&mut conn, work)?;
        let last = self.explained(queries::open::last_seq(&mut conn))?;
        Ok((conn, id, last))
    }

    /// Copies the database to a new file, whatever its schema, while others may write it.
    pub(crate) fn copy(&self, to: &Path) -> Result<(), MoveError> {
        if let Some(path) = &self.path {
            sqlite_file::prepare(path, false)?;
        }
        let mut conn = self.establish()?;
        self.check_owner(&mut conn)?;
        if to.to_str().is_none() {
            let error = std::io::Error::other("its name is not UTF-8");
            return Err(MoveError::file(to, error));
        }
        // SQLite writes into an empty file, and this one others cannot read.
        sqlite_file::make_private(to).map_err(|error| MoveError::file(to, error))?;
        let copied = diesel::sql_query("VACUUM INTO $1")
            .bind::<Text, _>(as_path(to))
            .execute(&mut conn);
        copied.map_err(|error| match self.explain(&error) {
            // Only the copy grows.
            StoreError::Full { .. } => MoveError::file(to, ErrorKind::StorageFull.into()),
            StoreError::Unavailable { .. } => {
                let either = format!("its disk, or that of {}, failed", self.name());
                MoveError::file(to, std::io::Error::other(either))
            }
            told => told.into(),
        })?;
        Ok(())
    }

    fn establish(&self) -> Result<Conn, StoreError> {
        let target = match &self.path {
            Some(path) => as_path(path),
            None => self.name(),
        };
        let mut conn = Conn::establish(&target).map_err(|error| StoreError::Open {
            database: self.name(),
            cause: error.to_string(),
        })?;
        let busy = format!("PRAGMA busy_timeout = {}", self.busy.as_millis());
        self.explained(conn.batch_execute(&busy))?;
        Ok(conn)
    }

    /// Before anything is changed: a file of somebody else must stay as it is.
    fn check_owner(&self, conn: &mut Conn) -> Result<(), StoreError> {
        let tables = "SELECT count(*) AS number FROM sqlite_master";
        let tables = self.explained(number(conn, tables))?;
        let id = "SELECT application_id AS number FROM pragma_application_id";
        let id = self.explained(number(conn, id))?;
        if tables == 0 || id == APPLICATION_ID {
            return Ok(());
        }
        Err(StoreError::NotOurs {
            database: self.name(),
            cause: "it is an SQLite database of another program".to_owned(),
        })
    }

    fn tune(&self, conn: &mut Conn, access: Access) -> Result<(), StoreError> {
        if access == Access::Write {
            self.use_write_ahead_log(conn)?;
        }
        let pragmas = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 4000;";
        self.explained(conn.batch_execute(pragmas))?;
        if access == Access::Read {
            self.explained(conn.batch_execute("PRAGMA query_only = ON"))?;
        }
        #[cfg(feature = "testing")]
        if let Some(pages) = self.max_pages {
            let limit = format!("PRAGMA max_page_count = {pages}");
            self.explained(conn.batch_execute(&limit))?;
        }
        Ok(())
    }

    /// The switch wants the file for itself and does not wait for it, so we do.
    fn use_write_ahead_log(&self, conn: &mut Conn) -> Result<(), StoreError> {
        let began = Instant::now();
        loop {
            match conn.batch_execute("PRAGMA journal_mode = WAL") {
                Err(error) if is_busy(&error) && began.elapsed() < self.busy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return self.explained(result),
            }
        }
    }

    fn migrate(&self, conn: &mut Conn, work: &mut Work) -> Result<String, StoreError> {
        if let Some(id) = queries::open::settled(conn, work, &self.migrations)
            .map_err(|trouble| self.explain_trouble(&trouble))?
        {
            return Ok(id);
        }
        let result =
            conn.immediate_transaction(|conn| queries::open::migrate(conn, work, &self.migrations));
        result.map_err(|trouble| self.explain_trouble(&trouble))
    }

    fn explained<T>(&self, result: QueryResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| self.explain(&error))
    }
}

impl Backend for Sqlite {
    type Conn = Conn;

    const SAVEPOINTS: bool = true;

    /// The file takes one at a time; the others would only wait for it.
    const WRITERS: usize = 1;

    const GROUP: usize = 256;

    /// A disk answers.
    const PARTING: Option<Duration> = None;

    fn connect(&self, access: Access) -> Result<Conn, StoreError> {
        if let Some(path) = &self.path
            && !path.exists()
        {
            // Opening would make an empty file, and a store that was lost would look like a new one.
            return Err(StoreError::Open {
                database: self.name(),
                cause: "the file is gone".to_owned(),
            });
        }
        let mut conn = self.establish()?;
        self.tune(&mut conn, access)?;
        Ok(conn)
    }

    // Kept prepared, as everything else that is asked often: small calls would spend a tenth of their time on reading these.
    fn begin(conn: &mut Conn, access: Access) -> QueryResult<()> {
        match access {
            Access::Read => update!(conn, sql::<BigInt>("BEGIN DEFERRED")),
            // A deferred transaction that comes to write later is refused at once when another one wrote meanwhile.
            Access::Write => update!(conn, sql::<BigInt>("BEGIN IMMEDIATE")),
        }
    }

    fn commit(conn: &mut Conn) -> QueryResult<()> {
        update!(conn, sql::<BigInt>("COMMIT"))
    }

    fn flush(conn: &mut Conn, work: &mut Work) -> QueryResult<i64> {
        queries::feed::append(conn, &mut work.events)
    }

    fn worth_another_try(&self, _: &Error) -> bool {
        // Nothing runs beside a writer, and the busy timeout has waited already.
        false
    }

    fn is_broken(_: &Error) -> bool {
        false
    }

    #[cfg(feature = "crash-points")]
    fn error_of(fault: crate::crash_points::CallFault) -> Option<Error> {
        use crate::crash_points::CallFault as F;
        use diesel::result::DatabaseErrorKind as K;
        let (kind, message) = match fault {
            F::Busy => (K::Unknown, "database is locked"),
            F::Io => (K::Unknown, "disk I/O error"),
            F::Full => (K::Unknown, "database or disk is full"),
            F::Twice => (K::UniqueViolation, "UNIQUE constraint failed: attempts.id"),
            F::ReadOnly => (K::Unknown, "attempt to write a readonly database"),
            F::Lost | F::LostAfter | F::Race | F::Uncommitted => return None,
        };
        super::watched::error(kind, message)
    }

    fn explain(&self, error: &Error) -> StoreError {
        let Error::DatabaseError(_, told) = error else {
            return StoreError::Database {
                cause: error.to_string(),
            };
        };
        self.explain_message(told.message())
    }
}

impl Sqlite {
    /// The messages are constants of SQLite's source, in English whatever the locale.
    fn explain_message(&self, message: &str) -> StoreError {
        let database = self.name();
        let says = |text: &str| message.contains(text);
        if says("database is locked") || says("table is locked") {
            StoreError::Busy {
                cause: format!(
                    "{database} was held by another process for more than {:?}",
                    self.busy
                ),
            }
        } else if says("readonly database") {
            StoreError::ReadOnly {
                database,
                cause: "this user may not write the file or its folder".to_owned(),
            }
        } else if says("is full") {
            StoreError::Full {
                database,
                cause: "free some space on its disk; nothing was changed".to_owned(),
            }
        } else if says("not a database") {
            StoreError::NotOurs {
                database,
                cause: "it is not an SQLite file".to_owned(),
            }
        } else if says("malformed") {
            StoreError::NotOurs {
                database,
                cause: "the file is damaged; restore it from a backup".to_owned(),
            }
        } else if says("unable to open") {
            StoreError::Open {
                database,
                cause: "the file or its folder cannot be used by this user".to_owned(),
            }
        } else if says("disk I/O error") {
            StoreError::Unavailable {
                cause: format!("the disk of {database} failed; what was being written may be lost"),
            }
        } else {
            StoreError::Database {
                cause: message.to_owned(),
            }
        }
    }
}

/// As SQLite takes it for nothing but a path: names that begin with `file:`, or with a colon, say more.
fn as_path(path: &Path) -> String {
    match path.is_relative() {
        true => format!("./{}", path.display()),
        false => path.display().to_string(),
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::Unknown, told) if told.message().contains("locked"))
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn number(conn: &mut Conn, sql: &str) -> QueryResult<i64> {
    diesel::sql_query(sql)
        .get_result::<Number>(conn)
        .map(|row| row.number)
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Whether there is a table of this name.
pub(crate) fn has_table(conn: &mut Conn, table: &str) -> QueryResult<bool> {
    diesel::sql_query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1")
        .bind::<Text, _>(table)
        .get_result::<Name>(conn)
        .optional()
        .map(|found| found.is_some_and(|found| found.name == table))
}

impl std::fmt::Display for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}
