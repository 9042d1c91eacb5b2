//! Where jobs run: on threads of their own, or on the calling one.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::backend::{Access, Backend};
use super::desk::{Call, Desk, Job, Rank};
use super::work::{Answer, Inputs, Work};
use crate::error::StoreError;

/// At most so many jobs share a commit.
const GROUP: usize = 256;

/// How many threads read. They wait for the disk at most, so a few serve many callers.
const READERS: usize = 3;

type Boxed<B> = Box<dyn Job<B>>;

/// Runs the calls of one store.
pub(crate) enum Engine<B: Backend> {
    /// One thread writes, a few read.
    Threads(Threads<B>),
    /// Every call runs where it is made, one at a time: nothing happens between two calls, so a simulation is the same
    /// in every run.
    Inline(Mutex<Desk<B>>),
}

pub(crate) struct Threads<B: Backend> {
    writer: Option<mpsc::Sender<Boxed<B>>>,
    readers: Option<mpsc::Sender<Boxed<B>>>,
    joined: Vec<JoinHandle<()>>,
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
            writer: None,
            readers: None,
            joined: Vec::new(),
        };
        let (to_writer, jobs) = mpsc::channel();
        let mut writer = desk(Access::Write);
        writer.adopt(conn);
        threads.start("store-writer", move || write(writer, &jobs))?;
        threads.writer = Some(to_writer);

        let (to_readers, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            let reader = desk(Access::Read);
            let jobs = Arc::clone(&jobs);
            threads.start("store-reader", move || read(reader, &jobs))?;
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
        });
        match self {
            Self::Inline(desk) => {
                let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
                desk.run(vec![job], access);
            }
            Self::Threads(threads) => {
                let queue = match access {
                    Access::Read => &threads.readers,
                    Access::Write => &threads.writer,
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

impl<B: Backend> Threads<B> {
    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)?;
        self.joined.push(thread);
        Ok(())
    }
}

impl<B: Backend> Drop for Threads<B> {
    /// What was asked for is still done; then the connections are closed, so that the files are at rest afterwards.
    fn drop(&mut self) {
        self.writer = None;
        self.readers = None;
        for thread in self.joined.drain(..) {
            let _ = thread.join();
        }
    }
}

/// While one group commits, the calls for the next one gather: groups grow with the load by themselves.
fn write<B: Backend>(mut desk: Desk<B>, jobs: &mpsc::Receiver<Boxed<B>>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP - 1));
        desk.run(group, Access::Write);
    }
}

fn read<B: Backend>(mut desk: Desk<B>, jobs: &Mutex<mpsc::Receiver<Boxed<B>>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        desk.run(vec![job], Access::Read);
    }
}
