//! A restart whose answer was lost: what has become of it.

use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use ssh_exec::{ConnectError, Endpoint, HostGuard, Session, Transport};
use tokio::time::{Instant, sleep};

use crate::probe::{Seen, Withheld, look_again, probing, unanswered, unconnected};
use crate::restart::{DEADLINE, connected, refused, watched};
use crate::unit::Unit;

/// For so long after the loss, connections are tried. A checker that insists for longer keeps updates waiting.
const WINDOW: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What became of a restart whose answer is lost: the host is connected to once more, looked at under its lock, which the
/// restart holds until it has ended, and once more after `settle`.
///
/// The epoch of `guard` has to be above the one the restart was sent under, and what that one replaces is what this one
/// replaces. The restart may still be on its way: once this look has had the lock, it comes to a host that has seen the higher
/// epoch, and is refused. Under the same epoch it would start the service after this look, and nobody would know of it.
///
/// Dropping the future closes the connection; nothing is left running.
///
/// # Errors
///
/// [`Withheld`] when the transport may not be used any more. The restart may have been done all the same.
pub async fn after_lost_restart(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
    guard: HostGuard,
    settle: Duration,
) -> Result<Seen, Withheld> {
    match ended(transport, endpoint, service, guard).await? {
        Ok(unit) => watched(transport, endpoint, service, &unit, settle).await,
        Err(seen) => Ok(seen),
    }
}

/// The service once the restart has ended, or else what can be said of it.
async fn ended(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
    guard: HostGuard,
) -> Result<Result<Unit, Seen>, Withheld> {
    let mut session = match reconnected(transport, endpoint).await? {
        Ok(session) => session,
        Err(error) => return unconnected(&error).map(|seen| Err(after_loss(seen))),
    };
    let looked = under_lock(&mut *session, service, guard).await;
    session.close().await;
    looked
}

async fn under_lock(
    session: &mut dyn Session,
    service: &ServiceName,
    guard: HostGuard,
) -> Result<Result<Unit, Seen>, Withheld> {
    let restart = u32::try_from(DEADLINE.as_secs()).unwrap_or(u32::MAX);
    let guard = HostGuard {
        wait_seconds: guard.wait_seconds.saturating_add(restart),
        ..guard
    };
    let output = match session.run(&probing(service, Some(guard))).await {
        Ok(output) => output,
        Err(error) => return unanswered(&error).map(|seen| Err(after_loss(seen))),
    };
    if let Some(refusal) = output.refusal() {
        let seen = Seen::new(HealthState::Unknown, refused(&refusal));
        return Ok(Err(after_loss(seen)));
    }
    match look_again(session, service, Unit::of(&output)).await {
        Ok(unit) => Ok(Ok(unit)),
        Err(error) => unanswered(&error).map(|seen| Err(after_loss(seen))),
    }
}

async fn reconnected(
    transport: &dyn Transport,
    endpoint: &Endpoint,
) -> Result<Result<Box<dyn Session>, ConnectError>, Withheld> {
    let until = Instant::now() + WINDOW;
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match connected(transport, endpoint).await? {
            Ok(session) => return Ok(Ok(session)),
            Err(error) => error,
        };
        let may_pass = matches!(
            error,
            ConnectError::Unreachable { .. } | ConnectError::Protocol { .. }
        );
        if !may_pass || Instant::now() + pause > until {
            return Ok(Err(error));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn after_loss(seen: Seen) -> Seen {
    let message = format!("the answer to the restart was lost: {}", seen.message);
    Seen::new(seen.health, message)
}
