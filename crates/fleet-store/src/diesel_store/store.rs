//! [`DieselStore`]: opens a database and runs the query bodies of its kind.

use std::fmt;
use std::sync::{Arc, OnceLock};

use fleet_types::StoreId;
use tokio::sync::{oneshot, watch};

use super::backend::{Access, Backend};
use super::desk::Desk;
use super::engine::Engine;
use super::on_postgres::Postgres;
use super::on_sqlite::Sqlite;
use super::options::{Mode, StoreOptions};
use super::timings::Timings;
use super::work::{Inputs, Trouble, Work, store_id};
use crate::error::StoreError;
use crate::records::Schema;

/// The store on SQLite or PostgreSQL.
///
/// A call that changes something returns once the change is durable. Dropping its future does not take the call back:
/// whether it took effect is then not known to the caller. Dropping the store finishes what was asked of it and closes
/// its files.
pub struct DieselStore {
    pub(super) engine: Engines,
    pub(super) inputs: Arc<Inputs>,
    pub(super) id: StoreId,
    name: String,
    schema: (Option<Schema>, Schema),
    pub(super) seq: watch::Sender<i64>,
    pub(super) timings: Option<Arc<dyn Timings>>,
}

/// The engine of whichever database it is.
#[allow(
    clippy::large_enum_variant,
    reason = "one a store, and it is never moved"
)]
pub(super) enum Engines {
    Sqlite(Engine<Sqlite>),
    Postgres(Engine<Postgres>),
}

impl fmt::Debug for DieselStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselStore")
            .field("id", &self.id)
            .field("database", &self.name)
            .finish_non_exhaustive()
    }
}

impl DieselStore {
    /// Opens the database at `sqlite://PATH` or `postgres://…`, and brings its schema up to date.
    ///
    /// Refuses what is no database of ours, what a newer program made so that this one cannot work on it, what older
    /// programs are at work on that could not go on, and what cannot be written; the errors never show a password.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite://")
            && !path.is_empty()
            && !path.contains('\0')
        {
            return Self::open_sqlite(Sqlite::file(path, &options), options);
        }
        #[cfg(feature = "testing")]
        if url == "sqlite::memory:" {
            return Self::open_sqlite(Sqlite::memory(&options), options);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(Postgres::new(url, &options)?, options).await;
        }
        let shown = match url.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…"),
            None => url.chars().take(80).collect(),
        };
        Err(StoreError::Url { url: shown })
    }

    /// A store in memory whose calls run inline, by a clock set by hand.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn in_memory(clock: crate::clock::ManualClock) -> Self {
        Self::in_memory_with(StoreOptions {
            clock: Arc::new(clock),
            ..StoreOptions::default()
        })
    }

    /// A store in memory whose calls run inline, and otherwise as the options say.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn in_memory_with(options: StoreOptions) -> Self {
        Self::open_sqlite(Sqlite::memory(&options), options).expect("memory is always there")
    }

    fn open_sqlite(sqlite: Sqlite, options: StoreOptions) -> Result<Self, StoreError> {
        let mode = if sqlite.is_memory() {
            // The database is its one connection.
            Mode::Inline
        } else {
            options.mode
        };
        let inputs = inputs(&options, &sqlite, sqlite.schema_known())?;
        let mut work = Work::new(&inputs);
        let opened = sqlite.open(options.create, &mut work)?;
        let (engine, parts) = assemble(sqlite, opened, work, mode)?;
        Ok(Self::of(Engines::Sqlite(engine), parts))
    }

    async fn open_postgres(postgres: Postgres, options: StoreOptions) -> Result<Self, StoreError> {
        let name = postgres.to_string();
        let failed = |cause: String| StoreError::Open {
            database: name.clone(),
            cause,
        };
        if options.mode == Mode::Inline {
            let cause = "calls can run inline on SQLite only";
            return Err(failed(cause.to_owned()));
        }
        let inputs = inputs(&options, &postgres, postgres.schema_known())?;
        let (tell, told) = oneshot::channel();
        // Its connection blocks, which no thread of an async runtime may.
        let opening = std::thread::Builder::new().name("store-open".to_owned());
        let started = opening.spawn(move || {
            let mut work = Work::new(&inputs);
            let opened = postgres.open(&mut work);
            let _ = tell
                .send(opened.and_then(|opened| assemble(postgres, opened, work, Mode::Threads)));
        });
        started.map_err(|error| failed(error.to_string()))?;
        let (engine, parts) = told
            .await
            .map_err(|_| failed("a fault of this program".to_owned()))??;
        Ok(Self::of(Engines::Postgres(engine), parts))
    }

    fn of(engine: Engines, parts: Parts) -> Self {
        Self {
            engine,
            inputs: parts.inputs,
            id: parts.id,
            name: parts.name,
            schema: parts.schema,
            seq: parts.seq,
            timings: None,
        }
    }

    /// Tells `timings` how long each call takes from now on.
    #[must_use]
    pub fn timed_by(mut self, timings: Arc<dyn Timings>) -> Self {
        self.timings = Some(timings);
        self
    }

    /// The schema that was found when the store was opened, none in a new database, and the one that it has now.
    #[must_use]
    pub fn schema(&self) -> (Option<Schema>, Schema) {
        self.schema
    }
}

/// What a store has beside its engine.
struct Parts {
    inputs: Arc<Inputs>,
    id: StoreId,
    name: String,
    schema: (Option<Schema>, Schema),
    seq: watch::Sender<i64>,
}

fn inputs<B: Backend + fmt::Display>(
    options: &StoreOptions,
    backend: &B,
    schema: Result<Schema, Trouble>,
) -> Result<Arc<Inputs>, StoreError> {
    Ok(Arc::new(Inputs {
        schema: schema.map_err(|trouble| backend.explain_trouble(&trouble))?,
        database: backend.to_string(),
        store: OnceLock::new(),
        clock: Arc::clone(&options.clock),
        processes: Arc::clone(&options.processes),
        times: options.lease_times,
        #[cfg(feature = "crash-points")]
        watch: options.watch.clone(),
    }))
}

fn assemble<B: Backend + fmt::Display>(
    backend: B,
    (conn, id, last): (B::Conn, String, i64),
    work: Work,
    mode: Mode,
) -> Result<(Engine<B>, Parts), StoreError> {
    let inputs = work.inputs;
    let schema = work.schema.unwrap_or_default();
    let name = backend.to_string();
    let _ = inputs.store.set(id.clone());
    let id = store_id(&id).map_err(|trouble| backend.explain_trouble(&trouble))?;
    let seq = watch::Sender::new(last);
    let backend = Arc::new(backend);
    let engine = match mode {
        Mode::Inline => {
            let (inputs, seq) = (Arc::clone(&inputs), seq.clone());
            let mut desk = Desk::new(backend, Access::Write, inputs, seq);
            desk.adopt(conn);
            Engine::inline(desk)
        }
        Mode::Threads => {
            let failed = |error: std::io::Error| StoreError::Open {
                database: name.clone(),
                cause: error.to_string(),
            };
            Engine::threads(&backend, conn, &inputs, &seq).map_err(failed)?
        }
    };
    let parts = Parts {
        inputs,
        id,
        name,
        schema,
        seq,
    };
    Ok((engine, parts))
}
