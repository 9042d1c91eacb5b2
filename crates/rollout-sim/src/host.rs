//! A host at its end of the connection: its lock, the time that commands take, what goes wrong there.

use std::sync::Arc;
use std::time::Duration;

use ssh_exec::{CommandOutput, Endpoint, RemoteCommand, SessionError, Transport};
use tokio::time::{sleep, timeout};
use update_engine::testing::{SimFault, SimWhat};

use crate::world::World;

/// What a host says to a command.
pub(crate) enum Reply {
    Said(Result<CommandOutput, SessionError>),
    /// It cannot say anything any more.
    Nothing,
}

/// Whether a command of this name changes a host.
pub(crate) fn changes(name: &str) -> bool {
    matches!(
        name,
        "pull"
            | "install"
            | "restart"
            | "rollback_checkout"
            | "rollback_install"
            | "rollback_restart"
            | "health_restart"
    )
}

/// Does one command, under the host's lock where it asks for that, and to its end whatever becomes of who sent it.
pub(crate) async fn execute(
    world: &Arc<World>,
    endpoint: &Endpoint,
    command: &RemoteCommand,
    (from, order): (u32, u64),
) -> Reply {
    let host = &endpoint.name;
    let lock = world.lock_of(host);
    let _held = match command.guard() {
        None => None,
        Some(guard) => {
            let wait = Duration::from_secs(u64::from(guard.wait_seconds));
            // At no time at all the lock is tried once.
            match timeout(wait.max(Duration::from_millis(1)), lock.lock_owned()).await {
                Ok(held) => Some(held),
                Err(_) => {
                    world.note(format_args!(
                        "{host}: {} finds the lock taken",
                        command.name()
                    ));
                    return Reply::Said(Ok(busy()));
                }
            }
        }
    };
    let (takes, first, fault) = plan(world, host, command);
    let number = world.check(|checker| checker.begins(host, command, from));
    if !first {
        sleep(takes).await;
    }
    let answer = apply(world, endpoint, command, fault).await;
    let ran = world.fleet.host(host).is_some_and(|host| {
        let last = host.received.last();
        last.is_some_and(|command| command.ran)
    });
    world.check(|checker| checker.applied(host, command, from, order));
    if first && ran {
        sleep(takes).await;
    }
    world.check(|checker| checker.ends(number));
    world.note(format_args!(
        "{host}: {} of p{from} {}",
        command.name(),
        told(ran, &answer)
    ));
    answer
}

fn told(ran: bool, reply: &Reply) -> String {
    match reply {
        _ if !ran => "did not run".to_owned(),
        Reply::Said(Ok(output)) => format!("ended, {}", output.exit),
        Reply::Said(Err(error)) => error.to_string(),
        Reply::Nothing => "ended, and nothing is told".to_owned(),
    }
}

fn busy() -> CommandOutput {
    CommandOutput {
        exit: 75,
        facts: [("guard".to_owned(), "busy".to_owned())].into(),
        ..CommandOutput::default()
    }
}

/// How long it takes, whether it takes effect at its beginning, and what goes wrong.
fn plan(world: &World, host: &str, command: &RemoteCommand) -> (Duration, bool, Option<SimWhat>) {
    let (takes, first, fault) = world.dice(|dice| {
        let takes = dice.millis(world.schedule.slow);
        let first = dice.below(2) == 0;
        let strikes = dice.chance(world.rates_at(command.name()).host);
        let all = [
            SimWhat::Fails,
            SimWhat::FailsHalfway,
            SimWhat::TimesOut,
            SimWhat::Crashes,
            SimWhat::ShellBroken,
            SimWhat::Busy,
            SimWhat::Fenced("another-store".to_owned(), 7),
            SimWhat::Fenced(world.store_name(), beyond(world, host)),
        ];
        (takes, first, dice.pick(&all).filter(|_| strikes))
    });
    // The host's own limit would end what takes longer; that is a fault of its own.
    let takes = takes.min(Duration::from_secs(20));
    let Some(what) = fault else {
        return (takes, first, None);
    };
    let guarded = command.guard().is_some();
    let fits = match &what {
        SimWhat::Busy | SimWhat::Fenced(..) => guarded,
        SimWhat::FailsHalfway | SimWhat::TimesOut => changes(command.name()),
        // Looks end well whatever they find.
        SimWhat::Fails => !matches!(command.name(), "health_probe" | "inspect"),
        _ => true,
    };
    if !fits {
        return (takes, first, None);
    }
    let state = world.check(|checker| checker.state_of(host));
    world.coverage().fault(words(&what), command.name(), state);
    world.note(format_args!(
        "{host}: {} goes wrong: {what:?}",
        command.name()
    ));
    world.check(|checker| checker.disturb(host));
    (takes, first, Some(what))
}

/// An epoch that this host has not seen yet: what it has on record of one store never goes back.
fn beyond(world: &World, host: &str) -> i64 {
    let seen = world.fleet.host(host).and_then(|host| host.fence);
    let own = seen.filter(|(store, _)| *store == world.store_name());
    let seen = own.map_or(0, |(_, epoch)| epoch);
    let let_in = world.check(|checker| checker.let_in(host));
    1000.max(seen.max(let_in) + 1)
}

fn words(what: &SimWhat) -> &'static str {
    match what {
        SimWhat::Fails => "host: fails",
        SimWhat::FailsHalfway => "host: fails halfway",
        SimWhat::TimesOut => "host: takes too long",
        SimWhat::Crashes => "host: starts anew",
        SimWhat::ShellBroken => "host: no shell",
        SimWhat::Busy => "host: lock is taken",
        SimWhat::Fenced(..) => "host: refuses the epoch",
        _ => "host: something else",
    }
}

async fn apply(
    world: &World,
    endpoint: &Endpoint,
    command: &RemoteCommand,
    fault: Option<SimWhat>,
) -> Reply {
    let mut broken = false;
    world.fleet.change(&endpoint.name, |host| {
        host.received.clear();
        host.faults.clear();
        if let Some(what) = fault {
            broken = what == SimWhat::Crashes;
            host.faults.push(SimFault {
                command: command.name().to_owned(),
                nth: 1,
                what,
            });
        }
    });
    let Ok(mut session) = world.hosts.connect(endpoint).await else {
        return Reply::Nothing;
    };
    let answer = session.run(command).await;
    if broken {
        return Reply::Nothing;
    }
    Reply::Said(answer)
}
