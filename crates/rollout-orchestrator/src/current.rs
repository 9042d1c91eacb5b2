//! The rollout that a worker is working on, as the worker last saw it.

use std::sync::Arc;

use fleet_store::{AttemptRecord, Idle, LeftToOthers, RolloutRecord, StoreError};
use fleet_types::{
    AttemptStatus, HostId, HostName, Progress, RolloutId, RolloutKind, RolloutState,
};
use tokio::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use update_engine::longest_silence;

use crate::attempt::Owned;
use crate::desk::RolloutDesk;
use crate::orchestrator::Orchestrator;
use crate::resolve::Resolver;
use crate::unusable::{Learnt, Unusable};
use crate::worker::WorkMode;

/// So often it is looked whether the store knows what is left to others: it may be thousands of hosts.
const TELL: Duration = Duration::from_secs(5);

/// How far a rollout is, whoever works on it.
#[derive(Debug, PartialEq)]
struct Standing {
    settled: usize,
    under_way: Vec<(HostId, Progress)>,
    /// For so long one of these may be in one step, its connection and the host's lock included; then its worker says more.
    longest: Duration,
}

impl Standing {
    fn of(attempts: &[AttemptRecord], settle: Duration) -> Self {
        let is_settled = |attempt: &&AttemptRecord| attempt.status.is_settled();
        let is_under_way = |attempt: &&AttemptRecord| attempt.status == AttemptStatus::Updating;
        let under_way = || attempts.iter().filter(is_under_way);
        let longest = under_way()
            .map(|attempt| longest_silence(attempt.progress.step, &attempt.spec.app, settle));
        Self {
            settled: attempts.iter().filter(is_settled).count(),
            longest: longest.max().unwrap_or_default(),
            under_way: under_way()
                .map(|attempt| (attempt.host, attempt.progress.clone()))
                .collect(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) record: RolloutRecord,
    pub(crate) desk: Arc<RolloutDesk>,
    /// Whether the record was read since the last tick.
    pub(crate) fresh: bool,
    pub(crate) nothing_to_claim: bool,
    pub(crate) advanced: bool,
    /// Asks for the target; says what kept it from an answer.
    pub(crate) resolving: Option<AbortOnDropHandle<Option<String>>>,
    /// Why the target is not known yet.
    pub(crate) trouble: Option<String>,
    unusable: Unusable,
    /// What the store knows of these; none while that is not known, as after an answer that was lost.
    told: Option<Option<LeftToOthers>>,
    /// When it was last looked whether that is so still.
    told_looked: Option<Instant>,
    /// Why there was nothing to claim, the last time there was not.
    idle: Option<Idle>,
    /// Since when only hosts without a usable credential are left.
    held_up_since: Option<Instant>,
    /// How far all processes together were when it was last looked at because this one was held up, and since when.
    standing: Option<(Standing, Instant)>,
    /// Hosts without a usable credential are tried all the same.
    anyway: bool,
}

impl Current {
    /// Begins to work on a rollout: says so, and tries which of its hosts can be signed in to from here. `learnt`: under
    /// the name that this process had before.
    pub(crate) async fn open(
        record: RolloutRecord,
        desk: Arc<RolloutDesk>,
        orchestrator: &Orchestrator,
        learnt: Learnt,
    ) -> Result<Self, StoreError> {
        let unusable = if record.state.is_active() {
            let worker = desk.slots.lease.worker();
            orchestrator
                .store()
                .rollout_attend(record.id, worker)
                .await?;
            Unusable::look(orchestrator, record.id, learnt).await?
        } else {
            Unusable::none()
        };
        Ok(Self {
            record,
            desk,
            fresh: true,
            nothing_to_claim: false,
            advanced: false,
            resolving: None,
            trouble: None,
            unusable,
            told: None,
            told_looked: None,
            idle: None,
            held_up_since: None,
            standing: None,
            anyway: false,
        })
    }

    pub(crate) fn is_unresolved(&self) -> bool {
        self.record.target.is_none() && self.record.kind != RolloutKind::Rollback
    }

    pub(crate) fn is_resolving(&self) -> bool {
        self.resolving.is_some()
    }

    /// Starts to ask for the target.
    pub(crate) fn resolve(&mut self, mode: WorkMode) {
        let resolver = Resolver {
            desk: Arc::clone(&self.desk),
            record: self.record.clone(),
            // Somebody who does one rollout alone has nobody to wait for.
            left_to_others: match mode {
                WorkMode::One(_) => None,
                _ => Some(self.unusable.ids()),
            },
        };
        self.resolving = Some(AbortOnDropHandle::new(tokio::spawn(resolver.run())));
    }

    /// Takes note of where the rollout stands.
    pub(crate) fn see(&mut self, record: RolloutRecord) {
        let place = |r: &RolloutRecord| (r.state, r.stage, r.target.is_some());
        if place(&record) != place(&self.record) {
            self.stir();
        }
        self.record = record;
        self.fresh = true;
        if !self.is_unresolved() {
            // Another process was faster; asking on would only take up connections.
            self.resolving = None;
            self.trouble = None;
        }
    }

    /// Something happened here that may have made a host claimable, or have ended a stage.
    pub(crate) fn stir(&mut self) {
        self.nothing_to_claim = false;
        self.advanced = false;
    }

    /// Something may have happened elsewhere.
    pub(crate) fn stale(&mut self) {
        self.fresh = false;
        self.stir();
    }

    pub(crate) fn found_nothing(&mut self, idle: Idle) {
        self.nothing_to_claim = true;
        self.idle = Some(idle);
        // The store knows better than the record read last.
        self.fresh &= !matches!(
            idle,
            Idle::Unresolved | Idle::NotRunning | Idle::LeftToNewer
        );
    }

    /// Hosts that are not to be claimed here.
    pub(crate) fn except(&self) -> Vec<HostId> {
        if self.anyway {
            Vec::new()
        } else {
            self.unusable.ids()
        }
    }

    /// Hosts that are left to other processes, and why.
    pub(crate) fn cannot_load(&self) -> Vec<(HostName, String)> {
        match self.anyway {
            true => Vec::new(),
            false => self.unusable.shown(),
        }
    }

    /// The same, when it is time to look and the store knows something else.
    pub(crate) fn due_to_be_told(&mut self) -> Option<Option<LeftToOthers>> {
        if self.told_looked.is_some_and(|at| at.elapsed() < TELL) {
            return None;
        }
        self.told_looked = Some(Instant::now());
        let left = match self.anyway {
            true => None,
            false => LeftToOthers::of(self.unusable.names()),
        };
        if self.told.as_ref() == Some(&left) {
            return None;
        }
        self.told = None;
        Some(left)
    }

    pub(crate) fn told(&mut self, left: Option<LeftToOthers>) {
        self.told = Some(left);
    }

    /// Tries the credentials again.
    pub(crate) async fn look_at_credentials(&mut self, orchestrator: &Orchestrator) {
        self.unusable.look_again(orchestrator, self.record.id).await;
    }

    /// Leaves a host to other processes whose credential could not be loaded in the midst of its attempt. False: it has been
    /// left to others often enough, or none is any more.
    pub(crate) fn leaves_to_others(&mut self, owned: &Owned, why: &str) -> bool {
        !self.anyway && self.unusable.refuse(owned.attempt(), why.to_owned())
    }

    /// It could be signed in to after all.
    pub(crate) fn settled(&mut self, host: &HostName) {
        self.unusable.forget(host);
    }

    /// Whether it is to come to its end soon: people asked for that, or too much failed.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(
            self.record.state,
            RolloutState::Aborting | RolloutState::Halting
        )
    }

