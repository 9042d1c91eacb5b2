//! The end, within its time: nothing is lost, and nobody is waited for for ever.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Context;
use fleet_store::{DieselStore, Lists as _};
use rollout_orchestrator::Worker;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

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

/// How long the worker may take to leave, however short the grace is: it says goodbye to hosts, and tells the database.
const LEAVING: Duration = Duration::from_secs(5);
/// How often the database is asked whether it answers.
const LOOK: Duration = Duration::from_secs(1);
/// Whoever has not answered for so long is silent, not slow.
const SILENT: Duration = Duration::from_secs(3);

/// How the worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended; the store can be closed.
    Itself,
    /// It did not come to its end in time. Neither will the store, most likely, so that nobody should wait for that.
    Behind,
}

/// Ends it all. Streams end at once, hosts in flight have five sixths of the grace to finish and are handed over then. A
/// second signal hands them over at once. A database that does not answer is not waited for beyond the grace: what cannot
/// be handed over is taken over once the lease has run out.
pub(crate) async fn stop(parts: &Parts, server: Server, signals: &mut Signals) -> Left {
    let grace = parts.settings.server.stop_grace;
    let deadline = Instant::now() + grace;
    systemd::stopping();
    parts.api.stop().cancel();
    server.stop_accepting();
    let left = match parts.process.take_worker() {
        Some(worker) => {
            let answered = Cell::new(Instant::now());
            tokio::select! {
                left = leave(worker, grace, signals, &answered) => left,
                () = look(&parts.store, &answered) => unreachable!("it looks for ever"),
            }
        }
        None => Left::Itself,
    };
    let drained_by = match left {
        Left::Itself => deadline,
        // Who still waits for an answer waits for the database as well.
        Left::Behind => Instant::now(),
    };
    if timeout_at(drained_by, server.drained()).await.is_err() {
        tracing::warn!("connections that would not end are cut");
    }
    tracing::info!("stopped");
    left
}

/// Notes for ever when the database answered last.
async fn look(store: &DieselStore, answered: &Cell<Instant>) {
    loop {
        if store.last_seq().await.is_ok() {
            answered.set(Instant::now());
        }
        sleep(LOOK).await;
    }
}

async fn leave(
    mut worker: Worker,
    grace: Duration,
    signals: &mut Signals,
    answered: &Cell<Instant>,
) -> Left {
    let in_flight = worker.status().in_flight.len();
    tracing::info!(in_flight, "stopping: hosts in flight finish");
    let begun = Instant::now();
    let to_finish = grace - grace / 6;
    worker.stop(to_finish);
    let mut last = begun + to_finish + LEAVING.max(grace / 6);
    let mut status = worker.watch();
    tokio::select! {
        () = async { while status.changed().await.is_ok() {} } => {}
        name = signals.next() => {
            tracing::warn!(name, "hosts in flight are handed over at once");
            worker.abandon();
            last = last.min(Instant::now() + LEAVING);
        }
        () = sleep_until(last) => {}
    }
    match timeout_at(last, worker.finished()).await {
        Ok(Ok(finished)) if finished.unfinished.is_empty() => {}
        Ok(Ok(finished)) => {
            let hosts = finished.unfinished.len();
            tracing::warn!(hosts, "hosts in flight were left to the next process");
        }
        Ok(Err(error)) => tracing::error!(%error, "the worker did not end well"),
        Err(_) => {
            give_up(&worker, begun, answered.get());
            return Left::Behind;
        }
    }
    Left::Itself
}

/// Says why the end is not waited for any longer, and what becomes of the hosts.
fn give_up(worker: &Worker, begun: Instant, answered: Instant) {
    let hosts = worker.status().in_flight.len();
    let silence = answered.elapsed();
    let why = if silence >= SILENT {
        format!("the database has not answered for {} s", silence.as_secs())
    } else {
        let seconds = begun.elapsed().as_secs();
        format!("the worker has not left within {seconds} s")
    };
    tracing::error!(
        hosts,
        "{why}; this process ends without it: hosts in flight are taken over by another process, or when one starts again"
    );
}
