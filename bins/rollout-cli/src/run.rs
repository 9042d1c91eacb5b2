//! Works on a rollout in this process, shows it, and listens for signals.

use std::sync::Arc;
use std::time::Duration;

use fleet_types::{HostName, RolloutId, StepId, view};
use rollout_orchestrator::{Retention, Worker, WorkerStatus};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::display::live::TICK;
use crate::display::summary::{Details, summary, worth_a_look};
use crate::display::{for_output, words};
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::fleet::{DatabaseFleet, Fleet, Rollouts};
use crate::follow::Follower;
use crate::output::Output;
use crate::signals::{Caught, Over, Signals};
use crate::stopping::{Said, Stopping, TERM_GRACE, Unheard, left_unheard};

/// How long it takes until events that could not be read are asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// How long tidying up after a rollout may take; what is left is for the next time.
const TIDYING: Duration = Duration::from_secs(2);
/// How long the worker may take to leave at once, whether the database answers or not.
const LEAVING: Duration = Duration::from_secs(3);
/// The same when the database does answer: a goodbye that a host is slow to take does not keep the lease from being given up.
const GOODBYES: Duration = Duration::from_secs(7);
/// How long it may take to read how things stand, when this program is about to leave: with [`TERM_GRACE`] and [`GOODBYES`]
/// no more than 30 s.
const CLOSING: Duration = Duration::from_secs(2);

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
    /// For as long as nothing but telling of it is left to be done: a rollout that was worked on here and is over.
    pub over: Option<Over>,
}

/// Works on the rollout until it is over or a signal ends it. The first Ctrl-C pauses it and lets the hosts in flight
/// finish; the second leaves at once. Whatever is asked of the database meanwhile is asked beside, so that no signal waits
/// for an answer; and a database that never answers does not keep whoever wants to leave.
pub(crate) async fn work(
    database: &DatabaseFleet,
    id: RolloutId,
    mut worker: Worker,
) -> Result<Ended, Failure> {
    let mut follower = Follower::new(database.fleet(), id, for_output(database.out)).await?;
    let mut signals = Signals::new(database.out)?;
    let mut status = worker.watch();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut trouble = None;
    let (mut unshown, mut unread): (Option<Failure>, Option<Failure>) = (None, None);
    let mut stopping: Option<Stopping> = None;
    let mut next = follower.next();
    let finished = loop {
        tokio::select! {
            finished = worker.finished() => break Some(finished?.unfinished),
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
                if signal == Caught::Again {
                    break None;
                }
                // First here, where it needs no answer from the store; then on record.
                worker.stop(if signal == Caught::Terminate { TERM_GRACE } else { Duration::MAX });
                stopping = Some(Stopping::begin(database, id, signal, worker.watch()));
            }
            said = what_comes_of(&mut stopping) => match said {
                Said::Note(text) => follower.note(&text),
                Said::Leave => break None,
            },
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
    let patience = match (&finished, &stopping) {
        (None, _) => Some(CLOSING),
        (Some(_), Some(stopping)) => Some(stopping.patience()),
        (Some(_), None) => None,
    };
    let unfinished = match finished {
        Some(unfinished) => unfinished,
        None => leave_now(&mut worker, stopping.as_ref(), &mut signals).await,
    };
    let closing = close(database, id, &mut follower, stopping.as_mut());
    let read = tokio::select! {
        read = closing => Ok(read),
        why = run_out(patience, &mut signals) => Err(why),
    };
    follower.close();
    let read = match read {
        Ok(read) => read,
        Err(why) => {
            database.leave_open();
            let unheard = match why {
                Unwaited::Late => Unheard::silent(stopping.as_ref().map(Stopping::silence)),
                Unwaited::Signal => Unheard::Unwaited,
            };
            return Err(left_unheard(id, &unfinished, &unheard));
        }
    };
    let (rollout, hosts) = match (unshown, read) {
        (Some(failure), _) => return Err(failure),
        // The database could not be asked; what was done before that was not refused.
        (None, Err(failure)) if signals.came_before && failure.exit == Exit::Refused => {
            let unheard = Unheard::Silent(failure.what());
            return Err(left_unheard(id, &unfinished, &unheard));
        }
        (None, read) => read?,
    };
    let is_over = !rollout.state.is_active();
    Ok(Ended {
        // From before nobody listens to signals any more.
        over: is_over.then(|| Over::with(Exit::of_rollout(&rollout, &hosts))),
        rollout,
        hosts,
        unfinished,
        why: follower.model.why.take(),
        interrupted: signals.came_before,
    })
}

/// Nothing, for as long as nobody wants this program to stop.
async fn what_comes_of(stopping: &mut Option<Stopping>) -> Said {
    match stopping {
        Some(stopping) => stopping.next().await,
        None => std::future::pending().await,
    }
}

/// Shows all that happened, and reads how the rollout stands.
async fn close(
    database: &DatabaseFleet,
    id: RolloutId,
    follower: &mut Follower,
    stopping: Option<&mut Stopping>,
) -> Result<(view::Rollout, Vec<view::Host>), Failure> {
    if let Some(stopping) = stopping
        && let Some(text) = stopping.paused().await
    {
        follower.note(&text);
    }
    follower.catch_up().await?;
    Ok((
        database.rollout(id).await?,
        database.rollout_hosts(id).await?,
    ))
}

/// Why it is not waited any longer until it is read how things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwaited {
    /// It has taken too long.
    Late,
    /// Who wants to leave does not wait.
    Signal,
}

