//! What the tasks of one worker share about one rollout.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fleet_store::AttemptRecord;
use fleet_types::{AttemptStatus, HostId, HostName};
use ssh_exec::{Endpoint, Identity, Transport};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::endpoint::endpoint;
use crate::places::{Place, Places, Seat};
use crate::settings::SshDefaults;
use crate::slots::{Limit, SlotTransport, Slots};

/// How long it takes until a credential that could not be loaded is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The connections of one rollout, as far as this worker opens them.
#[derive(Debug)]
pub(crate) struct RolloutDesk {
    pub(crate) slots: Slots,
    pub(crate) ssh: SshDefaults,
    places: Places,
    limit: u32,
}

impl RolloutDesk {
    pub(crate) fn new(
        slots: Slots,
        ssh: SshDefaults,
        concurrency: u32,
        freed: Arc<Notify>,
    ) -> Self {
        let places = Places::new(concurrency, freed);
        Self {
            slots,
            ssh,
            places,
            limit: concurrency,
        }
    }

    /// Whether a place for one more connection seems to be free.
    pub(crate) fn has_place(&self) -> bool {
        self.places.any_free()
    }

    /// A place for one more connection, if one is free. Those who wait for one come first.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.try_take()
    }

    /// A transport for whoever sits there.
    pub(crate) fn transport(&self, seat: Arc<Seat>) -> SlotTransport {
        let limit = Limit::of_all(self.limit);
        SlotTransport::new(self.slots.clone(), self.places.clone(), limit, seat)
    }

    /// Connections of this rollout at once.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }
}

/// Hosts of a rollout whose credential cannot be loaded in this process.
#[derive(Debug, Default)]
pub(crate) struct Unusable {
    hosts: BTreeMap<HostName, UnusableHost>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct UnusableHost {
    attempt: AttemptRecord,
    why: String,
}

impl Unusable {
    /// Tries the credential of every host that is not settled, each credential once.
    pub(crate) async fn look(
        attempts: Vec<AttemptRecord>,
        transport: &dyn Transport,
        ssh: &SshDefaults,
    ) -> Self {
        let mut tried: HashMap<Identity, Option<String>> = HashMap::new();
        let mut hosts = BTreeMap::new();
        for attempt in attempts
            .into_iter()
            .filter(|attempt| !attempt.status.is_settled())
        {
            // A host that has no endpoint fails by itself when its turn comes, and says why.
            let Ok(endpoint) = endpoint(&attempt.name, &attempt.spec, &[], ssh) else {
                continue;
            };
            if let Some(why) = first_refusal(&endpoint, transport, &mut tried).await {
                hosts.insert(attempt.name.clone(), UnusableHost { attempt, why });
            }
        }
        Self {
            hosts,
            looked: Some(Instant::now()),
        }
    }

    /// Tries those again that could not be loaded, if that is long enough ago.
    pub(crate) async fn look_again(&mut self, transport: &dyn Transport, ssh: &SshDefaults) {
        let due = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= TRY_AGAIN);
        if due && !self.hosts.is_empty() {
            let attempts = std::mem::take(&mut self.hosts)
                .into_values()
                .map(|host| host.attempt);
            *self = Self::look(attempts.collect(), transport, ssh).await;
        }
    }

    /// For the store: not these.
    pub(crate) fn ids(&self) -> Vec<HostId> {
        self.hosts.values().map(|host| host.attempt.host).collect()
    }

    /// Whether one of them is all that this stage waits for, as far as this worker can tell.
    pub(crate) fn holds_up(&self, stage: u32) -> bool {
        self.hosts.values().any(|host| {
            host.attempt.stage == stage || host.attempt.status == AttemptStatus::Updating
        })
    }

    /// For people.
    pub(crate) fn shown(&self) -> Vec<(HostName, String)> {
        self.hosts
            .iter()
            .map(|(name, host)| (name.clone(), host.why.clone()))
            .collect()
    }
}

/// Why a credential on the way to the host cannot be loaded, if one cannot.
async fn first_refusal(
    endpoint: &Endpoint,
    transport: &dyn Transport,
    tried: &mut HashMap<Identity, Option<String>>,
) -> Option<String> {
    if let Some(known) = tried.get(&endpoint.identity) {
        return known.clone();
    }
    // Jump hosts are signed in to with the host's own credential, so there is only the one.
    let refusal = transport
        .check_identity(endpoint)
        .await
        .err()
        .map(|error| error.to_string());
    tried.insert(endpoint.identity.clone(), refusal.clone());
    refusal
}
