//! Works on a rollout in this process, shows it, and listens for signals.

use std::sync::Arc;
use std::time::Duration;

use fleet_types::{HostName, RolloutId, StepId, view};
use rollout_orchestrator::{Finished, Retention, Worker, WorkerStatus};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::display::live::TICK;
use crate::display::summary::{Details, summary, worth_a_look};
use crate::display::{for_output, words};
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{DatabaseFleet, Fleet, Rollouts};
use crate::follow::Follower;
use crate::output::Output;

/// How long the hosts in flight may take after SIGTERM; the rest of the 30 s is for leaving.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(25);
/// How long it takes until events that could not be read are asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// How long tidying up after a rollout may take; what is left is for the next time.
const TIDYING: Duration = Duration::from_secs(2);
/// How long leaving at once may take.
const LEAVING: Duration = Duration::from_secs(2);

/// How the work in this process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The rollout as it stands.
    pub rollout: view::Rollout,
    /// The hosts that have a part in it.
    pub hosts: Vec<view::Host>,
    /// Hosts that were left in flight.
    pub unfinished: Vec<HostName>,
    /// Why it ended, for people.
    pub why: Option<String>,
    /// A signal asked this program to stop, even if the rollout was over by then.
    pub interrupted: bool,
}

/// Works on the rollout until it is over or a signal ends it. The first Ctrl-C pauses it and lets the hosts in flight
/// finish; the second leaves at once.
pub(crate) async fn work(
    database: &DatabaseFleet,
    id: RolloutId,
    mut worker: Worker,
) -> Result<Ended, Failure> {
    let mut follower = Follower::new(database.fleet(), id, for_output(database.out)).await?;
    let mut signals = Signals::new()?;
    let mut status = worker.watch();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut trouble = None;
    let (mut unshown, mut unread): (Option<Failure>, Option<Failure>) = (None, None);
    let mut next = follower.next();
    let finished = loop {
        tokio::select! {
            finished = worker.finished() => break finished?,
            events = &mut next => {
                match events {
                    // What cannot be shown does not stop what is done to hosts.
                    Ok(events) => {
                        if let Err(failure) = follower.take(&events) {
                            unshown.get_or_insert(failure);
                        }
                    }
                    Err(failure) => {
                        if unread.is_none() {
                            follower.note(&format!("the events cannot be read now: {}", failure.lines().concat()));
                        }
                        unread = Some(failure);
                        sleep(RETRY).await;
                    }
                }
                next = follower.next();
            }
            _ = ticks.tick() => follower.tick(),
            signal = signals.next() => {
                let leave = interrupted(database, id, &worker, &mut follower, signal).await;
                if leave {
                    break leave_now(&mut worker).await;
                }
            }
            changed = status.changed() => {
                // The sender goes away when the worker is done, which the first branch sees.
                if changed.is_ok() {
                    let now = status.borrow_and_update().clone();
                    tell_trouble(&now, &mut trouble, &mut follower);
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    let shown = follower.catch_up().await;
    follower.close();
    if let Some(failure) = unshown.or(shown.err()) {
        return Err(failure);
    }
    Ok(Ended {
        rollout: database.rollout(id).await?,
        hosts: database.rollout_hosts(id).await?,
        unfinished: finished.unfinished,
        why: follower.model.why.take(),
        interrupted: signals.came_before,
    })
}

/// What to do on a signal. True: leave at once.
async fn interrupted(
    database: &DatabaseFleet,
    id: RolloutId,
    worker: &Worker,
    follower: &mut Follower,
    signal: Caught,
) -> bool {
    if signal == Caught::Again {
        return true;
    }
    // First here, where it needs no answer from the store; then on record.
    worker.stop(if signal == Caught::Terminate {
        TERM_GRACE
    } else {
        Duration::MAX
    });
    let paused = database.pause(id).await;
    let waits = match worker.status().in_flight.len() {
        0 => "nothing is in flight".to_owned(),
        count => format!(
            "{} in flight finish",
            words::hosts(u32::try_from(count).unwrap_or(u32::MAX))
        ),
    };
    let what = match paused {
        Ok(()) => format!("paused: no further host is started, {waits}"),
        // It is ending by itself, or cannot be reached; what is in flight finishes all the same.
        Err(failure) => format!("stopping ({}): {waits}", failure.what()),
    };
    let how = if signal == Caught::Terminate {
        ""
    } else {
        ". Ctrl-C again leaves at once"
    };
    follower.note(&format!("{what}{how}"));
    false
}

/// Leaves what is in flight to the next process.
async fn leave_now(worker: &mut Worker) -> Finished {
    let in_flight = worker.status().in_flight;
    worker.abandon();
    match timeout(LEAVING, worker.finished()).await {
        Ok(Ok(finished)) => finished,
        Ok(Err(_)) | Err(_) => Finished {
            record: None,
            unfinished: in_flight,
        },
    }
}

/// Says once what keeps the worker from going on.
fn tell_trouble(status: &WorkerStatus, known: &mut Option<String>, follower: &mut Follower) {
    let credential = status.cannot_load.first().map(|(host, why)| {
        format!("the key for {host} cannot be used here, so another process has to do it: {why}")
    });
    let trouble = status.trouble.clone().or(credential);
    if trouble != *known {
        if let Some(text) = &trouble {
            follower.note(&format!("waiting: {}", one_line(text)));
        }
        *known = trouble;
    }
}

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    Interrupt,
    Terminate,
    /// A second one of either kind.
    Again,
}

/// Listens for Ctrl-C and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Whether one came already.
    pub came_before: bool,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::unexpected("signals cannot be listened to").why(error))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            came_before: false,
        })
    }

    pub(crate) async fn next(&mut self) -> Caught {
        let caught = tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        };
        if std::mem::replace(&mut self.came_before, true) {
            Caught::Again
        } else {
            caught
        }
    }
}

