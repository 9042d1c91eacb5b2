//! Starting a service again.

use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use ssh_exec::{Endpoint, GuardRefusal, HostGuard, RemoteCommand, Transport};
use tokio::time::sleep;

use crate::probe::{Seen, Withheld, look, unanswered, unconnected};
use crate::unit::Unit;

const RESTART: &str = concat!(
    include_str!("scripts/unit.sh"),
    "\n",
    include_str!("scripts/restart.sh")
);
/// A restart runs as root and cannot be ended by us; systemd's own limits for stop and start come to this by default.
const DEADLINE: Duration = Duration::from_secs(200);

/// Restarts the service under the host's lock and fence, unless it is active by then, waits `settle` without a connection,
/// and says how it is after that.
///
/// A restart whose answer is lost is judged by what is seen afterwards. Dropping the future takes nothing back: a restart
/// that was sent comes to its end on the host, under its lock.
///
/// # Errors
///
/// [`Withheld`] when the transport may not be used any more. It cannot be told then whether the service was restarted.
pub async fn restart(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
    guard: HostGuard,
    settle: Duration,
) -> Result<Seen, Withheld> {
    let mut session = match transport.connect(endpoint).await {
        Ok(session) => session,
        Err(error) => return unconnected(&error),
    };
    let wait = Duration::from_secs(u64::from(guard.wait_seconds));
    let command = RemoteCommand::new("health_restart", RESTART, DEADLINE + wait)
        .param("service", service.as_str())
        .guarded(guard);
    let answer = session.run(&command).await;
    session.close().await;
    let output = match answer {
        Ok(output) => output,
        Err(error) => return unanswered(&error),
    };
    if let Some(refusal) = output.refusal() {
        return Ok(Seen::new(HealthState::Inactive, refused(&refusal)));
    }
    let begun = Unit::of(&output);
    if output.exit != 0 {
        let said = output.stderr.text();
        let said = said.lines().last().unwrap_or_default();
        let message = format!(
            "systemctl restart ended with exit code {}: {said}",
            output.exit
        );
        return Ok(Seen::new(HealthState::Inactive, message));
    }
    sleep(settle).await;
    let mut session = match transport.connect(endpoint).await {
        Ok(session) => session,
        Err(error) => return unconnected(&error),
    };
    let looked = look(&mut *session, service).await;
    session.close().await;
    match looked {
        Ok(unit) => Ok(judged(&begun, &unit)),
        Err(error) => unanswered(&error),
    }
}

fn judged(begun: &Unit, now: &Unit) -> Seen {
    let seen = Seen::of_unit(now);
    if seen.health == HealthState::Active && !now.is_same_life(begun) {
        let message = "it was started again while it was watched: it does not stay up";
        return Seen {
            can_be_restarted: true,
            ..Seen::new(HealthState::Inactive, message)
        };
    }
    seen
}

fn refused(refusal: &GuardRefusal) -> String {
    match refusal {
        GuardRefusal::Busy => "not restarted: another command holds the host's lock".to_owned(),
        GuardRefusal::Fenced { store, epoch } => {
            format!(
                "not restarted: the host has seen epoch {epoch} of store {store}, which outranks ours"
            )
        }
        GuardRefusal::Unusable(why) => {
            format!("not restarted: the host's lock cannot be used: {why}")
        }
    }
}