    /// What is true of this process under another name as well.
    pub(crate) fn into_learnt(self) -> (RolloutId, Learnt) {
        (self.record.id, self.unusable.into_learnt())
    }

    /// Whether the keys of the hosts that are left to others were never here, and these hosts are as they were.
    pub(crate) fn never_had_the_keys(&self) -> bool {
        self.unusable.never_usable()
    }

    /// For how long the rollout has waited for nothing but hosts whose credential cannot be loaded here, as far as can
    /// be told from here.
    pub(crate) fn held_up_for(&mut self, in_flight: usize) -> Option<Duration> {
        let only_these = in_flight == 0
            && !self.anyway
            && self.unusable.holds_up(self.record.stage)
            && match self.record.state {
                RolloutState::Running => match self.idle {
                    Some(Idle::NoneSuitable) => true,
                    // By hosts that somebody else is at work on, or nobody any more.
                    Some(Idle::StageTaken | Idle::Full) => self.unusable.some_under_way(),
                    _ => false,
                },
                // Whoever paused it knows that nothing happens.
                RolloutState::Paused => false,
                _ => true,
            };
        if !only_these {
            self.held_up_since = None;
            return None;
        }
        Some(
            self.held_up_since
                .get_or_insert_with(Instant::now)
                .elapsed(),
        )
    }

    /// Whether no process comes any further: all is as it was when this was last asked, for as long as a step under way may
    /// take. If not, the time of waiting begins anew.
    pub(crate) fn stands_still(&mut self, attempts: &[AttemptRecord]) -> bool {
        let standing = Standing::of(attempts, self.record.policy.settle);
        let still = match &self.standing {
            Some((known, since)) if *known == standing => since.elapsed() >= standing.longest,
            _ => {
                self.standing = Some((standing, Instant::now()));
                false
            }
        };
        if !still {
            self.held_up_since = None;
        }
        still
    }

    /// From now on no host is left to others: those that cannot be signed in to fail, untouched.
    pub(crate) fn try_all_the_same(&mut self) {
        tracing::warn!(rollout = %self.record.id, "no other process signs in to the hosts left; trying all the same");
        self.anyway = true;
        self.stir();
    }
}
