//! Starting a service again.

use std::time::Duration;

use fleet_types::{HealthState, ServiceName};
use ssh_exec::{
    CommandOutput, ConnectError, Endpoint, GuardRefusal, HostGuard, RemoteCommand, Session,
    SessionError, Transport,
};
use tokio::time::{sleep, timeout};

use crate::probe::{Seen, Withheld, look, unanswered, unconnected};
use crate::unit::Unit;

const RESTART: &str = concat!(
    include_str!("scripts/unit.sh"),
    "\n",
    include_str!("scripts/restart.sh")
);
/// A restart runs as root and cannot be ended by us; systemd's own limits for stop and start come to this by default.
pub(crate) const DEADLINE: Duration = Duration::from_secs(200);
/// How long a connection is waited for. The transport may have others to serve first.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restarted {
    /// The host did it, or may have: how the service is after that.
    Done(Seen),
    /// It was not done: how the service is, and why.
    NotDone(Seen),
    /// Its answer is lost: the host did it, or may have, or does it later.
    Lost,
    /// It was not done: the host has a record of somebody who outranks us, or of another store.
    Fenced {
        /// The store on record, as the host tells it.
        store: String,
        /// The epoch on record.
        epoch: i64,
    },
    /// The host did it, or may have, and now the transport may not be used any more.
    Unwatched(Withheld),
}

/// Restarts the service under the host's lock and fence, unless it is active by then, waits `settle` without a connection,
/// and says how it is after that.
///
/// A restart whose answer is lost is [`Restarted::Lost`]: what became of it is for
/// [`after_lost_restart`](crate::after_lost_restart) to see.
///
/// Dropping the future takes nothing back: a restart that was sent comes to its end on the host, under its lock.
///
/// # Errors
///
/// [`Withheld`] when the transport may not be used any more, or gave no connection. Nothing was sent then.
pub async fn restart(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
    guard: HostGuard,
    settle: Duration,
) -> Result<Restarted, Withheld> {
    let mut session = match connected(transport, endpoint).await? {
        Ok(session) => session,
        Err(error) => return unconnected(&error).map(Restarted::NotDone),
    };
    let wait = Duration::from_secs(u64::from(guard.wait_seconds));
    let command = RemoteCommand::new("health_restart", RESTART, DEADLINE + wait)
        .param("service", service.as_str())
        .guarded(guard);
    let answer = session.run(&command).await;
    session.close().await;
    let ended = match answer {
        Ok(output) => Ended::of(&output),
        Err(error) if was_not_run(&error) => return unanswered(&error).map(Restarted::NotDone),
        Err(_) => return Ok(Restarted::Lost),
    };
    let (begun, left_alone) = match ended {
        Ended::Ran(unit) => (unit, false),
        Ended::LeftAlone(unit) => (unit, true),
        Ended::Failed(seen) => return Ok(Restarted::Done(seen)),
        Ended::Fenced { store, epoch } => return Ok(Restarted::Fenced { store, epoch }),
        Ended::Refused(seen) => return Ok(Restarted::NotDone(seen)),
    };
    let seen = watched(transport, endpoint, service, &begun, settle).await;
    match seen {
        Ok(seen) if left_alone => Ok(Restarted::NotDone(seen)),
        Ok(seen) => Ok(Restarted::Done(seen)),
        Err(withheld) if left_alone => Err(withheld),
        Err(withheld) => Ok(Restarted::Unwatched(withheld)),
    }
}

/// How the command ended on the host.
enum Ended {
    Ran(Unit),
    /// Whoever held the lock before had started the service.
    LeftAlone(Unit),
    Failed(Seen),
    Fenced {
        store: String,
        epoch: i64,
    },
    Refused(Seen),
}

impl Ended {
    fn of(output: &CommandOutput) -> Self {
        match output.refusal() {
            Some(GuardRefusal::Fenced { store, epoch }) => return Self::Fenced { store, epoch },
            Some(refusal) => {
                let message = format!("not restarted: {}", refused(&refusal));
                return Self::Refused(Seen::new(HealthState::Inactive, message));
            }
            None => {}
        }
        let unit = Unit::of(output);
        if output.exit != 0 {
            let said = output.stderr.text();
            let said = said.lines().last().unwrap_or_default();
            let code = output.exit;
            let message = format!("systemctl restart ended with exit code {code}: {said}");
            return Self::Failed(Seen::new(HealthState::Inactive, message));
        }
        match output.fact("left_alone") {
            Some(_) => Self::LeftAlone(unit),
            None => Self::Ran(unit),
        }
    }
}

/// Looks once the service has had time to fall over.
pub(crate) async fn watched(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
    begun: &Unit,
    settle: Duration,
) -> Result<Seen, Withheld> {
    sleep(settle).await;
    let mut session = match connected(transport, endpoint).await? {
        Ok(session) => session,
        Err(error) => return unconnected(&error),
    };
    let looked = look(&mut *session, service).await;
    session.close().await;
    match looked {
        Ok(unit) => Ok(judged(begun, &unit)),
        Err(error) => unanswered(&error),
    }
}

/// A connection, if there is one in time.
pub(crate) async fn connected(
    transport: &dyn Transport,
    endpoint: &Endpoint,
) -> Result<Result<Box<dyn Session>, ConnectError>, Withheld> {
    timeout(PATIENCE, transport.connect(endpoint))
        .await
        .map_err(|_| Withheld("no connection was free in time".to_owned()))
}

/// Whether the host certainly did nothing of the command.
fn was_not_run(error: &SessionError) -> bool {
    use SessionError as E;
    matches!(
        error,
        E::Withheld { .. } | E::Unsendable { .. } | E::ShellBroken { .. }
    )
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

pub(crate) fn refused(refusal: &GuardRefusal) -> String {
    match refusal {
        GuardRefusal::Busy => "another command holds the host's lock".to_owned(),
        GuardRefusal::Fenced { store, epoch } => {
            format!("the host has seen epoch {epoch} of store {store}, which outranks ours")
        }
        GuardRefusal::Unusable(why) => format!("the host's lock cannot be used: {why}"),
    }
}
