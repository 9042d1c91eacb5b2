//! Hosts of a rollout that this process cannot sign in to, because their credential cannot be loaded here. That is never the
//! host's fault: other processes may have it, and this one may have it again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use fleet_store::{AttemptRecord, StoreError};
use fleet_types::{AttemptStatus, HostId, HostName, RolloutId};
use ssh_exec::{Endpoint, Identity, Transport};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::endpoint::{EndpointError, endpoint};
use crate::orchestrator::Orchestrator;
use crate::settings::SshDefaults;

/// How long it takes until the credentials of a rollout are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// A host whose connections find no credential although one can be loaded is left alone twice as long each time, so often:
/// for five minutes in all. Then it is no matter of this process any more: an agent may have no key for it, and a host that
/// stalls may make it look like that, which must not keep the rollout from its end.
const DOUBLINGS: u32 = 6;
const UNNAMED: &str = "no key is named for it, and no default key or ssh-agent is configured";

/// Hosts of a rollout whose credential cannot be loaded in this process.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// As far as trying the credentials tells.
    hosts: BTreeMap<HostName, UnusableHost>,
    learnt: Learnt,
    ways: Arc<Ways>,
    looked: Option<Instant>,
    /// Tries them again. An agent may take its time, and the worker has other things to do meanwhile.
    looking: Option<AbortOnDropHandle<Result<Seen, StoreError>>>,
}

/// What a process knows of its credentials whatever its name on the store is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    /// These could be loaded once.
    loaded: HashSet<Identity>,
    /// Hosts whose connection found no credential.
    refused: BTreeMap<HostName, Refused>,
}

#[derive(Clone, Debug)]
struct UnusableHost {
    host: HostId,
    stage: u32,
    under_way: bool,
    /// Whether its credential could be loaded here before.
    was_usable: bool,
    why: String,
}

#[derive(Clone, Debug)]
struct Refused {
    host: UnusableHost,
    times: u32,
    /// Until then, whatever trying the credential tells: an agent may name keys that it does not use for this host.
    until: Instant,
}

/// One way for each credential that hosts of the rollout need.
#[derive(Debug, Default)]
struct Ways {
    endpoints: Vec<Endpoint>,
    /// Some hosts need one that is not even named here.
    some_unnamed: bool,
}

/// What came of trying each credential once.
#[derive(Debug)]
struct Seen {
    refusals: HashMap<Identity, String>,
    attempts: Vec<AttemptRecord>,
}

impl Unusable {
    /// There are none, for the rollout is over.
    pub(crate) fn none() -> Self {
        Self {
            hosts: BTreeMap::new(),
            learnt: Learnt::default(),
            ways: Arc::default(),
            looked: None,
            looking: None,
        }
    }

    /// Tries the credential of every host that is not settled, each credential once.
    pub(crate) async fn look(
        orchestrator: &Orchestrator,
        rollout: RolloutId,
        learnt: Learnt,
    ) -> Result<Self, StoreError> {
        let attempts = orchestrator.store().attempt_list(rollout).await?;
        let ways = Ways::of(&attempts, &orchestrator.settings().ssh);
        let refusals = ways.refusals(orchestrator.transport()).await;
        let mut unusable = Self {
            learnt,
            ways: Arc::new(ways),
            ..Self::none()
        };
        unusable.see(Seen { refusals, attempts }, &orchestrator.settings().ssh);
        Ok(unusable)
    }

