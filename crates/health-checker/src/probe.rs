//! A look that changes nothing.

use std::time::Duration;

use fleet_types::{HealthState, ServiceName, printable};
use ssh_exec::{
    ConnectError, Endpoint, HostGuard, RemoteCommand, Session, SessionError, Transport,
};
use tokio::time::sleep;

use crate::unit::Unit;

const PROBE: &str = concat!(
    include_str!("scripts/unit.sh"),
    "\n",
    include_str!("scripts/probe.sh")
);
/// How long an answer may take: the limit on the host and a slow network.
const DEADLINE: Duration = Duration::from_secs(30);
/// A service that is starting or stopping is looked at again after each of these.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What was seen of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How it is.
    pub health: HealthState,
    /// More, for people: one printable line.
    pub message: String,
    /// Whether a restart may help: it is not active, and there is a unit to restart.
    pub can_be_restarted: bool,
    /// Whether the host showed another key than the pinned ones, so that nothing was asked of it.
    pub key_changed: bool,
}

/// This program may not ask now: its lease is gone. Nothing is known of the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Withheld(pub String);

impl Seen {
    pub(crate) fn new(health: HealthState, message: impl AsRef<str>) -> Self {
        let line: String = message
            .as_ref()
            .replace('\n', " ")
            .chars()
            .take(300)
            .collect();
        Self {
            health,
            message: printable(&line),
            can_be_restarted: false,
            key_changed: false,
        }
    }

    pub(crate) fn of_unit(unit: &Unit) -> Self {
        // One that changes for so long does not run.
        let health = unit.health().unwrap_or(HealthState::Inactive);
        Self {
            can_be_restarted: health == HealthState::Inactive && unit.is_loaded(),
            ..Self::new(health, unit.shown())
        }
    }
}

/// Asks whether the service is active, on one connection. Dropping the future closes it; nothing is left running.
///
/// # Errors
///
/// [`Withheld`] when the transport may not be used any more. A host that cannot be asked is no error: it is `unreachable`.
pub async fn probe(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    service: &ServiceName,
) -> Result<Seen, Withheld> {
    let mut session = match transport.connect(endpoint).await {
        Ok(session) => session,
        Err(error) => return unconnected(&error),
    };
    let looked = look(&mut *session, service).await;
    session.close().await;
    match looked {
        Ok(unit) => Ok(Seen::of_unit(&unit)),
        Err(error) => unanswered(&error),
    }
}

/// Looks until the service is not changing any more, or has been for long.
pub(crate) async fn look(
    session: &mut dyn Session,
    service: &ServiceName,
) -> Result<Unit, SessionError> {
    let unit = Unit::of(&session.run(&probing(service, None)).await?);
    look_again(session, service, unit).await
}

/// Looks again for as long as the service was seen changing.
pub(crate) async fn look_again(
    session: &mut dyn Session,
    service: &ServiceName,
    mut unit: Unit,
) -> Result<Unit, SessionError> {
    for pause in PAUSES {
        if unit.health().is_some() {
            break;
        }
        sleep(pause).await;
        unit = Unit::of(&session.run(&probing(service, None)).await?);
    }
    Ok(unit)
}

/// The command that looks; with a guard, once the host's lock is free.
pub(crate) fn probing(service: &ServiceName, guard: Option<HostGuard>) -> RemoteCommand {
    let wait = guard.as_ref().map_or(0, |guard| guard.wait_seconds);
    let deadline = DEADLINE + Duration::from_secs(u64::from(wait));
    let command =
        RemoteCommand::new("health_probe", PROBE, deadline).param("service", service.as_str());
    match guard {
        Some(guard) => command.guarded(guard),
        None => command,
    }
}

pub(crate) fn unconnected(error: &ConnectError) -> Result<Seen, Withheld> {
    match error {
        ConnectError::Withheld { .. } => Err(Withheld(error.to_string())),
        // What was seen is kept, and shown to everybody: it names no file of this machine.
        _ => {
            let hidden = error.without_files();
            let shown = hidden.as_ref().unwrap_or(error).to_string();
            Ok(Seen {
                key_changed: matches!(
                    error,
                    ConnectError::HostKeyChanged { .. } | ConnectError::HostKeyRevoked { .. }
                ),
                ..Seen::new(HealthState::Unreachable, shown)
            })
        }
    }
}

pub(crate) fn unanswered(error: &SessionError) -> Result<Seen, Withheld> {
    match error {
        SessionError::Withheld { .. } => Err(Withheld(error.to_string())),
        _ => Ok(Seen::new(HealthState::Unreachable, error.to_string())),
    }
}
