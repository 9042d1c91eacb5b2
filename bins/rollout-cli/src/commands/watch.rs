//! `watch`

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::{Global, Which};
use crate::context::Context;
use crate::display::for_output;
use crate::display::live::TICK;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow::{Follower, rollout_hosts, rollout_view};
use crate::output::Output;
use crate::run::{Ended, conclude};

/// How often it is looked whether anybody works on it.
const LOOK: Duration = Duration::from_secs(2);

/// Follows a rollout to its end and exits by its result.
pub(crate) async fn run(which: &Which, global: &Global, out: Output) -> Result<Exit, Failure> {
    let context = Context::open(global, out, Default::default()).await?;
    let id = context.rollout(which).await?;
    let mut follower = Follower::new(&context.store, id, for_output(out)).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut looks = interval(LOOK);
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::unexpected("signals cannot be listened to").why(error))?;
    let mut attended = true;
    let mut next = follower.next();
    while !follower.model.is_over() {
        tokio::select! {
            events = &mut next => {
                follower.take(&events?)?;
                next = follower.next();
            }
            _ = ticks.tick() => follower.tick(),
            _ = looks.tick() => {
                let rollout = rollout_view(&context.store, id).await?;
                if attended && !rollout.attended && rollout.state.is_active() {
                    let id = id.short();
                    follower.note(&format!("no live process works on it; to go on: rollout-cli resume {id}"));
                }
                attended = rollout.attended;
            }
            _ = interrupts.recv() => {
                follower.close();
                context.out.shout(format!("stopped watching; rollout {} is not affected", id.short()));
                context.out.next(&[("rollout-cli watch".to_owned(), "follow it again")]);
                return Ok(Exit::Interrupted);
            }
        }
    }
    follower.close();
    let ended = Ended {
        rollout: rollout_view(&context.store, id).await?,
        hosts: rollout_hosts(&context.store, id).await?,
        unfinished: Vec::new(),
        why: follower.model.why.take(),
        interrupted: false,
    };
    conclude(&context, &ended).await
}