/// The last line of a stream of events.
#[derive(Serialize)]
struct SummaryLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    rollout: &'a view::Rollout,
    hosts: &'a [view::Host],
}

/// Writes the summary and says how the program ends.
pub(crate) async fn conclude(
    fleet: &dyn Fleet,
    out: Output,
    ended: &Ended,
) -> Result<Exit, Failure> {
    let exit = summarize(fleet, out, ended).await?;
    if exit == Exit::Interrupted {
        tell_what_runs(out, ended);
    }
    Ok(exit)
}

/// The same for a rollout that this process worked on. Once that is over, what steps printed long ago is removed.
pub(crate) async fn conclude_own(database: &DatabaseFleet, ended: &Ended) -> Result<Exit, Failure> {
    let exit = conclude(database, database.out, ended).await?;
    if !ended.interrupted && !ended.rollout.state.is_active() {
        tidy_up(database).await;
    }
    Ok(exit)
}

/// Nobody asked for it: what goes wrong is told in the log alone. What a database that several share keeps is for its
/// servers to say, not for the configuration of whoever comes by.
async fn tidy_up(database: &DatabaseFleet) {
    if !database.settings.database_url.starts_with("sqlite://") {
        return;
    }
    let Some(days) = database.settings.history.output_days else {
        return;
    };
    let retention = Retention::new(Arc::clone(&database.admin) as _, days);
    match timeout(TIDYING, retention.run_once()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "old outputs of steps could not be removed"),
        Err(_) => tracing::debug!("not all old outputs of steps were removed this time"),
    }
}

/// Writes the summary.
pub(crate) async fn summarize(
    fleet: &dyn Fleet,
    out: Output,
    ended: &Ended,
) -> Result<Exit, Failure> {
    let exit = Exit::of_rollout(&ended.rollout, &ended.hosts);
    let exit = if ended.rollout.state.is_active() {
        Exit::Interrupted
    } else {
        exit
    };
    if out.json {
        summary_line(out, ended)?;
    } else {
        let details = details(fleet, ended).await?;
        out.data(&summary(&ended.rollout, &ended.hosts, exit, &details))?;
    }
    Ok(exit)
}

/// Writes the last line of the stream of events.
pub(crate) fn summary_line(out: Output, ended: &Ended) -> Result<(), Failure> {
    out.object(&SummaryLine {
        kind: "summary",
        rollout: &ended.rollout,
        hosts: &ended.hosts,
    })
}

/// What the summary says beyond rollout and hosts.
pub(crate) async fn details(fleet: &dyn Fleet, ended: &Ended) -> Result<Details, Failure> {
    let mut details = Details {
        why: ended.why.clone(),
        ..Details::default()
    };
    for host in worth_a_look(&ended.hosts) {
        let Ok(name) = host.name.parse() else {
            continue;
        };
        let step = host
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.step.clone());
        let steps = fleet
            .steps(ended.rollout.id, &name)
            .await?
            .unwrap_or_default();
        let step: Option<StepId> = step.and_then(|step| step.parse().ok());
        let deciding = steps
            .iter()
            .rev()
            .find(|record| step.is_none_or(|step| record.step == step));
        if let Some(line) = deciding.and_then(last_line) {
            details.output.insert(host.name.clone(), line);
        }
    }
    Ok(details)
}

fn last_line(output: &view::StepOutput) -> Option<String> {
    let lines = |text: &str| {
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(one_line)
    };
    lines(&output.stderr).or_else(|| lines(&output.stdout))
}

fn tell_what_runs(out: Output, ended: &Ended) {
    let id = ended.rollout.id.short();
    if ended.unfinished.is_empty() {
        out.shout(format!(
            "interrupted: rollout {id} is {}, nothing runs",
            words::state(ended.rollout.state)
        ));
        return;
    }
    let names: Vec<&str> = ended
        .unfinished
        .iter()
        .map(HostName::as_str)
        .take(10)
        .collect();
    let more = ended.unfinished.len().saturating_sub(names.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    out.shout(format!(
        "interrupted: a step may still run on {}{more}; the next process settles them: rollout-cli resume {id}",
        names.join(", ")
    ));
}
