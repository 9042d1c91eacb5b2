//! What is known of a rollout from the events seen so far. No clock, no output.

use std::collections::BTreeMap;

use fleet_types::view::{self, Counts};
use fleet_types::{AttemptStatus, Event, EventKind, Reason, RolloutState, Timestamp};

/// A rollout as the events tell it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// As it was first seen: id, kind, stages with their sizes.
    pub rollout: view::Rollout,
    /// Hosts under way, by name.
    pub running: BTreeMap<String, Running>,
    /// Hosts that have settled.
    pub done: u32,
    /// The stage under way, from 1.
    pub stage: u32,
    /// How the hosts of each stage ended so far; the first is stage 1.
    pub ended: Vec<Ended>,
    /// Where the rollout stands.
    pub state: RolloutState,
    /// The target once it is resolved.
    pub version: Option<String>,
    /// Why it ended or is ending.
    pub why: Option<String>,
}

/// A host under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// The step it is in.
    pub step: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// How hosts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Updated and proven.
    pub updated: u32,
    /// Were there already.
    pub unchanged: u32,
    /// Proven back.
    pub rolled_back: u32,
    /// Anything else.
    pub failed: u32,
}

impl Ended {
    /// All of them.
    pub(crate) fn total(&self) -> u32 {
        self.updated + self.unchanged + self.bad()
    }

    /// Those that count against the threshold.
    pub(crate) fn bad(&self) -> u32 {
        self.rolled_back + self.failed
    }
}

impl Model {
    /// Begins with a rollout as shown; its events are to be applied from the first one on.
    pub(crate) fn new(rollout: view::Rollout) -> Self {
        let ended = vec![Ended::default(); rollout.stages.len()];
        Self {
            running: BTreeMap::new(),
            done: 0,
            stage: 1,
            ended,
            state: RolloutState::Running,
            version: None,
            why: None,
            rollout,
        }
    }

    /// Hosts in all.
    pub(crate) fn hosts(&self) -> u32 {
        self.rollout.counts.total()
    }

    /// The stage under way as it was planned.
    pub(crate) fn planned(&self) -> Option<&view::Stage> {
        self.rollout
            .stages
            .get(self.stage.saturating_sub(1) as usize)
    }

    /// How the hosts of the stage under way ended so far.
    pub(crate) fn current(&self) -> Ended {
        self.ended_of(self.stage)
    }

    /// How the hosts of a stage ended so far.
    pub(crate) fn ended_of(&self, stage: u32) -> Ended {
        self.ended
            .get(stage.saturating_sub(1) as usize)
            .copied()
            .unwrap_or_default()
    }

    /// How many hosts of a stage may fail. It shrinks as hosts turn out to need no change.
    pub(crate) fn may_fail(&self, stage: u32) -> u32 {
        let Some(planned) = self.rollout.stages.get(stage.saturating_sub(1) as usize) else {
            return 0;
        };
        let changing = planned.hosts.saturating_sub(self.ended_of(stage).unchanged);
        u32::try_from(
            u64::from(changing) * u64::from(self.rollout.policy.max_failure_percent) / 100,
        )
        .unwrap_or(u32::MAX)
    }

    /// Takes an event in.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event.kind {
            EventKind::StageStarted => self.stage = event.stage.unwrap_or(self.stage),
            EventKind::HostStarted | EventKind::HostTakenOver => self.begin(event),
            EventKind::HostStep => self.step(event),
            EventKind::HostFinished => self.finish(event),
            EventKind::RolloutResolved => self.version.clone_from(&event.to),
            EventKind::RolloutPaused
            | EventKind::RolloutResumed
            | EventKind::RolloutHalting
            | EventKind::RolloutHalted
            | EventKind::RolloutAborting
            | EventKind::RolloutAborted
            | EventKind::RolloutFinished => self.turn(event),
            _ => {}
        }
    }

    fn begin(&mut self, event: &Event) {
        if let Some(host) = &event.host {
            self.running.insert(
                host.clone(),
                Running {
                    step: None,
                    since: event.at,
                },
            );
        }
    }

    fn step(&mut self, event: &Event) {
        let started = event.status.as_deref() == Some("started");
        if let Some(running) = event
            .host
            .as_ref()
            .and_then(|host| self.running.get_mut(host))
            .filter(|_| started)
        {
            *running = Running {
                step: event.step.clone(),
                since: event.at,
            };
        }
    }

    fn finish(&mut self, event: &Event) {
        if let Some(host) = &event.host {
            self.running.remove(host);
        }
        self.done += 1;
        let stage = event.stage.unwrap_or(self.stage).saturating_sub(1) as usize;
        let Some(ended) = self.ended.get_mut(stage) else {
            return;
        };
        let unchanged = event.reason.as_deref() == Some(Reason::Unchanged.as_str());
        match status(event) {
            Some(AttemptStatus::Success) if unchanged => ended.unchanged += 1,
            Some(AttemptStatus::Success) => ended.updated += 1,
            Some(AttemptStatus::RolledBack) => ended.rolled_back += 1,
            Some(AttemptStatus::Failed) => ended.failed += 1,
            _ => {}
        }
    }

    fn turn(&mut self, event: &Event) {
        if let Some(Ok(state)) = event.status.as_deref().map(str::parse) {
            self.state = state;
        }
        if event.kind == EventKind::RolloutHalting {
            self.why.clone_from(&event.message);
        }
    }

    /// Whether the last event has been seen.
    pub(crate) fn is_over(&self) -> bool {
        !self.state.is_active()
    }
}

/// The attempt status that an event tells of.
pub(crate) fn status(event: &Event) -> Option<AttemptStatus> {
    event
        .status
        .as_deref()
        .and_then(|status| status.parse().ok())
}

/// The counts of a stage as one short line: `✓ 3  ↩ 1`.
pub(crate) fn short_counts(ended: Ended) -> String {
    use crate::output::Paint;
    let parts = [
        (ended.updated, "✓", Paint::Green),
        (ended.unchanged, "=", Paint::Dim),
        (ended.rolled_back, "↩", Paint::Yellow),
        (ended.failed, "✗", Paint::Red),
    ];
    let shown = |(count, symbol, paint): (u32, &str, Paint)| {
        (count > 0).then(|| format!("{} {count}", paint.on(symbol)))
    };
    parts
        .into_iter()
        .filter_map(shown)
        .collect::<Vec<_>>()
        .join("  ")
}

/// The hosts that a rollout has in `counts`, settled or not.
pub(crate) fn settled(counts: &Counts) -> u32 {
    counts.total() - counts.pending - counts.updating
}
