//! A rollout as its page and the overview show it.

use fleet_types::{RolloutKind, RolloutState, StageState, Timestamp, printable, view};

use crate::pages::matrix::Matrix;
use crate::pages::show::{self, Bar};
use crate::problem::Problem;
use crate::state::AdminApi;

/// Hosts in flight that are listed.
const FLIGHTS_MOST: usize = 50;

/// A rollout, its stages and its matrix.
#[derive(Debug)]
pub(crate) struct RolloutShown {
    pub(crate) v: view::Rollout,
    pub(crate) title: String,
    pub(crate) by: String,
    pub(crate) message: Option<String>,
    pub(crate) reference: String,
    pub(crate) state_word: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) explained: String,
    pub(crate) took: String,
    pub(crate) pace: String,
    pub(crate) stages: Vec<StageShown>,
    pub(crate) matrix: Matrix,
}

/// One stage.
#[derive(Debug)]
pub(crate) struct StageShown {
    pub(crate) v: view::Stage,
    pub(crate) done: u32,
    pub(crate) bad: u32,
    pub(crate) gate: String,
    pub(crate) word: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) bar: Bar,
    pub(crate) counts: Vec<Count>,
}

/// Hosts in one status.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) word: String,
}

/// A host under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) host: String,
    pub(crate) step: String,
    pub(crate) since: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

impl RolloutShown {
    /// Reads the matrix and makes the rest of what is known.
    pub(crate) async fn load(api: &AdminApi, v: view::Rollout) -> Result<Self, Problem> {
        Ok(Self {
            title: title(&v),
            by: printable(&v.started_by),
            message: v.message.as_deref().map(printable),
            reference: printable(&v.target.reference),
            state_word: state_word(v.state),
            tone: tone(v.state),
            explained: explained(&v),
            took: v.finished_at.map_or_else(String::new, |end| {
                show::duration(end.since(v.created_at).as_secs_f64())
            }),
            pace: pace(&v.policy),
            stages: v.stages.iter().map(stage).collect(),
            matrix: Matrix::load(api, &v).await?,
            v,
        })
    }

    pub(crate) fn flights(&self) -> Vec<Flight> {
        self.v
            .in_flight
            .iter()
            .take(FLIGHTS_MOST)
            .map(|flight| Flight {
                host: flight.host.clone(),
                step: flight
                    .step
                    .as_deref()
                    .map_or_else(|| "about to begin".to_owned(), show::words),
                since: flight.since,
                deadline: flight.deadline,
            })
            .collect()
    }

    /// What processes leave to others for want of a credential.
    pub(crate) fn left_to_others(&self) -> Vec<String> {
        let all = self.v.left_to_others.iter().map(|left| {
            let hosts = show::hosts(left.hosts);
            let process = printable(&left.process);
            let names = left.first.join(", ");
            let more = left.hosts as usize - left.first.len().min(left.hosts as usize);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{process} leaves {hosts} to other processes, because it cannot load the key; its log says why: {names}{more}."
            )
        });
        all.collect()
    }

    /// How many more than those are under way.
    pub(crate) fn more_flights(&self) -> u32 {
        let shown = self.v.in_flight.len().min(FLIGHTS_MOST);
        let shown = u32::try_from(shown).unwrap_or(u32::MAX);
        self.v.counts.updating.saturating_sub(shown)
    }

    /// Hosts by status, those that there are.
    pub(crate) fn total_counts(&self) -> Vec<Count> {
        let mut counts = counts(&self.v.counts);
        counts.retain(|count| count.number > 0);
        for count in &mut counts {
            count.word = format!("{} {}", count.number, count.word);
        }
        counts
    }
}

fn title(v: &view::Rollout) -> String {
    let hosts = show::hosts(v.counts.total());
    let target = target(v);
    match v.kind {
        RolloutKind::Rollback => format!("Taking {hosts} back"),
        RolloutKind::Retry => format!("Trying {hosts} again, to {target}"),
        _ => format!("Updating {hosts} to {target}"),
    }
}

/// Where a rollout goes, in short.
pub(crate) fn target(v: &view::Rollout) -> String {
    let text = v.target.version.as_deref().unwrap_or(&v.target.reference);
    printable(show::short(text))
}

