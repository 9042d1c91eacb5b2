//! The end, within its time: nothing is lost, and nobody is waited for for ever.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fleet_store::{DieselStore, Lists as _};
use rollout_orchestrator::Worker;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::compose::Parts;
use crate::http::Server;
use crate::systemd;

/// Requests to end.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// How long the worker and the store may take to end once hosts are handed over, however short the grace is: goodbyes are said
/// to hosts, and the database is told. With a grace of 30 s it fits into the last sixth.
const LEAVING: Duration = Duration::from_secs(5);
/// How much of that is kept for the store to be closed.
const CLOSING: Duration = Duration::from_secs(1);
/// How often the database is asked whether it answers.
const LOOK: Duration = Duration::from_secs(1);

/// How the worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended; the store can be closed.
    Itself {
        /// By then.
        by: Instant,
    },
    /// It did not come to its end in time. Neither will the store, most likely, so that nobody should wait for that.
    Behind,
}

/// When all of it has to have ended.
#[derive(Clone, Copy, Debug)]
struct Deadline(Instant);

impl Deadline {
    fn after(grace: Duration) -> Self {
        Self(Instant::now() + grace.max(to_finish(grace) + LEAVING))
    }

    /// Somebody asked again.
    fn hasten(&mut self) {
        self.0 = self.0.min(Instant::now() + LEAVING);
    }

    /// What is left then is for the store.
    fn of_work(self) -> Instant {
        self.0.checked_sub(CLOSING).unwrap_or(self.0)
    }
}

/// How much of the grace hosts in flight have to finish.
fn to_finish(grace: Duration) -> Duration {
    grace - grace / 6
}

/// Ends it all. Streams end at once, hosts in flight have five sixths of the grace to finish and are handed over then. A
/// second signal hands them over at once. A database that does not answer is not waited for beyond the grace, or beyond
/// [`LEAVING`] after the hosts are handed over: what cannot be handed over is taken over once the lease has run out.
pub(crate) async fn stop(parts: &Parts, server: Server, signals: &mut Signals) -> Left {
    let grace = parts.settings.server.stop_grace;
    let mut deadline = Deadline::after(grace);
    systemd::stopping();
    parts.api.stop().cancel();
    server.stop_accepting();
    let has_left = match parts.process.take_worker() {
        Some(worker) => {
            let answered = Cell::new(None);
            tokio::select! {
                has_left = leave(worker, grace, &mut deadline, signals, &answered) => has_left,
                () = look(&parts.store, &answered) => unreachable!("it looks for ever"),
            }
        }
        None => true,
    };
    if !has_left {
        // Who still waits for an answer waits for the database as well.
        deadline = Deadline(Instant::now());
    }
    if !drain(&server, &mut deadline, signals).await {
        tracing::warn!("connections that would not end are cut");
    }
    tracing::info!("stopped");
    match has_left {
        true => Left::Itself { by: deadline.0 },
        false => Left::Behind,
    }
}

/// Whether all connections have ended in time.
async fn drain(server: &Server, deadline: &mut Deadline, signals: &mut Signals) -> bool {
    loop {
        tokio::select! {
            biased;
            () = server.drained() => return true,
            () = sleep_until(deadline.of_work()) => return false,
            _ = signals.next() => deadline.hasten(),
        }
    }
}

/// Closes the store, which waits for what was asked of it, but not beyond that: the end of the process ends its threads.
pub(crate) async fn close(parts: Parts, left: Left) {
    match left {
        Left::Itself { by } => {
            let closing = spawn_blocking(move || drop(parts));
            if timeout_at(by, closing).await.is_err() {
                tracing::warn!("the database did not answer to the end");
            }
        }
        // To close it would be to wait with its threads.
        Left::Behind => std::mem::forget(Arc::clone(&parts.store)),
    }
}

/// Waits until what was begun and is not wanted any more has gone, but not for long: that may take an answer from the
/// database.
pub(crate) async fn discard<T>(begun: AbortOnDropHandle<T>) {
    begun.abort();
    let _ = timeout(CLOSING, begun).await;
}

/// Notes for ever when the database answered last.
async fn look(store: &DieselStore, answered: &Cell<Option<Instant>>) {
    loop {
        if store.last_seq().await.is_ok() {
            answered.set(Some(Instant::now()));
        }
        sleep(LOOK).await;
    }
}

/// Whether the worker has left.
async fn leave(
    mut worker: Worker,
    grace: Duration,
    deadline: &mut Deadline,
    signals: &mut Signals,
    answered: &Cell<Option<Instant>>,
) -> bool {
    let in_flight = worker.status().in_flight.len();
    tracing::info!(in_flight, "stopping: hosts in flight finish");
    let begun = Instant::now();
    worker.stop(to_finish(grace));
    let mut status = worker.watch();
    tokio::select! {
        () = async { while status.changed().await.is_ok() {} } => {}
        name = signals.next() => {
            tracing::warn!(name, "hosts in flight are handed over at once");
            worker.abandon();
            deadline.hasten();
        }
        () = sleep_until(deadline.of_work()) => {}
    }
    match timeout_at(deadline.of_work(), worker.finished()).await {
        Ok(Ok(finished)) if finished.unfinished.is_empty() => {}
        Ok(Ok(finished)) => {
            let hosts = finished.unfinished.len();
            tracing::warn!(hosts, "hosts in flight were left to the next process");
        }
        Ok(Err(error)) => tracing::error!(%error, "the worker did not end well"),
        Err(_) => {
            give_up(&worker, begun, answered.get());
            return false;
        }
    }
    true
}

/// Says why the end is not waited for any longer, and what becomes of the hosts. A database that is slow is told from one
/// that is silent by what it did, for nobody knows what it would have done.
fn give_up(worker: &Worker, begun: Instant, answered: Option<Instant>) {
    let hosts = worker.status().in_flight.len();
    let seconds = begun.elapsed().as_secs();
    let why = match answered {
        None => format!("the database has not answered for {seconds} s"),
        Some(answered) => {
            let ago = answered.elapsed().as_secs();
            format!(
                "the worker has not left within {seconds} s, and the database answered last {ago} s ago"
            )
        }
    };
    tracing::error!(
        hosts,
        "{why}; this process ends without it: hosts in flight are taken over by another process, or when one starts again"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_of_it_is_within_the_grace_unless_that_is_short() {
        for (grace, all) in [(30, 30), (60, 60), (12, 15), (6, 10)] {
            let deadline = Deadline::after(Duration::from_secs(grace));
            assert_eq!(deadline.0, Instant::now() + Duration::from_secs(all));
            assert!(deadline.of_work() < deadline.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_makes_it_sooner_but_never_later() {
        let mut deadline = Deadline::after(Duration::from_secs(30));
        deadline.hasten();
        assert_eq!(deadline.0, Instant::now() + LEAVING);
        tokio::time::advance(Duration::from_secs(2)).await;
        deadline.hasten();
        assert_eq!(deadline.0, Instant::now() + Duration::from_secs(3));
    }
}
