//! `watch`

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::{Global, Which};
use crate::display::for_output;
use crate::display::live::TICK;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{self, Place};
use crate::follow::{Follower, Looks};
use crate::output::Output;
use crate::run::{Ended, conclude};

/// Follows a rollout to its end and exits by its result.
pub(crate) async fn run(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let place = Place::open(global, out, Default::default()).await?;
    let fleet = place.fleet();
    let id = fleet::which(&*fleet, which).await?;
    let mut follower = Follower::new(place.fleet(), id, for_output(out)).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut looks = Looks::new(place.fleet(), id);
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::unexpected("signals cannot be listened to").why(error))?;
    let mut attended = true;
    let mut next = follower.next();
    while !follower.model.is_over() {
        tokio::select! {
            events = &mut next => {
                follower.heard(events).await?;
                next = follower.next();
            }
            _ = ticks.tick() => follower.tick(),
            rollout = looks.next() => {
                if attended && !rollout.attended && rollout.state.is_active() {
                    let id = id.short();
                    follower.note(&format!("no live process works on it; to go on: rollout-cli resume {id}"));
                }
                attended = rollout.attended;
            }
            _ = interrupts.recv() => {
                follower.close();
                out.shout(format!("stopped watching; rollout {} is not affected", id.short()));
                out.next(&[("rollout-cli watch".to_owned(), "follow it again")]);
                return Ok(Exit::Interrupted);
            }
        }
    }
    follower.close();
    let ended = Ended {
        rollout: fleet.rollout(id).await?,
        hosts: fleet.rollout_hosts(id).await?,
        unfinished: Vec::new(),
        why: follower.model.why.take(),
        interrupted: false,
        over: None,
    };
    conclude(&*fleet, out, &ended).await
}