/// The state in words.
pub(crate) fn state_word(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Running => "Running",
        RolloutState::Paused => "Paused",
        RolloutState::Halting => "Halting",
        RolloutState::Halted => "Halted",
        RolloutState::Aborting => "Being aborted",
        RolloutState::Aborted => "Aborted",
        RolloutState::Completed => "Completed",
        RolloutState::CompletedWithFailures => "Completed with failures",
        _ => "Unknown",
    }
}

fn tone(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Halting | RolloutState::Halted => "bad",
        RolloutState::Paused | RolloutState::Aborting | RolloutState::CompletedWithFailures => {
            "warn"
        }
        _ => "",
    }
}

/// One sentence: what goes on, and why.
fn explained(v: &view::Rollout) -> String {
    let done = v.counts.total() - v.counts.pending - v.counts.updating;
    let bad = v.counts.failed + v.counts.rolled_back;
    let progress = format!(
        "Stage {} of {}, {done} of {} done",
        v.stage,
        v.stages.len(),
        show::hosts(v.counts.total())
    );
    let flight = show::hosts(v.counts.updating);
    let reason = v.reason.as_deref().map_or_else(String::new, |reason| {
        format!(" Why: {}.", printable(reason).replace('_', " "))
    });
    match v.state {
        RolloutState::Running => format!("{progress}, {bad} failed or rolled back."),
        RolloutState::Paused => {
            format!("{progress}. No new host is started; {flight} under way.{reason}")
        }
        RolloutState::Halting => format!(
            "{progress}. Too many hosts failed: no new one is started, {flight} under way finish first.{reason}"
        ),
        RolloutState::Aborting => format!("{progress}. {flight} under way finish first.{reason}"),
        RolloutState::Halted => format!(
            "{bad} of {} failed or rolled back, {} never started.{reason}",
            show::hosts(v.counts.total()),
            v.counts.skipped
        ),
        RolloutState::Aborted => format!(
            "{} updated, {bad} failed or rolled back, {} never started.{reason}",
            v.counts.success, v.counts.skipped
        ),
        RolloutState::Completed => {
            format!("All {} are on their target.", show::hosts(v.counts.total()))
        }
        _ => format!(
            "{} on their target, {bad} failed or rolled back.{reason}",
            show::hosts(v.counts.success)
        ),
    }
}

/// The policy in words.
pub(crate) fn pace(policy: &view::PolicyView) -> String {
    let stages: Vec<String> = policy.stages.iter().map(|p| format!("{p} %")).collect();
    format!(
        "{}; halts when more than {} % of a stage fail; {} connections, {} hosts at once; settles {}",
        stages.join(" → "),
        policy.max_failure_percent,
        policy.concurrency,
        policy.max_in_flight,
        show::duration(policy.settle_seconds)
    )
}

/// The gate as a count.
pub(crate) fn gate(may_fail: u32, hosts: u32) -> String {
    if may_fail >= hosts {
        "never halts".to_owned()
    } else {
        format!("{} failure halts", show::ordinal(may_fail + 1))
    }
}

fn stage(v: &view::Stage) -> StageShown {
    let (word, tone) = match v.state {
        StageState::Running => ("now", ""),
        StageState::Passed => ("passed", "ok"),
        StageState::Failed => ("not passed", "bad"),
        _ if v.counts.pending == 0 => ("never started", "dim"),
        _ => ("later", "dim"),
    };
    StageShown {
        done: v.hosts.saturating_sub(v.counts.pending + v.counts.updating),
        bad: v.counts.failed + v.counts.rolled_back,
        gate: gate(v.may_fail, v.hosts),
        word,
        tone,
        bar: Bar::of_counts(&v.counts, v.hosts),
        counts: counts(&v.counts),
        v: v.clone(),
    }
}

fn counts(v: &view::Counts) -> Vec<Count> {
    let all = [
        ("success", v.success, "on target"),
        ("rolled_back", v.rolled_back, "rolled back"),
        ("failed", v.failed, "failed"),
        ("updating", v.updating, "updating"),
        ("pending", v.pending, "waiting"),
        ("skipped", v.skipped, "skipped"),
    ];
    all.into_iter()
        .map(|(kind, number, word)| Count {
            kind,
            number,
            word: word.to_owned(),
        })
        .collect()
}