/// Returns when it has taken too long. Who has not been asked to stop has all the time until then; a signal leaves no more
/// than [`CLOSING`], and one within that nothing.
async fn run_out(patience: Option<Duration>, signals: &mut Signals) -> Unwaited {
    let mut until = patience.map(|patience| Instant::now() + patience);
    loop {
        tokio::select! {
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return Unwaited::Late,
            _ = signals.next() => {
                let soon = Instant::now() + CLOSING;
                if until.is_some_and(|until| until <= soon) {
                    return Unwaited::Signal;
                }
                until = Some(soon);
            }
        }
    }
}

/// Leaves what is in flight to the next process: these hosts. Signals that come meanwhile ask for what is being done already,
/// so that they say nothing of what comes after it; they only cut short what a host is slow to take.
async fn leave_now(
    worker: &mut Worker,
    stopping: Option<&Stopping>,
    signals: &mut Signals,
) -> Vec<HostName> {
    let in_flight = worker.status().in_flight;
    let begun = Instant::now();
    worker.abandon();
    let finished = match timeout(LEAVING, worker.finished()).await {
        Err(_) if stopping.is_some_and(|stopping| stopping.was_answered_since(begun)) => {
            tokio::select! {
                finished = worker.finished() => Some(finished),
                () = sleep_until(begun + GOODBYES) => None,
                _ = signals.next() => None,
            }
        }
        finished => finished.ok(),
    };
    signals.forget();
    match finished {
        Some(Ok(finished)) => finished.unfinished,
        Some(Err(_)) | None => in_flight,
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
        let details = details_in_time(fleet, ended).await?;
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

/// The same, but whoever wants to leave does not wait for what steps printed.
async fn details_in_time(fleet: &dyn Fleet, ended: &Ended) -> Result<Details, Failure> {
    if !ended.interrupted {
        return details(fleet, ended).await;
    }
    let without = |_| {
        Ok(Details {
            why: ended.why.clone(),
            ..Details::default()
        })
    };
    timeout(CLOSING, details(fleet, ended))
        .await
        .unwrap_or_else(without)
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
    out.shout(format!(
        "interrupted: a step may still run on {}; the next process settles them: rollout-cli resume {id}",
        words::names(&ended.unfinished)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::tests::heard;

    const INT: Caught = Caught::Interrupt;

    /// What ends the wait when signals come after so many seconds, and after how many seconds that is.
    async fn check(patience: Option<u64>, signals: &[u64], expected: (Unwaited, u64)) {
        let (tell, mut heard) = heard();
        let begun = Instant::now();
        let telling = async {
            for at in signals {
                sleep_until(begun + Duration::from_secs(*at)).await;
                let _ = tell.send(INT);
            }
            std::future::pending::<()>().await;
        };
        let patience = patience.map(Duration::from_secs);
        let why = tokio::select! {
            why = run_out(patience, &mut heard) => why,
            () = telling => unreachable!("it tells for ever"),
        };
        let case = (patience, signals);
        assert_eq!((why, begun.elapsed().as_secs()), expected, "{case:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_is_not_taken_for_a_silence() {
        use Unwaited::{Late, Signal};
        check(Some(2), &[], (Late, 2)).await;
        check(Some(2), &[1], (Signal, 1)).await;
        check(Some(25), &[4], (Late, 6)).await;
        check(Some(25), &[4, 5], (Signal, 5)).await;
        check(None, &[40], (Late, 42)).await;
        check(None, &[40, 41], (Signal, 41)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn signals_that_came_while_it_left_say_nothing_of_what_comes_after() {
        let (tell, mut signals) = heard();
        // One more than are kept.
        for _ in 0..5 {
            tell.send(INT).expect("it is heard");
        }
        signals.forget();
        assert!(signals.came_before);
        assert_eq!(run_out(Some(CLOSING), &mut signals).await, Unwaited::Late);
    }
}
