//! Runs jobs on one connection: in groups, each group one transaction, so that a commit's wait for the disk is shared.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use tokio::sync::{oneshot, watch};

use super::backend::{Access, Backend};
use super::work::{Answer, Failure, Inputs, Trouble, Work};
use crate::error::StoreError;

/// The order in which the jobs of a group lock rows. Two processes whose groups lock in the same order cannot wait for
/// each other in a circle; the feed's counter comes after all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The row of one worker, to renew its lease: before all that others may keep waiting.
    Lease,
    /// Rows of one host or one worker.
    Host,
    /// The row of the active rollout, then rows of hosts.
    Rollout,
    /// Rows of hosts that anybody may hold: after the rollout's row, as everything that locks both.
    Health,
    /// The row under which slots are counted.
    Slots,
    /// Rows of people, sessions, tokens and tries to sign in.
    People,
    /// Rows of a rollout that is over.
    Outputs,
}

/// How a run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Done,
    /// Refused or failed: what it wrote must be undone.
    Undo,
}

/// One call of the store. It may be run more than once; the last run counts.
pub(crate) trait Job<B: Backend>: Send {
    fn rank(&self) -> Rank;
    fn run(&mut self, conn: &mut B::Conn, work: &mut Work) -> Ran;
    /// The trouble of the last run, if that is how it ended.
    fn trouble(&self) -> Option<&Trouble>;
    /// Hands over the result of the last run: it is durable, or undone when it was an error.
    fn finish(self: Box<Self>, backend: &B);
    /// The last run's changes did not come to stay, or may not have.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A body with the one who waits for its answer.
pub(crate) struct Call<F, T, E> {
    pub(crate) rank: Rank,
    pub(crate) body: F,
    pub(crate) outcome: Option<Answer<T, E>>,
    pub(crate) answer: oneshot::Sender<Result<T, E>>,
    #[cfg(feature = "crash-points")]
    pub(crate) watched: Option<super::watched::Watched>,
}

impl<B, F, T, E> Job<B> for Call<F, T, E>
where
    B: Backend,
    F: FnMut(&mut B::Conn, &mut Work) -> Answer<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn rank(&self) -> Rank {
        self.rank
    }

    fn run(&mut self, conn: &mut B::Conn, work: &mut Work) -> Ran {
        #[cfg(feature = "crash-points")]
        let from = work.events.len();
        #[cfg(feature = "crash-points")]
        if let Some(error) = self.watched.as_mut().and_then(|w| w.error::<B>()) {
            self.outcome = Some(Err(Failure::from(error)));
            return Ran::Undo;
        }
        let body = &mut self.body;
        // A fault in one body must not take the writer down with it; its transaction is undone.
        let outcome = catch_unwind(AssertUnwindSafe(|| body(conn, work)))
            .unwrap_or_else(|panic| Err(Failure::Trouble(Trouble::Refused(told(&*panic)))));
        let ran = if outcome.is_ok() {
            Ran::Done
        } else {
            Ran::Undo
        };
        self.outcome = Some(outcome);
        #[cfg(feature = "crash-points")]
        if let (Ran::Done, Some(watched)) = (ran, &mut self.watched) {
            watched.open(work, from);
            work.commit_refused |= watched.refuses_commit();
        }
        ran
    }

    fn trouble(&self) -> Option<&Trouble> {
        match &self.outcome {
            Some(Err(Failure::Trouble(trouble))) => Some(trouble),
            _ => None,
        }
    }

    fn finish(self: Box<Self>, backend: &B) {
        let result = match self.outcome {
            #[cfg(feature = "crash-points")]
            Some(Ok(value)) => match self.watched.as_ref().and_then(|w| w.close()) {
                None => Ok(value),
                Some(error) => Err(E::from(error)),
            },
            #[cfg(not(feature = "crash-points"))]
            Some(Ok(value)) => Ok(value),
            Some(Err(Failure::Refused(error))) => Err(error),
            Some(Err(Failure::Trouble(trouble))) => Err(E::from(backend.explain_trouble(&trouble))),
            None => Err(E::from(StoreError::Unavailable {
                cause: "the call was not run".to_owned(),
            })),
        };
        // Nobody waits any more: the call was dropped, its effect stays.
        let _ = self.answer.send(result);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.answer.send(Err(E::from(error)));
    }
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "no message".to_owned());
    format!("a fault of this program: {text}")
}

