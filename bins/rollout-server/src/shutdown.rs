//! The end, within its time: nothing is lost, and nobody is waited for for ever.

use std::time::Duration;

use anyhow::Context;
use rollout_orchestrator::Worker;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

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

/// Ends it all. Streams end at once, hosts in flight have five sixths of the grace to finish and are handed over then. A
/// second signal hands them over at once.
pub(crate) async fn stop(parts: &Parts, server: Server, signals: &mut Signals) {
    let grace = parts.settings.server.stop_grace;
    let deadline = Instant::now() + grace;
    systemd::stopping();
    parts.api.stop().cancel();
    server.stop_accepting();
    if let Some(worker) = parts.process.take_worker() {
        leave(worker, grace - grace / 6, signals).await;
    }
    if timeout_at(deadline, server.drained()).await.is_err() {
        tracing::warn!("connections that would not end are cut");
    }
    tracing::info!("stopped");
}

async fn leave(mut worker: Worker, grace: Duration, signals: &mut Signals) {
    let in_flight = worker.status().in_flight.len();
    tracing::info!(in_flight, "stopping: hosts in flight finish");
    worker.stop(grace);
    let mut status = worker.watch();
    tokio::select! {
        () = async { while status.changed().await.is_ok() {} } => {}
        name = signals.next() => {
            tracing::warn!(name, "hosts in flight are handed over at once");
            worker.abandon();
        }
    }
    match worker.finished().await {
        Ok(finished) if finished.unfinished.is_empty() => {}
        Ok(finished) => {
            let hosts = finished.unfinished.len();
            tracing::warn!(hosts, "hosts in flight were left to the next process");
        }
        Err(error) => tracing::error!(%error, "the worker did not end well"),
    }
}
