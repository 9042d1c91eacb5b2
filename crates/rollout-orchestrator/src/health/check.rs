//! One host: look, and restart its service under the host's lease when it is down.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Due, Health, HealthLease, HealthSeen, LeaseError, RestartTurn, StoreError};
use fleet_types::HealthState;
use health_checker::{Seen, probe, restart};
use ssh_exec::{Endpoint, HostGuard};
use tokio::time::{sleep, timeout};

use super::judge::{after_restart, only_observed, shown};
use super::{CheckDone, Checked, SweepSettings};
use crate::endpoint::endpoint;
use crate::settings::SshDefaults;
use crate::slots::{SlotTransport, Slots};

/// How long a look may take, with the wait for a connection.
const LOOK: Duration = Duration::from_secs(120);
/// How long a restart may take, with the waits for two connections.
const RESTART: Duration = Duration::from_secs(900);
/// How long the host's lock is waited for, in seconds: a command left behind may hold it.
const LOCK_WAIT: u32 = 30;
/// Between two tries to give a host back.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Check {
    pub(super) health: Arc<dyn Health>,
    pub(super) transport: SlotTransport,
    pub(super) ssh: SshDefaults,
    pub(super) settings: SweepSettings,
    pub(super) slots: Slots,
}

/// Nothing can be said of the host, or written about it.
struct Nothing(String);

impl Check {
    pub(super) async fn host(&self, due: Due, fix: bool) -> Checked {
        let name = due.host.name.clone();
        self.look(&due, fix).await.unwrap_or_else(|Nothing(why)| {
            tracing::debug!(host = %name, %why, "nothing can be said of a host now");
            Checked {
                host: name,
                health: due.host.health,
                message: why,
                done: CheckDone::LeftAlone,
            }
        })
    }

    async fn look(&self, due: &Due, fix: bool) -> Result<Checked, Nothing> {
        let host = &due.host;
        let endpoint = match endpoint(&host.name, &host.spec, &host.host_keys, &self.ssh) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let health = HealthState::Unknown;
                return self.record(due, health, error.to_string()).await;
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
        self.record(due, shown(host.health, seen.health), message)
            .await
    }

    /// Holds the host from here on, and gives it back whatever comes.
    async fn mend(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        first: Seen,
        lease: HealthLease,
    ) -> Result<Checked, Nothing> {
        let (seen, done) =
            self.mended(due, endpoint, &lease)
                .await
                .unwrap_or_else(|Nothing(why)| {
                    tracing::warn!(host = %due.host.name, %why, "a restart was broken off");
                    (first, CheckDone::Looked)
                });
        self.settle(due, &lease, &seen).await?;
        Ok(checked(due, seen.health, seen.message, done))
    }

    async fn mended(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        lease: &HealthLease,
    ) -> Result<(Seen, CheckDone), Nothing> {
        // Since the first look a rollout may have come and gone.
        let mut seen = self.probe(due, endpoint).await?;
        if !seen.can_be_restarted {
            seen.health = shown(due.host.health, seen.health);
            return Ok((seen, CheckDone::Looked));
        }
        let limit = self.settings.limit;
        let turn = self.health.health_restart(lease, limit).await;
        let nth = match turn.map_err(|error| self.trouble(error))? {
            RestartTurn::Go(nth) => nth,
            RestartTurn::UsedUp => {
                seen.health = HealthState::Unhealthy;
                seen.message = given_up(&seen.message, self.settings);
                return Ok((seen, CheckDone::UsedUp));
            }
        };
        tracing::info!(host = %due.host.name, nth, was = %seen.message, "restarting a service that is down");
        let app = &due.host.spec.app;
        let guard = HostGuard {
            repo: app.repo.as_str().to_owned(),
            store: self.slots.store.id().to_string(),
            epoch: lease.epoch.0,
            replace: None,
            wait_seconds: LOCK_WAIT,
        };
        let settle = self.settings.settle;
        let restarting = restart(&self.transport, endpoint, &app.service, guard, settle);
        let mut seen = match timeout(RESTART, restarting).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(withheld)) => return Err(Nothing(withheld.to_string())),
            Err(_) => return Err(Nothing("the restart took too long".to_owned())),
        };
        seen.health = after_restart(nth, limit, seen.health);
        if seen.health == HealthState::Unhealthy {
            seen.message = given_up(&seen.message, self.settings);
        }
        Ok((seen, CheckDone::Restarted))
    }

    async fn probe(&self, due: &Due, endpoint: &Endpoint) -> Result<Seen, Nothing> {
        let looking = probe(&self.transport, endpoint, &due.host.spec.app.service);
        match timeout(LOOK, looking).await {
            Ok(seen) => seen.map_err(|withheld| Nothing(withheld.to_string())),
            Err(_) => Err(Nothing("no connection was free in time".to_owned())),
        }
    }

    async fn record(
        &self,
        due: &Due,
        health: HealthState,
        message: String,
    ) -> Result<Checked, Nothing> {
        let seen = written(due, health, message.clone());
        match self.health.health_record(due.host.id, seen).await {
            Ok(true) => Ok(checked(due, health, message, CheckDone::Looked)),
            Ok(false) => Err(Nothing("somebody took the host on meanwhile".to_owned())),
            Err(error) => Err(Nothing(error.to_string())),
        }
    }

    /// A host that is not given back can be had by no rollout for as long as this worker lives.
    async fn settle(&self, due: &Due, lease: &HealthLease, seen: &Seen) -> Result<(), Nothing> {
        loop {
            let seen = HealthSeen {
                epoch: lease.epoch,
                ..written(due, seen.health, seen.message.clone())
            };
            match self.health.health_settle(lease, seen).await {
                Ok(()) => return Ok(()),
                Err(LeaseError::Store(error)) if !self.slots.lease.is_lost() => {
                    tracing::warn!(host = %due.host.name, %error, "a host could not be given back; trying again");
                }
                Err(error) => return Err(Nothing(error.to_string())),
            }
            sleep(PAUSE).await;
        }
    }

    fn trouble(&self, error: LeaseError) -> Nothing {
        if let LeaseError::Store(error @ StoreError::Unavailable { .. }) = &error {
            self.slots.note_doubt(error);
        }
        Nothing(error.to_string())
    }
}

fn written(due: &Due, health: HealthState, message: String) -> HealthSeen {
    HealthSeen {
        health,
        message,
        epoch: due.epoch,
        since: due.since,
    }
}

fn checked(due: &Due, health: HealthState, message: String, done: CheckDone) -> Checked {
    Checked {
        host: due.host.name.clone(),
        health,
        message,
        done,
    }
}

fn given_up(message: &str, settings: SweepSettings) -> String {
    let (restarts, minutes) = (
        settings.limit.restarts,
        settings.limit.window.as_secs().div_ceil(60),
    );
    format!("not up after {restarts} restarts in {minutes} min: {message}")
}
