//! Where jobs run: on threads of their own, or on the calling one.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use super::backend::{Access, Backend};
use super::crew::Crew;
use super::desk::{Call, Desk, Job, Rank};
#[cfg(feature = "crash-points")]
use super::watched::Watched;
use super::work::{Answer, Inputs, Work};
use crate::error::StoreError;

/// How many threads read. They wait for the disk at most, so a few serve many callers.
const READERS: usize = 3;

type Boxed<B> = Box<dyn Job<B>>;

/// Runs the calls of one store.
pub(crate) enum Engine<B: Backend> {
    /// A few threads write, a few read.
    Threads(Threads<B>),
    /// Every call runs where it is made, one at a time: nothing happens between two calls, so a simulation is the same
    /// in every run.
    Inline(Mutex<Desk<B>>),
}

pub(crate) struct Threads<B: Backend> {
    writers: Option<mpsc::Sender<Boxed<B>>>,
    /// Where several write at once, one renews leases alone: what keeps all others waiting must not end what is under way.
    renewals: Option<mpsc::Sender<Boxed<B>>>,
    readers: Option<mpsc::Sender<Boxed<B>>>,
    crew: Crew,
    #[cfg(feature = "crash-points")]
    inputs: Arc<Inputs>,
}

impl<B: Backend> Engine<B> {
    pub(crate) fn inline(desk: Desk<B>) -> Self {
        Self::Inline(Mutex::new(desk))
    }

    /// Starts the threads. The writer goes on with the connection that opened the store; each reader makes its own when
    /// it is first needed.
    pub(crate) fn threads(
        backend: &Arc<B>,
        conn: B::Conn,
        inputs: &Arc<Inputs>,
        seq: &watch::Sender<i64>,
    ) -> std::io::Result<Self> {
        let desk = |access| Desk::new(Arc::clone(backend), access, Arc::clone(inputs), seq.clone());
        let mut threads = Threads {
            writers: None,
            renewals: None,
            readers: None,
            crew: Crew::new(),
            #[cfg(feature = "crash-points")]
            inputs: Arc::clone(inputs),
        };
        let (to_writers, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut first = Some(conn);
        for _ in 0..B::WRITERS {
            let mut writer = desk(Access::Write);
            if let Some(conn) = first.take() {
                writer.adopt(conn);
            }
            let jobs = Arc::clone(&jobs);
            threads
                .crew
                .start("store-writer", move || serve(writer, &jobs, B::GROUP))?;
        }
        threads.writers = Some(to_writers);

        if B::WRITERS > 1 {
            let (to_renewals, jobs) = mpsc::channel();
            let (writer, jobs) = (desk(Access::Write), Mutex::new(jobs));
            threads
                .crew
                .start("store-renewals", move || serve(writer, &jobs, B::GROUP))?;
            threads.renewals = Some(to_renewals);
        }

        let (to_readers, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            let reader = desk(Access::Read);
            let jobs = Arc::clone(&jobs);
            threads
                .crew
                .start("store-reader", move || serve(reader, &jobs, 1))?;
        }
        threads.readers = Some(to_readers);
        Ok(Self::Threads(threads))
    }

    /// Runs a body in a transaction that may change rows, and answers once it is durable. The body may be run several
    /// times. Dropping the future does not take the call back.
    pub(crate) async fn write<F, T, E>(&self, rank: Rank, body: F) -> Result<T, E>
    where
        F: FnMut(&mut B::Conn, &mut Work) -> Answer<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.call(Access::Write, rank, body).await
    }

    /// Runs a body that only reads, all from one snapshot.
    pub(crate) async fn read<F, T, E>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(&mut B::Conn, &mut Work) -> Answer<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.call(Access::Read, Rank::Host, body).await
    }

    #[cfg(feature = "crash-points")]
    fn watch(&self) -> Option<&Arc<dyn crate::crash_points::CallWatch>> {
        match self {
            Self::Inline(_) => None,
            Self::Threads(threads) => threads.inputs.watch.as_ref(),
        }
    }

    async fn call<F, T, E>(&self, access: Access, rank: Rank, body: F) -> Result<T, E>
    where
        F: FnMut(&mut B::Conn, &mut Work) -> Answer<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Boxed<B> = Box::new(Call {
            rank,
            body,
            outcome: None,
            answer,
            #[cfg(feature = "crash-points")]
            watched: self.watch().map(Watched::begin::<F>),
        });
        match self {
            Self::Inline(desk) => {
                let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
                desk.run_as(vec![job], access);
            }
            Self::Threads(threads) => {
                let queue = match (access, rank) {
                    (Access::Read, _) => &threads.readers,
                    (Access::Write, Rank::Lease) if threads.renewals.is_some() => &threads.renewals,
                    (Access::Write, _) => &threads.writers,
                };
                // A thread that ended drops the job, and with it the other end of the answer.
                let _ = queue.as_ref().map(|queue| queue.send(job));
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(E::from(StoreError::Unavailable {
                cause: "the store's thread has ended".to_owned(),
            }))
        })
    }
}

impl<B: Backend> Drop for Threads<B> {
    /// What was asked for is still done; then the connections are closed, so that the files are at rest afterwards. A
    /// database that may not answer at all is waited for no longer than [`Backend::PARTING`].
    fn drop(&mut self) {
        self.writers = None;
        self.renewals = None;
        self.readers = None;
        self.crew.part(B::PARTING);
    }
}

/// While one group commits, the calls for the next one gather: groups grow with the load by themselves.
fn serve<B: Backend>(mut desk: Desk<B>, jobs: &Mutex<mpsc::Receiver<Boxed<B>>>, most: usize) {
    while let Some(group) = next_group(jobs, most) {
        desk.run(group);
    }
}

/// Waits for a job and takes what else is there; none once nobody can send any more.
fn next_group<J>(jobs: &Mutex<mpsc::Receiver<J>>, most: usize) -> Option<Vec<J>> {
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let mut group = vec![jobs.recv().ok()?];
    group.extend(jobs.try_iter().take(most - 1));
    Some(group)
}
