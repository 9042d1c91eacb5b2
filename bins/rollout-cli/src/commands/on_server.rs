//! Rollouts that a server works on: started, followed, and stopped when the person who watches says so.

use std::time::Duration;

use fleet_types::{HostName, RolloutId, RolloutState, view};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::plan;
use crate::ask::{Answer, ask};
use crate::display::for_output;
use crate::display::live::TICK;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Asked, Rollouts as _, ServerFleet};
use crate::follow::Follower;
use crate::output::Output;
use crate::run::{Caught, Ended, Signals, summarize};

/// How often it is looked whether a paused rollout has come to rest.
const LOOK: Duration = Duration::from_secs(1);

/// Asks, starts, and follows to the end. The two options: whether the person is sure already, and whether they leave once
/// it is started.
pub(crate) async fn carry_out(
    server: &ServerFleet,
    asked: &Asked,
    (sure, detach): (bool, bool),
    question: fn(&view::Plan) -> String,
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
            Answer::Yes => seen = Some(asked.in_order_of(&planned.plan)),
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
async fn follow(server: &ServerFleet, id: RolloutId) -> Result<Exit, Failure> {
    let mut follower = Follower::new(server.fleet(), id, for_output(server.out)).await?;
    let mut signals = Signals::new()?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut looks = interval(LOOK);
    let mut paused = false;
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
                paused = true;
                pause(server, id, &mut follower).await;
            }
            _ = looks.tick(), if paused => {
                if is_at_rest(server, id).await {
                    break;
                }
            }
        }
    }
    follower.close();
    let hosts = server.rollout_hosts(id).await?;
    let ended = Ended {
        rollout: server.rollout(id).await?,
        unfinished: in_flight(&hosts),
        hosts,
        why: follower.model.why.take(),
        interrupted: signals.came_before,
    };
    let exit = summarize(server, server.out, &ended).await?;
    if exit == Exit::Interrupted {
        tell_what_runs(server.out, &ended);
    }
    Ok(exit)
}

async fn pause(server: &ServerFleet, id: RolloutId, follower: &mut Follower) {
    let what = match server.pause(id).await {
        Ok(()) => "paused: no further host is started, those in flight finish".to_owned(),
        // It is ending by itself, or the server cannot be asked; what is in flight finishes all the same.
        Err(failure) => format!("not paused ({})", failure.what()),
    };
    follower.note(&format!("{what}. Ctrl-C again leaves at once"));
}

/// Whether a rollout that was to be paused is, with nothing in flight. Not known is no.
async fn is_at_rest(server: &ServerFleet, id: RolloutId) -> bool {
    server
        .rollout(id)
        .await
        .is_ok_and(|rollout| rollout.state == RolloutState::Paused && rollout.counts.updating == 0)
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
