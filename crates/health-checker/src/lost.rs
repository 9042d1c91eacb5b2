//! A restart whose answer was lost: what has become of it.

use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use ssh_exec::{ConnectError, Endpoint, HostGuard, Session, Transport};
use tokio::time::{Instant, sleep};

use crate::probe::{Seen, Withheld, look_again, probing, unanswered, unconnected};
use crate::restart::{DEADLINE, connected, refused};
use crate::unit::Unit;

/// For so long after the loss, connections are tried. A checker that insists for longer keeps updates waiting.
const WINDOW: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The service once the restart has ended, or else what can be said of it.
///
/// The restart holds the host's lock for as long as it takes: whoever has the lock after it sees what it led to.
pub(crate) async fn after(
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