/// How often a single job is tried against deadlocks and lost races.
const TRIES: u32 = 4;

/// One connection and the way jobs are run on it.
pub(crate) struct Desk<B: Backend> {
    backend: Arc<B>,
    access: Access,
    conn: Option<B::Conn>,
    inputs: Arc<Inputs>,
    /// The last event's number, for those who wait in this process.
    seq: watch::Sender<i64>,
}

/// Whether each job of a group can be undone by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Savepoints {
    None,
    Each,
}

/// Why a group did not get its commit.
enum Together {
    /// Nothing of it stayed: each job may be tried again.
    Undone,
    /// All get this: it could not begin, or whether it stayed is not known, so nothing may be tried again.
    Failed(StoreError),
}

/// Why a transaction did not come to its end.
enum Broken {
    /// Nothing of it stayed.
    Undone(StoreError),
    /// It cannot be told whether it stayed.
    Unknown(StoreError),
}

impl<B: Backend> Desk<B> {
    pub(crate) fn new(
        backend: Arc<B>,
        access: Access,
        inputs: Arc<Inputs>,
        seq: watch::Sender<i64>,
    ) -> Self {
        Self {
            backend,
            access,
            conn: None,
            inputs,
            seq,
        }
    }

    /// Uses this connection from now on.
    pub(crate) fn adopt(&mut self, conn: B::Conn) {
        self.conn = Some(conn);
    }

    /// Runs the jobs, all in one transaction if that goes well, and answers each.
    ///
    /// First without savepoints, which cost as much as a small job does. When a job has to be undone, all are: then again
    /// with a savepoint each, where the database has cheap ones, so that the others still share a commit; else one by one.
    pub(crate) fn run(&mut self, jobs: Vec<Box<dyn Job<B>>>) {
        self.run_as(jobs, self.access);
    }

    /// The same, for the one connection that is there for both.
    pub(crate) fn run_as(&mut self, mut jobs: Vec<Box<dyn Job<B>>>, access: Access) {
        jobs.sort_by_key(|job| job.rank());
        let ways: &[Savepoints] = match jobs.len() {
            0 | 1 => &[],
            _ if B::SAVEPOINTS => &[Savepoints::None, Savepoints::Each],
            _ => &[Savepoints::None],
        };
        for savepoints in ways {
            match self.together(&mut jobs, access, *savepoints) {
                Ok(()) => return jobs.into_iter().for_each(|job| job.finish(&self.backend)),
                Err(Together::Undone) => {}
                Err(Together::Failed(error)) => {
                    return jobs.into_iter().for_each(|job| job.fail(error.clone()));
                }
            }
        }
        for job in jobs {
            self.alone(job, access);
        }
    }

    /// One transaction for all.
    fn together(
        &mut self,
        jobs: &mut [Box<dyn Job<B>>],
        access: Access,
        savepoints: Savepoints,
    ) -> Result<(), Together> {
        let mut work = Work::new(&self.inputs);
        // Whatever keeps the group from beginning would keep each of its jobs waiting as long.
        self.begin(access).map_err(Together::Failed)?;
        for job in jobs.iter_mut() {
            if !self.one_of_many(&mut **job, &mut work, savepoints) {
                self.undo();
                return Err(Together::Undone);
            }
        }
        self.commit(&mut work).map_err(|broken| match broken {
            Broken::Undone(_) => Together::Undone,
            Broken::Unknown(error) => Together::Failed(error),
        })
    }

