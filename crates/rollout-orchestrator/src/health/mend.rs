//! A service that is down is started again, under the host's lease.

use std::time::Duration;

use fleet_store::{
    Due, FenceSeen, HealthLease, HealthSeen, LeaseError, RestartSent, RestartTurn, StoreError,
};
use fleet_types::{HealthState, Planted, planted, printable};
use health_checker::{Restarted, Seen, after_lost_restart, restart};
use ssh_exec::{Endpoint, HostGuard};
use tokio::time::{sleep, timeout};
use update_engine::GuardSpec;

use super::check::{Check, Nothing, checked, written};
use super::judge::{after_restart, shown};
use super::{CheckDone, Checked, SweepSettings};

/// How long a restart may take, with the waits for connections, and when its answer is lost.
const RESTART: Duration = Duration::from_secs(1200);
/// How often the host's record may turn out to outrank us.
const RAISES: u32 = 3;
/// How long the host's lock is waited for, in seconds: a command left behind may hold it.
const LOCK_WAIT: u32 = 30;
/// Between two tries to give a host back.
const PAUSE: Duration = Duration::from_secs(1);

/// The host, held to restart its service.
struct Hold {
    lease: HealthLease,
    /// Whether the restart that was counted may have come to the host.
    restart: RestartSent,
    /// The record on the host, of another store or beyond our epoch, that gives way to ours.
    replace: Option<(String, i64)>,
    /// The lease may have been raised without our knowing to what.
    in_doubt: bool,
}

impl Hold {
    /// What was done, as far as it is known.
    fn done(&self) -> CheckDone {
        match self.restart {
            RestartSent::No => CheckDone::Looked,
            RestartSent::Perhaps => CheckDone::Restarted,
        }
    }
}

impl Check {
    /// Holds the host from here on, and gives it back whatever comes.
    pub(super) async fn mend(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        first: Seen,
        lease: HealthLease,
    ) -> Result<Checked, Nothing> {
        let mut hold = Hold {
            lease,
            restart: RestartSent::No,
            replace: None,
            in_doubt: false,
        };
        let mended = self.mended(due, endpoint, &mut hold).await;
        let (seen, done) = mended.unwrap_or_else(|Nothing(why)| {
            tracing::warn!(host = %due.host.name, %why, "a restart was broken off");
            let health = shown(due.host.health, first.health);
            (Seen { health, ..first }, hold.done())
        });
        match (self.settle(due, &hold, &seen).await, hold.restart) {
            (Ok(()), _) => Ok(checked(due, seen.health, seen.message, done)),
            (Err(nothing), RestartSent::No) => Err(nothing),
            // A restart is told of, although nothing could be written down about it.
            (Err(Nothing(why)), _) => Ok(checked(due, HealthState::Unknown, why, hold.done())),
        }
    }

    async fn mended(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        hold: &mut Hold,
    ) -> Result<(Seen, CheckDone), Nothing> {
        // Since the first look a rollout may have come and gone.
        let mut seen = self.probe(due, endpoint).await?;
        if !seen.can_be_restarted {
            seen.health = shown(due.host.health, seen.health);
            return Ok((seen, CheckDone::Looked));
        }
        let limit = self.settings.limit;
        let turn = self.health.health_restart(&hold.lease, limit).await;
        let nth = match turn.map_err(|error| self.trouble(error))? {
            RestartTurn::Go(nth) => nth,
            RestartTurn::UsedUp => {
                seen.health = HealthState::Unhealthy;
                seen.message = given_up(&seen.message, self.settings);
                return Ok((seen, CheckDone::UsedUp));
            }
        };
        tracing::info!(host = %due.host.name, nth, was = %seen.message, "restarting a service that is down");
        match self.restart(due, endpoint, hold).await? {
            Restarted::Done(seen) => return Ok(self.restarted(nth, seen)),
            Restarted::Lost => {
                let seen = self.look_after_loss(due, endpoint, hold).await?;
                return Ok(self.restarted(nth, seen));
            }
            Restarted::NotDone(now) => seen = now,
            Restarted::Fenced { store, epoch } => {
                let why = format!("another worker drives it (store {store}, epoch {epoch})");
                seen.message = printable(&format!("{}; not restarted: {why}", seen.message));
            }
            Restarted::Unwatched(withheld) => return Err(Nothing(withheld.to_string())),
        }
        seen.health = shown(due.host.health, seen.health);
        Ok((seen, CheckDone::Looked))
    }

    fn restarted(&self, nth: u32, mut seen: Seen) -> (Seen, CheckDone) {
        seen.health = after_restart(nth, self.settings.limit, seen.health);
        if seen.health == HealthState::Unhealthy {
            seen.message = given_up(&seen.message, self.settings);
        }
        (seen, CheckDone::Restarted)
    }

