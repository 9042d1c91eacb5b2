//! One host: look, and restart its service under the host's lease when it is down.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Due, Health, HealthSeen, LeaseError, StoreError};
use fleet_types::{HealthState, HostName};
use health_checker::{Seen, probe};
use ssh_exec::Endpoint;
use tokio::time::timeout;

use super::judge::{only_observed, shown};
use super::{CheckDone, Checked, SweepSettings};
use crate::endpoint::endpoint;
use crate::settings::SshDefaults;
use crate::slots::{SlotTransport, Slots};

/// How long a look may take, with the wait for a connection.
const LOOK: Duration = Duration::from_secs(120);

pub(super) struct Check {
    pub(super) health: Arc<dyn Health>,
    pub(super) transport: SlotTransport,
    pub(super) ssh: SshDefaults,
    pub(super) settings: SweepSettings,
    pub(super) slots: Slots,
}

/// Nothing can be said of the host, or written about it.
pub(super) struct Nothing(pub(super) String);

impl Check {
    pub(super) async fn host(&self, due: Due, fix: bool) -> Checked {
        let name = due.host.name.clone();
        self.look(&due, fix).await.unwrap_or_else(|Nothing(why)| {
            tracing::debug!(host = %name, %why, "nothing can be said of a host now");
            left_alone(name, why)
        })
    }

    async fn look(&self, due: &Due, fix: bool) -> Result<Checked, Nothing> {
        let host = &due.host;
        let endpoint = match endpoint(&host.name, &host.spec, &host.host_keys, &self.ssh) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let seen = Seen {
                    health: HealthState::Unknown,
                    message: error.to_string(),
                    can_be_restarted: false,
                    key_changed: false,
                };
                return self.record(due, seen).await;
            }
        };
        let seen = self.probe(due, &endpoint).await?;
        let observed = only_observed(host, due.since, self.settings.quiet);
        if fix && seen.can_be_restarted && observed.is_none() {
            let worker = self.slots.lease.worker();
            match self
                .health
                .health_claim(worker, host.id, Some(due.epoch))
                .await
            {
                Ok(Some(lease)) => return self.mend(due, &endpoint, seen, lease).await,
                Ok(None) => {}
                Err(error) => return Err(self.trouble(error)),
            }
        }
        let message = match observed.filter(|_| fix && seen.can_be_restarted) {
            Some(why) => format!("{}; not restarted: {why}", seen.message),
            None => seen.message,
        };
        let seen = Seen {
            health: shown(host.health, seen.health),
            message,
            ..seen
        };
        self.record(due, seen).await
    }

    pub(super) async fn probe(&self, due: &Due, endpoint: &Endpoint) -> Result<Seen, Nothing> {
        let looking = probe(&self.transport, endpoint, &due.host.spec.app.service);
        match timeout(LOOK, looking).await {
            Ok(seen) => seen.map_err(|withheld| Nothing(withheld.to_string())),
            Err(_) => Err(Nothing("no connection was free in time".to_owned())),
        }
    }

    async fn record(&self, due: &Due, seen: Seen) -> Result<Checked, Nothing> {
        let record = written(due, &seen);
        match self.health.health_record(due.host.id, record).await {
            Ok(true) => Ok(checked(due, seen.health, seen.message, CheckDone::Looked)),
            Ok(false) => Err(Nothing("somebody took the host on meanwhile".to_owned())),
            Err(error) => Err(Nothing(error.to_string())),
        }
    }

    pub(super) fn trouble(&self, error: LeaseError) -> Nothing {
        if let LeaseError::Store(error @ StoreError::Unavailable { .. }) = &error {
            self.slots.note_doubt(error);
        }
        Nothing(error.to_string())
    }
}

/// Nothing is known of the host now; what was known before stays written down.
pub(super) fn left_alone(host: HostName, why: String) -> Checked {
    Checked {
        host,
        health: HealthState::Unknown,
        message: why,
        done: CheckDone::LeftAlone,
    }
}

pub(super) fn written(due: &Due, seen: &Seen) -> HealthSeen {
    HealthSeen {
        health: seen.health,
        message: seen.message.clone(),
        key_changed: seen.key_changed,
        epoch: due.epoch,
        since: due.since,
    }
}

pub(super) fn checked(due: &Due, health: HealthState, message: String, done: CheckDone) -> Checked {
    Checked {
        host: due.host.name.clone(),
        health,
        message,
        done,
    }
}