    /// Whether the transaction can go on after this job.
    fn one_of_many(
        &mut self,
        job: &mut dyn Job<B>,
        work: &mut Work,
        savepoints: Savepoints,
    ) -> bool {
        let told = work.events.len();
        if savepoints == Savepoints::Each && self.statement("SAVEPOINT job").is_err() {
            return false;
        }
        let conn = self.conn.as_mut().expect("a transaction has begun on it");
        match (job.run(conn, work), savepoints) {
            (Ran::Done, Savepoints::None) => true,
            (Ran::Done, Savepoints::Each) => self.statement("RELEASE job").is_ok(),
            (Ran::Undo, Savepoints::None) => false,
            (Ran::Undo, Savepoints::Each) => {
                work.events.truncate(told);
                self.statement("ROLLBACK TO job; RELEASE job").is_ok()
            }
        }
    }

    /// A transaction of its own for one job, tried again where that may help.
    fn alone(&mut self, mut job: Box<dyn Job<B>>, access: Access) {
        for attempt in 1..=TRIES {
            if let Err(error) = self.begin(access) {
                return job.fail(error);
            }
            let mut work = Work::new(&self.inputs);
            let conn = self.conn.as_mut().expect("a transaction has begun on it");
            match job.run(conn, &mut work) {
                Ran::Done => match self.commit(&mut work) {
                    Ok(()) => return job.finish(&self.backend),
                    Err(Broken::Undone(error) | Broken::Unknown(error)) => return job.fail(error),
                },
                Ran::Undo => {
                    self.undo();
                    let again = match job.trouble() {
                        Some(Trouble::Database(error)) => {
                            // Lost before the commit was sent: nothing of it stayed, and a new connection may do.
                            B::is_broken(error) || self.backend.worth_another_try(error)
                        }
                        _ => false,
                    };
                    if !again || attempt == TRIES {
                        return job.finish(&self.backend);
                    }
                }
            }
        }
    }

    fn begin(&mut self, access: Access) -> Result<(), StoreError> {
        for fresh in [false, true] {
            if self.conn.is_none() {
                self.conn = Some(self.backend.connect(self.access)?);
            }
            let conn = self.conn.as_mut().expect("a connection was just made");
            let Err(error) = B::begin(conn, access) else {
                return Ok(());
            };
            // A connection that died while nothing was asked of it shows now; nothing was lost with it.
            let broken = B::is_broken(&error);
            if broken {
                self.conn = None;
            }
            if !broken || fresh {
                return Err(self.backend.explain(&error));
            }
        }
        unreachable!("the second round returns")
    }

    fn commit(&mut self, work: &mut Work) -> Result<(), Broken> {
        let mut last = None;
        if !work.events.is_empty() {
            let conn = self.conn.as_mut().expect("a transaction has begun on it");
            match B::flush(conn, work) {
                Ok(seq) => last = Some(seq),
                Err(error) => {
                    self.undo();
                    return Err(Broken::Undone(self.backend.explain(&error)));
                }
            }
        }
        let conn = self.conn.as_mut().expect("a transaction has begun on it");
        #[cfg(not(feature = "crash-points"))]
        let committed = B::commit(conn);
        #[cfg(feature = "crash-points")]
        let committed = match work.refused::<B>() {
            Some(refused) => Err(refused),
            None => B::commit(conn),
        };
        if let Err(error) = committed {
            let told = self.backend.explain(&error);
            // When the connection went, the answer to the commit is lost, not for certain the commit.
            let unknown = B::is_broken(&error) || !self.undo();
            self.conn = None;
            return Err(if unknown {
                Broken::Unknown(told)
            } else {
                Broken::Undone(told)
            });
        }
        if let Some(last) = last {
            self.seq.send_if_modified(|seen| {
                let newer = last > *seen;
                *seen = last.max(*seen);
                newer
            });
        }
        Ok(())
    }

    /// Leaves no transaction open, whatever state the connection is in. Whether the connection is of use still.
    fn undo(&mut self) -> bool {
        let undone = self.statement("ROLLBACK").is_ok();
        if !undone {
            self.conn = None;
        }
        undone
    }

    fn statement(&mut self, sql: &str) -> diesel::QueryResult<()> {
        self.conn
            .as_mut()
            .expect("a connection was made")
            .batch_execute(sql)
    }
}
