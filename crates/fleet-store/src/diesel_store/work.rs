//! What a query body gets beside its connection, and what it may answer.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fleet_types::{Event, StoreId, Timestamp};

use super::rows::{EventRow, WorkerRow};
use crate::clock::{Clock, LeaseMoment};
use crate::error::{MoveError, StoreError};
use crate::process::Processes;
use crate::records::{LeaseTimes, Schema};

/// What the whole store goes by.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) processes: Arc<dyn Processes>,
    pub(crate) times: LeaseTimes,
    /// The schema that this program knows.
    pub(crate) schema: Schema,
    /// Which database, without password.
    pub(crate) database: String,
    /// Which store it was when it was opened.
    pub(crate) store: OnceLock<String>,
    #[cfg(feature = "crash-points")]
    pub(crate) watch: Option<Arc<dyn crate::crash_points::CallWatch>>,
}

/// One transaction under way: its inputs, and the events that will be written with it. They are numbered last, right
/// before the commit, so that the counter's row is locked for as short a time as possible.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) inputs: Arc<Inputs>,
    pub(crate) events: Vec<EventRow>,
    /// The database's lease time as last asked for, and when that was.
    pub(crate) database_time: Option<(LeaseMoment, Instant)>,
    /// The schema that was found when the store was opened, and the one that it has now.
    pub(crate) schema: Option<(Option<Schema>, Schema)>,
    /// Whether a test has the commit refused.
    #[cfg(feature = "crash-points")]
    pub(crate) commit_refused: bool,
}

/// The database's clock is asked anew after this long: groups are short, waits for locks need not be.
pub(crate) const DATABASE_TIME_KEPT: Duration = Duration::from_millis(100);

impl Work {
    pub(crate) fn new(inputs: &Arc<Inputs>) -> Self {
        Self {
            inputs: Arc::clone(inputs),
            events: Vec::new(),
            database_time: None,
            schema: None,
            #[cfg(feature = "crash-points")]
            commit_refused: false,
        }
    }

    /// What the database says against the commit, where a test has it refused.
    #[cfg(feature = "crash-points")]
    pub(crate) fn refused<B: super::backend::Backend>(&self) -> Option<diesel::result::Error> {
        let full = crate::crash_points::CallFault::Full;
        self.commit_refused.then(|| B::error_of(full)).flatten()
    }

    /// Wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.inputs.clock.now()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(EventRow::from(event));
    }

    /// Whether the worker's lease stands at `moment` and its process is not known dead.
    pub(crate) fn is_alive(&self, worker: &WorkerRow, moment: &LeaseMoment) -> bool {
        worker.lease.stands(moment)
            && !worker
                .process()
                .is_some_and(|process| self.inputs.processes.is_gone(&process))
    }

    /// When a lease that begins or is renewed at `moment` runs out.
    pub(crate) fn lease_end(&self, moment: &LeaseMoment) -> i64 {
        moment.at.saturating_add(millis(self.inputs.times.lease))
    }
}

/// As the database keeps durations.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Why a body did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// It was refused; the caller gets this.
    Refused(E),
    /// The database or what is in it.
    Trouble(Trouble),
}

/// What is wrong with the database, before it is put into words.
#[derive(Debug)]
pub(crate) enum Trouble {
    Database(diesel::result::Error),
    Corrupt {
        table: &'static str,
        cause: String,
    },
    /// A fault of this program, or a value that cannot be stored.
    Refused(String),
    /// It has its words already.
    Known(StoreError),
}

/// What a body answers.
pub(crate) type Answer<T, E = StoreError> = Result<T, Failure<E>>;

impl<E> From<diesel::result::Error> for Failure<E> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Trouble(Trouble::Database(error))
    }
}

impl From<diesel::result::Error> for Trouble {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl<E> From<Trouble> for Failure<E> {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<MoveError> for Failure<MoveError> {
    fn from(error: MoveError) -> Self {
        Self::Refused(error)
    }
}

/// A body that can fail only with the store, called by one that can also refuse.
pub(crate) fn widen<T, E>(answer: Answer<T>) -> Answer<T, E>
where
    E: From<StoreError>,
{
    answer.map_err(|failure| match failure {
        Failure::Refused(error) => Failure::Refused(E::from(error)),
        Failure::Trouble(trouble) => Failure::Trouble(trouble),
    })
}

pub(crate) fn refuse<T, E>(error: impl Into<E>) -> Answer<T, E> {
    Err(Failure::Refused(error.into()))
}

/// Which store, read once when it is opened.
pub(crate) fn store_id(text: &str) -> Result<StoreId, Trouble> {
    text.parse().map_err(|_| Trouble::Corrupt {
        table: "meta",
        cause: format!("{text:?} is no store id"),
    })
}
