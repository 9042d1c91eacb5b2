//! Rollouts that a server works on: started, followed, and stopped when the person who watches says so.

use std::time::Duration;

use fleet_types::{HostName, RolloutId, RolloutState, view};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::plan;
use crate::ask::{Answer, Question, ask};
use crate::display::for_output;
use crate::display::live::TICK;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Asked, Rollouts as _, ServerFleet};
use crate::follow::{Follower, Looks};
use crate::output::Output;
use crate::run::{Ended, summarize};
use crate::signals::{Caught, Signals};
use crate::stopping::TERM_GRACE;

/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(3);

/// Asks, starts, and follows to the end. The two options: whether the person is sure already, and whether they leave once
/// it is started.
pub(crate) async fn carry_out(
    server: &ServerFleet,
    asked: &Asked,
    (sure, detach): (bool, bool),
    question: impl Fn(&view::Plan) -> Question,
) -> Result<Exit, Failure> {
    let mut seen = None;
    if !sure {
        server.refuse_when_active().await?;
        let planned = server.plan(asked).await?;
        if let Some(why) = &planned.unresolved {
            plan::unresolved(server.out, &planned.plan, why);
        }
        server.out.say(plan::text(&planned.plan));
        match ask(server.out, question(&planned.plan)).await? {
            Answer::Yes => seen = Some(asked.as_seen(&planned.plan)),
            Answer::No => {
                server.out.say("nothing was changed");
                return Ok(Exit::Refused);
            }
            Answer::Interrupted => {
                // The question's line has no end yet.
                server.out.shout("");
                let what = "interrupted: nothing was changed";
                return Err(Failure::new(Exit::Interrupted, what));
            }
        }
    }
    let rollout = server.start(seen.as_ref().unwrap_or(asked)).await?;
    if detach {
        return handed_over(server.out, &rollout);
    }
    follow(server, rollout.id).await
}

/// Says that a server does the work from here on.
pub(crate) fn handed_over(out: Output, rollout: &view::Rollout) -> Result<Exit, Failure> {
    if out.json {
        out.object(&json!({ "rollout": rollout }))?;
    }
    let id = rollout.id.short();
    out.say(format!("rollout {id} is started; a server does the work"));
    out.next(&[(format!("rollout-cli watch {id}"), "follow it to its end")]);
    Ok(Exit::Done)
}

/// Follows a rollout to its end. The first Ctrl-C pauses it and waits for the hosts in flight; the second leaves at once.
/// Whatever is asked of the server meanwhile is asked beside, so that no signal waits for an answer.
async fn follow(server: &ServerFleet, id: RolloutId) -> Result<Exit, Failure> {
    let mut follower = Follower::new(server.fleet(), id, for_output(server.out)).await?;
    let mut signals = Signals::new(server.out)?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut looks = Looks::new(server.fleet(), id);
    let mut pausing = JoinSet::new();
    let (mut paused, mut leave_at) = (false, None);
    let mut next = follower.next();
    while !follower.model.is_over() {
        tokio::select! {
            events = &mut next => {
                follower.heard(events).await?;
                next = follower.next();
            }
            _ = ticks.tick() => follower.tick(),
            signal = signals.next() => {
                if signal == Caught::Again {
                    break;
                }
                // Whoever sends SIGTERM waits for an end; the server does the work without us.
                leave_at = (signal == Caught::Terminate).then(|| Instant::now() + TERM_GRACE);
                pausing.spawn(pause(server.clone(), id));
            }
            Some(said) = pausing.join_next() => {
                paused = true;
                follower.note(&said.unwrap_or_default());
            }
            rollout = looks.next(), if paused => {
                if rollout.state == RolloutState::Paused && rollout.counts.updating == 0 {
                    break;
                }
            }
            () = sleep_until(leave_at.unwrap_or_else(Instant::now)), if leave_at.is_some() => break,
        }
    }
    follower.close();
    let why = follower.model.why.take();
    if !signals.came_before {
        let ended = ended(server, id, why).await?;
        return summarize(server, server.out, &ended).await;
    }
    // Whoever wants to leave does not wait for a server that does not answer.
    let closing = async {
        let ended = ended(server, id, why).await?;
        let exit = summarize(server, server.out, &ended).await?;
        if exit == Exit::Interrupted {
            tell_what_runs(server.out, &ended);
        }
        Ok(exit)
    };
    timeout(LEAVING, closing).await.unwrap_or_else(|_| {
        let id = id.short();
        server.out.shout(format!(
            "interrupted: how rollout {id} stands is not known, the server does not answer; rollout-cli watch {id} follows it"
        ));
        Ok(Exit::Interrupted)
    })
}

async fn ended(server: &ServerFleet, id: RolloutId, why: Option<String>) -> Result<Ended, Failure> {
    let hosts = server.rollout_hosts(id).await?;
    Ok(Ended {
        rollout: server.rollout(id).await?,
        unfinished: in_flight(&hosts),
        hosts,
        why,
        interrupted: false,
        over: None,
    })
}

/// Pauses, and says what came of it.
async fn pause(server: ServerFleet, id: RolloutId) -> String {
    let what = match server.pause(id).await {
        Ok(()) => "paused: no further host is started, those in flight finish".to_owned(),
        // It is ending by itself, or the server cannot be asked; what is in flight finishes all the same.
        Err(failure) => format!("not paused ({})", failure.what()),
    };
    format!("{what}. Ctrl-C again leaves at once")
}

fn in_flight(hosts: &[view::Host]) -> Vec<HostName> {
    let updating = |host: &&view::Host| {
        let status = host.attempt.as_ref().map(|attempt| attempt.status);
        status == Some(fleet_types::AttemptStatus::Updating)
    };
    hosts
        .iter()
        .filter(updating)
        .filter_map(|host| host.name.parse().ok())
        .collect()
}

fn tell_what_runs(out: Output, ended: &Ended) {
    let id = ended.rollout.id.short();
    let state = crate::display::words::state(ended.rollout.state);
    let goes_on = match (ended.rollout.state, ended.unfinished.len()) {
        (RolloutState::Paused, 0) => format!("nothing runs; rollout-cli resume {id} goes on"),
        (RolloutState::Paused, _) => {
            format!("the server finishes the hosts in flight; rollout-cli resume {id} goes on")
        }
        _ => format!("the server goes on with it; rollout-cli watch {id} follows it"),
    };
    out.shout(format!("interrupted: rollout {id} is {state}; {goes_on}"));
}
