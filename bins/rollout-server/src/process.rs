//! This process as the API sees it.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin_api::{HostProcess, NotReady};
use async_trait::async_trait;
use fleet_types::{HostId, WorkerId, view};
use metrics_exporter_prometheus::PrometheusHandle;
use rollout_orchestrator::{HealthSweeper, Orchestrator, SlotTransport, Worker, WorkerStatus};
use tokio::sync::watch;

/// What the store said of us this long ago says nothing of now.
const FRESH: Duration = Duration::from_secs(10);

/// This process: its worker, and whether it is alive on the store.
#[derive(Debug)]
pub(crate) struct Process {
    worker: Mutex<Option<Worker>>,
    orchestrator: Orchestrator,
    sweeper: HealthSweeper,
    status: watch::Receiver<WorkerStatus>,
    database: Option<DatabaseFile>,
    seen: Mutex<Seen>,
    numbers: PrometheusHandle,
    /// Numbers that are made anew each time.
    more_numbers: Mutex<String>,
}

/// What the last look at the store came to.
#[derive(Debug)]
struct Seen {
    at: Option<Instant>,
    answer: Result<(), String>,
}

impl Process {
    pub(crate) fn new(
        worker: Worker,
        orchestrator: Orchestrator,
        sweeper: HealthSweeper,
        database_url: &str,
        numbers: PrometheusHandle,
    ) -> Self {
        Self {
            status: worker.watch(),
            worker: Mutex::new(Some(worker)),
            orchestrator,
            sweeper,
            database: DatabaseFile::of(database_url),
            seen: Mutex::new(Seen {
                at: None,
                answer: Ok(()),
            }),
            numbers,
            more_numbers: Mutex::default(),
        }
    }

    /// As whom the worker is registered now.
    pub(crate) fn worker_id(&self) -> WorkerId {
        self.status.borrow().worker
    }

    /// Returns when the worker has ended, whether it was asked to or not.
    pub(crate) async fn worker_ended(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// The worker, to be stopped. Nobody reaches hosts through this process any more.
    pub(crate) fn take_worker(&self) -> Option<Worker> {
        lock(&self.worker).take()
    }

    /// Sums up what was counted since the last time: until then each value of a distribution is kept by itself.
    pub(crate) fn sum_up_numbers(&self) {
        self.numbers.run_upkeep();
    }

    /// Numbers to be shown beside the counted ones, in place of those given before.
    pub(crate) fn show_numbers(&self, text: String) {
        *lock(&self.more_numbers) = text;
    }

    /// Notes what the store says: whether this process is alive on it.
    pub(crate) fn note(&self, answer: Result<(), String>) {
        *lock(&self.seen) = Seen {
            at: Some(Instant::now()),
            answer,
        };
    }
}

#[async_trait]
impl HostProcess for Process {
    fn ready(&self) -> Result<(), NotReady> {
        let not_ready = |why, cause| Err(NotReady { why, cause });
        if let Some(Err(cause)) = self.database.as_ref().map(DatabaseFile::is_there) {
            return not_ready("the database is gone", cause);
        }
        if let Some(why) = self.orchestrator.store_trouble() {
            return not_ready(why, why.to_owned());
        }
        let seen = lock(&self.seen);
        match (seen.at, &seen.answer) {
            (Some(at), Ok(())) if at.elapsed() <= FRESH => Ok(()),
            (Some(at), Err(cause)) if at.elapsed() <= FRESH => not_ready(
                "no worker of this process is alive on the store",
                cause.clone(),
            ),
            _ => not_ready(
                "the database does not answer",
                "it has not answered lately".to_owned(),
            ),
        }
    }

    fn metrics(&self) -> Option<String> {
        Some(self.numbers.render() + &lock(&self.more_numbers))
    }

    fn transport(&self) -> Option<SlotTransport> {
        lock(&self.worker).as_ref().map(Worker::transport)
    }

    async fn check_health(
        &self,
        host: HostId,
        fix: bool,
    ) -> Result<Option<view::HealthCheck>, Box<dyn Error + Send + Sync>> {
        let checked = self.sweeper.sweep_once(fix, Some(vec![host])).await?;
        Ok(checked.into_iter().next().map(view::HealthCheck::from))
    }
}

/// A database file. One that is deleted or replaced stays open, and what is written to it then is lost.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl DatabaseFile {
    fn of(url: &str) -> Option<Self> {
        let path = PathBuf::from(url.strip_prefix("sqlite://")?);
        let identity = identity(&path)?;
        Some(Self { path, identity })
    }

    fn is_there(&self) -> Result<(), String> {
        match identity(&self.path) {
            Some(now) if now == self.identity => Ok(()),
            Some(_) => Err("another file is at the place of the database".to_owned()),
            None => Err("the file of the database is gone".to_owned()),
        }
    }
}

fn identity(path: &PathBuf) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here is whole at any time, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