    /// Does the same again, if that is long enough ago.
    pub(crate) async fn look_again(&mut self, orchestrator: &Orchestrator, rollout: RolloutId) {
        let due = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= TRY_AGAIN);
        match &mut self.looking {
            Some(looking) if looking.is_finished() => {
                let seen = looking.await;
                self.looking = None;
                self.looked = Some(Instant::now());
                match seen {
                    Ok(Ok(seen)) => self.see(seen, &orchestrator.settings().ssh),
                    Ok(Err(error)) => orchestrator.outage().note(&error),
                    Err(error) => tracing::error!(%error, "credentials could not be tried"),
                }
            }
            None if due => {
                let (orchestrator, ways) = (orchestrator.clone(), Arc::clone(&self.ways));
                let some_refused = !self.learnt.refused.is_empty();
                let looking = async move { ways.look(&orchestrator, rollout, some_refused).await };
                self.looking = Some(AbortOnDropHandle::new(tokio::spawn(looking)));
            }
            _ => {}
        }
    }

    fn see(&mut self, seen: Seen, ssh: &SshDefaults) {
        let loaded = self.ways.endpoints.iter().map(|way| &way.identity);
        let loaded = loaded.filter(|identity| !seen.refusals.contains_key(identity));
        self.learnt.loaded.extend(loaded.cloned());
        let (settled, unsettled): (Vec<_>, Vec<_>) = seen
            .attempts
            .iter()
            .partition(|attempt| attempt.status.is_settled());
        for attempt in settled {
            self.forget(&attempt.name);
        }
        let mut hosts = BTreeMap::new();
        for attempt in unsettled {
            let (why, was_usable) = match endpoint(&attempt.name, &attempt.spec, &[], ssh) {
                Ok(Endpoint { identity, .. }) => (
                    seen.refusals.get(&identity).cloned(),
                    self.learnt.loaded.contains(&identity),
                ),
                Err(EndpointError::NoIdentity { .. }) => (Some(UNNAMED.to_owned()), false),
                // It fails by itself when its turn comes, and says why.
                Err(EndpointError::Jump { .. }) => continue,
            };
            let Some(why) = why else { continue };
            if !self.hosts.contains_key(&attempt.name) {
                let host = &attempt.name;
                tracing::warn!(%host, %why, "left to other processes: its credential cannot be loaded here");
            }
            let host = UnusableHost {
                host: attempt.host,
                stage: attempt.stage,
                under_way: attempt.status == AttemptStatus::Updating,
                was_usable,
                why,
            };
            hosts.insert(attempt.name.clone(), host);
        }
        self.hosts = hosts;
        self.looked.get_or_insert_with(Instant::now);
    }

    /// In the midst of this attempt a connection found no credential. It is unusable from now on, and the others that need
    /// the same one are looked at at once. False: that was so too often although the credential can be loaded.
    pub(crate) fn refuse(&mut self, attempt: &AttemptRecord, why: String) -> bool {
        let before = self.learnt.refused.get(&attempt.name);
        let times = before.map_or(0, |refused| refused.times);
        if times >= DOUBLINGS && !self.hosts.contains_key(&attempt.name) {
            return false;
        }
        let refused = Refused {
            host: UnusableHost {
                host: attempt.host,
                stage: attempt.stage,
                under_way: true,
                was_usable: true,
                why,
            },
            times: times + 1,
            until: Instant::now() + TRY_AGAIN * 2_u32.pow(times.min(DOUBLINGS)),
        };
        self.learnt.refused.insert(attempt.name.clone(), refused);
        self.looked = None;
        self.looking = None;
        true
    }

    /// Its connections find a credential again, or need none any more.
    pub(crate) fn forget(&mut self, host: &HostName) {
        self.learnt.refused.remove(host);
    }

    pub(crate) fn into_learnt(self) -> Learnt {
        self.learnt
    }

    fn all(&self) -> BTreeMap<&HostName, &UnusableHost> {
        let now = Instant::now();
        let refused = self.learnt.refused.iter();
        let refused = refused.filter(|(_, refused)| refused.until > now);
        let refused = refused.map(|(name, refused)| (name, &refused.host));
        // What was seen last tells more.
        refused.chain(&self.hosts).collect()
    }

    pub(crate) fn names(&self) -> Vec<HostName> {
        self.all().into_keys().cloned().collect()
    }

    /// For the store: not these.
    pub(crate) fn ids(&self) -> Vec<HostId> {
        self.all().values().map(|host| host.host).collect()
    }

    /// Whether one of them is all that this stage waits for, as far as this worker can tell.
    pub(crate) fn holds_up(&self, stage: u32) -> bool {
        let mut hosts = self.all().into_values();
        hosts.any(|host| host.stage == stage || host.under_way)
    }

    /// Whether one of them is in the midst of its update.
    pub(crate) fn some_under_way(&self) -> bool {
        self.all().values().any(|host| host.under_way)
    }

    /// Whether none of their credentials was ever here, and none of them was touched.
    pub(crate) fn never_usable(&self) -> bool {
        let mut hosts = self.all().into_values();
        hosts.all(|host| !host.was_usable && !host.under_way)
    }

    /// For people.
    pub(crate) fn shown(&self) -> Vec<(HostName, String)> {
        let shown = |(name, host): (&HostName, &UnusableHost)| (name.clone(), host.why.clone());
        self.all().into_iter().map(shown).collect()
    }
}

impl Ways {
    fn of(attempts: &[AttemptRecord], ssh: &SshDefaults) -> Self {
        let mut ways = Self::default();
        let mut known = HashSet::new();
        for attempt in attempts {
            match endpoint(&attempt.name, &attempt.spec, &[], ssh) {
                // Jump hosts are signed in to with the host's own credential, so there is only the one.
                Ok(way) if known.insert(way.identity.clone()) => ways.endpoints.push(way),
                Ok(_) | Err(EndpointError::Jump { .. }) => {}
                Err(EndpointError::NoIdentity { .. }) => ways.some_unnamed = true,
            }
        }
        ways
    }

    /// Asks the store only when there is something to tell, or when hosts that were refused may be done by now.
    async fn look(
        &self,
        orchestrator: &Orchestrator,
        rollout: RolloutId,
        some_refused: bool,
    ) -> Result<Seen, StoreError> {
        let refusals = self.refusals(orchestrator.transport()).await;
        let attempts = if refusals.is_empty() && !self.some_unnamed && !some_refused {
            Vec::new()
        } else {
            orchestrator.store().attempt_list(rollout).await?
        };
        Ok(Seen { refusals, attempts })
    }

    /// Why credentials cannot be loaded. All at once: there may be one for each host, and each may take its time.
    async fn refusals(&self, transport: &Arc<dyn Transport>) -> HashMap<Identity, String> {
        let mut looks = JoinSet::new();
        for way in &self.endpoints {
            let (way, transport) = (way.clone(), Arc::clone(transport));
            looks.spawn(async move {
                let limit = way.connect_timeout;
                let why = match timeout(limit, transport.check_identity(&way)).await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some(format!(
                        "it could not be loaded within {} s",
                        limit.as_secs()
                    )),
                };
                why.map(|why| (way.identity, why))
            });
        }
        let mut refusals = HashMap::new();
        while let Some(look) = looks.join_next().await {
            match look {
                Ok(refused) => refusals.extend(refused),
                Err(error) => tracing::error!(%error, "a credential could not be tried"),
            }
        }
        refusals
    }
}