    /// Sends the restart. A record on the host that outranks us is replaced, as far as the store says that the host is
    /// ours: it is left from a moved or restored database, and would keep us out for ever.
    async fn restart(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        hold: &mut Hold,
    ) -> Result<Restarted, Nothing> {
        let mut raises = 0;
        loop {
            let own = GuardSpec {
                store: self.slots.store.id().to_string(),
                epoch: hold.lease.epoch.0,
            };
            match self.send(due, endpoint, hold).await? {
                Restarted::Fenced { store, epoch } if raises < RAISES => {
                    raises += 1;
                    let on_record = FenceSeen {
                        above: own.above(epoch),
                        store: store.clone(),
                        epoch,
                    };
                    tracing::warn!(host = %due.host.name, store, epoch, "the record on the host outranks us; replacing it");
                    self.raise(hold, Some(on_record)).await?;
                    hold.replace = Some((store, epoch));
                }
                restarted => return Ok(restarted),
            }
        }
    }

    /// Sends it once, and notes whether it may have come to the host.
    async fn send(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        hold: &mut Hold,
    ) -> Result<Restarted, Nothing> {
        let (service, guard) = (&due.host.spec.app.service, self.guard(due, hold));
        let settle = self.settings.settle;
        let restarting = restart(&self.transport, endpoint, service, guard, settle);
        hold.restart = RestartSent::Perhaps;
        let Ok(restarted) = timeout(RESTART, restarting).await else {
            return Err(Nothing("the restart took too long".to_owned()));
        };
        if !matches!(
            restarted,
            Ok(Restarted::Done(_) | Restarted::Lost | Restarted::Unwatched(_))
        ) {
            hold.restart = RestartSent::No;
        }
        restarted.map_err(|withheld| Nothing(withheld.to_string()))
    }

    /// The restart may be on its way still: it has to find itself outranked by the look.
    async fn look_after_loss(
        &self,
        due: &Due,
        endpoint: &Endpoint,
        hold: &mut Hold,
    ) -> Result<Seen, Nothing> {
        if !planted(Planted::NoRaise) {
            self.raise(hold, None).await?;
        }
        let (service, guard) = (&due.host.spec.app.service, self.guard(due, hold));
        let settle = self.settings.settle;
        let looking = after_lost_restart(&self.transport, endpoint, service, guard, settle);
        match timeout(RESTART, looking).await {
            Ok(looked) => looked.map_err(|withheld| Nothing(withheld.to_string())),
            Err(_) => Err(Nothing(
                "the look at what became of the restart took too long".to_owned(),
            )),
        }
    }

    fn guard(&self, due: &Due, hold: &Hold) -> HostGuard {
        HostGuard {
            repo: due.host.spec.app.repo.as_str().to_owned(),
            store: self.slots.store.id().to_string(),
            epoch: hold.lease.epoch.0,
            // Also for the look after a loss: where the restart has not come yet, its record has not either.
            replace: hold.replace.clone(),
            wait_seconds: LOCK_WAIT,
        }
    }

    /// The restart may be under way: for as long as the lease lasts, the host is not given up for a store that is away.
    async fn raise(&self, hold: &mut Hold, on_record: Option<FenceSeen>) -> Result<(), Nothing> {
        loop {
            let raised = self
                .health
                .health_raise(&hold.lease, on_record.clone())
                .await;
            match raised {
                Ok(lease) => {
                    hold.lease = lease;
                    hold.in_doubt = false;
                    return Ok(());
                }
                Err(LeaseError::Store(error)) if passes(&error) && !self.slots.lease.is_lost() => {
                    self.slots.lease.outage().note(&error);
                    // It may have taken effect, and then the next try finds another epoch.
                    hold.in_doubt |= matches!(error, StoreError::Unavailable { .. });
                }
                Err(error) => {
                    if hold.in_doubt {
                        self.slots.doubt();
                    }
                    return Err(self.trouble(error));
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// A host that is not given back can be had by no rollout for as long as this worker lives.
    async fn settle(&self, due: &Due, hold: &Hold, seen: &Seen) -> Result<(), Nothing> {
        let Hold { lease, restart, .. } = hold;
        let mut uncertain = false;
        loop {
            let seen = HealthSeen {
                epoch: lease.epoch,
                ..written(due, seen)
            };
            match self.health.health_settle(lease, seen, *restart).await {
                Ok(()) => return Ok(()),
                // It took effect although its answer was lost.
                Err(LeaseError::Lost { .. }) if uncertain && !hold.in_doubt => return Ok(()),
                Err(LeaseError::Store(error)) if !self.slots.lease.is_lost() => {
                    self.slots.lease.outage().note(&error);
                    uncertain = true;
                }
                Err(error) => return Err(Nothing(error.to_string())),
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether a later try may succeed.
fn passes(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(
        error,
        E::Busy { .. } | E::Unavailable { .. } | E::Full { .. } | E::ReadOnly { .. }
    )
}

fn given_up(message: &str, settings: SweepSettings) -> String {
    let (restarts, minutes) = (
        settings.limit.restarts,
        settings.limit.window.as_secs().div_ceil(60),
    );
    format!("not up after {restarts} restarts in {minutes} min: {message}")
}
