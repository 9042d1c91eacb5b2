//! One host, one attempt.

use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{
    AppSettings, AttemptStatus, CommitHash, Epoch, HostEvent, Outcome, Progress, Reason,
};
use ssh_exec::{Endpoint, ScriptedTransport};
use update_engine::testing::{MemoryJournal, SimFleet, SimHost, SimOrigin, SimRelease};
use update_engine::{AttemptSpec, Goal, GuardSpec, Journal, Stopped, run_attempt};

pub(crate) const HOST: &str = "web-1";

pub(crate) fn endpoint() -> Endpoint {
    SimFleet::endpoint(HOST)
}

pub(crate) fn app() -> AppSettings {
    SimFleet::app()
}

/// A host on `old`, and a branch that has `new` on top of it.
pub(crate) struct Scene {
    pub(crate) fleet: SimFleet,
    pub(crate) old: CommitHash,
    pub(crate) new: CommitHash,
}

impl Scene {
    pub(crate) fn new(release: SimRelease) -> Self {
        let mut origin = SimOrigin::default();
        let old = origin.push("main", SimRelease::Good);
        let host = SimHost::on(&old, &origin);
        let new = origin.push("main", release);
        let fleet = SimFleet::new(origin);
        fleet.add(HOST, host);
        Self { fleet, old, new }
    }

    pub(crate) fn host(&self) -> SimHost {
        self.fleet.host(HOST).unwrap()
    }

    pub(crate) fn spec(&self) -> AttemptSpec {
        AttemptSpec {
            endpoint: endpoint(),
            app: app(),
            goal: Goal::Update {
                target: self.new.clone(),
                branch: None,
            },
            settle: Duration::from_secs(5),
            guard: GuardSpec {
                store: "store-1".to_owned(),
                epoch: 7,
            },
            progress: Progress::default(),
            left_behind: false,
        }
    }

    /// One attempt with this journal, as a new process would make it.
    pub(crate) async fn run(
        &self,
        mut spec: AttemptSpec,
        journal: &mut MemoryJournal,
    ) -> Result<Outcome, Stopped> {
        spec.progress = journal.progress.clone();
        run_attempt(spec, &self.fleet.transport(), journal).await
    }

    /// One attempt that nothing stops, from its beginning.
    pub(crate) async fn attempt(&self, spec: AttemptSpec) -> Outcome {
        self.run(spec, &mut MemoryJournal::default()).await.unwrap()
    }
}

#[track_caller]
pub(crate) fn assert_ended(outcome: &Outcome, status: AttemptStatus, reason: Reason) {
    assert_eq!(
        (outcome.status, outcome.reason),
        (status, reason),
        "{outcome:?}"
    );
}

/// `touched, needs attention`, for snapshots.
pub(crate) fn left_behind(outcome: &Outcome) -> &'static str {
    match (outcome.touched, outcome.needs_attention) {
        (false, false) => "untouched",
        (false, true) => "untouched, needs attention",
        (true, false) => "touched",
        (true, true) => "touched, needs attention",
    }
}

/// One word an event, for snapshots.
pub(crate) fn told(events: &[HostEvent]) -> Vec<String> {
    let word = |event: &HostEvent| match event {
        HostEvent::StepStarted { step, .. } => format!("{step}?"),
        HostEvent::StepFinished { step, .. } => format!("{step}."),
        HostEvent::StepFailed { step, reason, .. } => format!("{step}! {reason}"),
        HostEvent::PreviousKnown { previous } => format!("previous {}", previous.version.short()),
        HostEvent::RollbackStarted { step, reason, .. } => {
            format!("back because of {step}: {reason}")
        }
        HostEvent::ConnectionLost { step, .. } => format!("{step}~"),
        HostEvent::FenceReplaced {
            store,
            epoch,
            raised_to,
        } => format!("fence {store} {epoch} -> {raised_to}"),
        HostEvent::Settled { outcome } => format!("= {} {}", outcome.status, outcome.reason),
    };
    events.iter().map(word).collect()
}

/// A journal that knows how many commands had been sent when each event was recorded.
pub(crate) struct TracingJournal {
    pub(crate) inner: MemoryJournal,
    transport: ScriptedTransport,
    sent_before: Vec<usize>,
}

impl TracingJournal {
    pub(crate) fn new(transport: ScriptedTransport) -> Self {
        Self {
            inner: MemoryJournal::default(),
            transport,
            sent_before: Vec::new(),
        }
    }

    /// The previous version, and the intent of each step, were on record before the step's first command.
    pub(crate) fn assert_intents_before_commands(&self, cell: &str) {
        for (index, call) in self.transport.calls().iter().enumerate() {
            let earlier = || {
                let events = self.inner.events.iter().zip(&self.sent_before);
                events
                    .filter(|(_, sent)| **sent <= index)
                    .map(|(event, _)| event)
            };
            let intended = earlier().rev().find_map(|event| match event {
                HostEvent::StepStarted { step, .. } => Some(step.as_str()),
                _ => None,
            });
            assert_eq!(
                intended,
                Some(call.command.name()),
                "{cell}: command {index}"
            );
            let known = earlier().any(|event| matches!(event, HostEvent::PreviousKnown { .. }));
            assert!(
                known || call.command.name() == "inspect",
                "{cell}: command {index}"
            );
        }
    }
}

#[async_trait]
impl Journal for TracingJournal {
    async fn record(&mut self, event: &HostEvent) -> Result<(), Stopped> {
        self.sent_before.push(self.transport.calls().len());
        self.inner.record(event).await
    }

    async fn raise(&mut self, above: Epoch) -> Result<Epoch, Stopped> {
        self.inner.raise(above).await
    }
}
