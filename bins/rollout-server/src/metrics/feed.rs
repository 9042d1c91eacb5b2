//! Counts what happens, by following the feed. With several servers on one store each counts everything.

use std::time::Duration;

use fleet_store::{DieselStore, Feed, Lists};
use fleet_types::{Event, EventKind, Reason, Seq, StepId};
use metrics::{counter, gauge, histogram};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const BATCH: u32 = 500;

/// How a rollout may end.
const HALTED: &str = "halted";
const ABORTED: &str = "aborted";
const SUCCEEDED: &str = "succeeded";
const SUCCEEDED_WITH_FAILURES: &str = "succeeded_with_failures";
/// How a host may end.
const RESULTS: [&str; 4] = ["success", "failed", "rolled_back", "skipped"];
const OTHER: &str = "other";

/// Follows the feed from its end until cancelled.
pub(crate) async fn follow(store: &DieselStore, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = count_all(store) => {}
    }
}

async fn count_all(store: &DieselStore) {
    let mut after: Option<Seq> = None;
    let mut told = false;
    loop {
        let Err(error) = count_next(store, &mut after).await else {
            told = false;
            continue;
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "the feed could not be followed; trying again");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn count_next(
    store: &DieselStore,
    after: &mut Option<Seq>,
) -> Result<(), fleet_store::StoreError> {
    let Some(last) = *after else {
        *after = Some(store.last_seq().await?);
        return Ok(());
    };
    store.events_wait(last, PATIENCE).await?;
    let head = store.last_seq().await?;
    let events = store.events_after(last, None, BATCH).await?;
    for event in &events {
        count(event);
        *after = Some(event.seq);
    }
    if events.is_empty() {
        // What there is up to here only a newer program understands; waiting for it again would not wait.
        *after = Some(head.max(last));
    }
    Ok(())
}

/// Every result that there may be, none counted yet.
pub(super) fn begin() {
    for result in [HALTED, ABORTED, SUCCEEDED, SUCCEEDED_WITH_FAILURES] {
        counter!(ROLLOUTS, "result" => result).absolute(0);
    }
    for result in RESULTS.into_iter().chain([OTHER]) {
        counter!(HOST_RESULTS, "result" => result).absolute(0);
    }
}

fn count(event: &Event) {
    match event.kind {
        EventKind::RolloutHalted => ended(event, HALTED),
        EventKind::RolloutAborted => ended(event, ABORTED),
        EventKind::RolloutFinished => finished(event),
        EventKind::HostFinished => host(event),
        EventKind::HostStep => step(event),
        _ => {}
    }
}

fn finished(event: &Event) {
    let clean = event.status.as_deref() == Some("completed");
    let result = if clean {
        SUCCEEDED
    } else {
        SUCCEEDED_WITH_FAILURES
    };
    ended(event, result);
    if clean {
        gauge!(LAST_SUCCESS).set(event.at.0 as f64 / 1000.0);
    }
}

fn ended(event: &Event, result: &'static str) {
    counter!(ROLLOUTS, "result" => result).increment(1);
    if let Some(seconds) = event.duration_seconds {
        histogram!(ROLLOUT_TIME, "result" => result).record(seconds);
    }
}

fn host(event: &Event) {
    let status = event.status.as_deref().unwrap_or_default();
    let result = RESULTS
        .into_iter()
        .find(|word| *word == status)
        .unwrap_or(OTHER);
    counter!(HOST_RESULTS, "result" => result).increment(1);
    if let Some(seconds) = event.duration_seconds {
        histogram!(HOST_TIME, "result" => result).record(seconds);
    }
}

fn step(event: &Event) {
    // Only words of our own become labels.
    let word = event.step.as_deref().unwrap_or_default();
    let step = word.parse::<StepId>().map_or("other", |step| step.as_str());
    let outcome = match event.status.as_deref() {
        Some("ok") => "ok",
        Some("failed") => "failed",
        _ => return,
    };
    if let Some(seconds) = event.duration_seconds {
        histogram!(STEP_TIME, "step" => step, "outcome" => outcome).record(seconds);
    }
    if outcome == "failed" {
        let word = event.reason.as_deref().unwrap_or_default();
        let code = word
            .parse::<Reason>()
            .map_or("other", |reason| reason.as_str());
        counter!(STEP_FAILURES, "step" => step, "code" => code).increment(1);
    }
}
