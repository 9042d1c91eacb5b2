//! Moments of an attempt at which a test can make this process die, stop, or wait while the test breaks something.
//!
//! Only in builds with the feature `crash-points`, which no program that people get has. One moment of one step is armed
//! for the life of the process; the first host that comes there springs it.

mod calls;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fleet_types::{Epoch, HostEvent, StepId};
use rustix::process::{Signal, getpid, kill_process};
use update_engine::{AttemptSpec, Journal, Stopped};

/// How long a test may take to break what it wants to break.
const PATIENCE: Duration = Duration::from_secs(180);

static ARMED: OnceLock<Armed> = OnceLock::new();
/// The step that each host of this process is in.
static STEPS: LazyLock<Mutex<HashMap<String, StepId>>> = LazyLock::new(Mutex::default);

/// When, within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing is on record.
    BeforeIntent,
    /// The intent is durable, nothing was sent.
    AfterIntent,
    /// The host has it and has not answered: its command runs, the TCP connection stands, half of the wait is over.
    AfterSend,
    /// The answer is here and not yet on record.
    AfterReply,
    /// The result is durable.
    AfterOutcome,
    /// A call of the store that nobody has seen yet.
    Before,
    /// Its rows are written, and not committed.
    Open,
    /// They are durable; whoever called does not know it yet.
    After,
}

/// What then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    Wait,
}

#[derive(Debug)]
struct Armed {
    step: String,
    /// Instead of a step.
    call: Option<calls::Which>,
    moment: Moment,
    fault: Fault,
    flag: PathBuf,
    sprung: AtomicBool,
}

/// Arms `STEP:MOMENT:FAULT`. A step is one of [`StepId`]'s words, or `previous`, `turn` or `settled` for the three other
/// things that an attempt puts on record, or `store.` with the name of a call of the store or of an event that it writes,
/// perhaps with `#2` for the second one. When it comes to it, `flag` appears with the name of the host, or of the call, in it; with the faults
/// `wait` and `stop` the process goes on there once the flag is gone again. Of several processes with one flag, the first that comes to it
/// springs it: a file beside the flag, with the extension `by`, has the number of its process, and keeps the others from it for as long as
/// it is there.
///
/// # Errors
///
/// What is wrong with the words.
pub fn arm(point: &str, flag: PathBuf) -> Result<(), String> {
    let armed = Armed::parse(point, flag).ok_or_else(|| format!("{point:?} is no crash point"))?;
    if armed.call.is_some() && !calls::watch() {
        return Err("the store is watched already".to_owned());
    }
    ARMED
        .set(armed)
        .map_err(|_| "another one is armed".to_owned())?;
    ssh_exec::on_sent(arrived);
    Ok(())
}

impl Armed {
    fn parse(point: &str, flag: PathBuf) -> Option<Self> {
        let mut words = point.split(':');
        let (step, moment, fault) = (words.next()?, words.next()?, words.next()?);
        let call = match step.strip_prefix("store.") {
            Some(which) => Some(calls::Which::parse(which)?),
            None => None,
        };
        let known = call.is_some()
            || matches!(step, "previous" | "turn" | "settled")
            || step.parse::<StepId>().is_ok();
        if !known || words.next().is_some() {
            return None;
        }
        let moments_of_calls = matches!(moment, "before" | "open" | "after");
        if call.is_some() != moments_of_calls {
            return None;
        }
        Some(Self {
            step: step.to_owned(),
            call,
            moment: match moment {
                "before" => Moment::Before,
                "open" => Moment::Open,
                "after" => Moment::After,
                "before-intent" => Moment::BeforeIntent,
                "after-intent" => Moment::AfterIntent,
                "after-send" => Moment::AfterSend,
                "after-reply" => Moment::AfterReply,
                "after-outcome" => Moment::AfterOutcome,
                _ => return None,
            },
            fault: match fault {
                "kill" => Fault::Kill,
                "stop" => Fault::Stop,
                "wait" => Fault::Wait,
                _ => return None,
            },
            flag,
            sprung: AtomicBool::new(false),
        })
    }

    /// The first time that it comes to that.
    fn spring_once(&self, what: &str) {
        if !self.sprung.swap(true, Ordering::SeqCst) {
            // The store's own threads know no runtime; there this is a plain call.
            tokio::task::block_in_place(|| self.spring(what));
        }
    }

    fn spring(&self, what: &str) {
        if !self.is_ours() {
            return;
        }
        // Complete or not there at all, for whoever looks for it.
        let draft = self.flag.with_extension("draft");
        let raised = fs::write(&draft, what).and_then(|()| fs::rename(&draft, &self.flag));
        raised.expect("a test arms a flag that can be raised");
        match self.fault {
            Fault::Kill => end(Signal::KILL),
            Fault::Stop => end(Signal::STOP),
            Fault::Wait => {}
        }
        // Everything else of this process goes on meanwhile, unless it is stopped.
        let since = Instant::now();
        while self.flag.exists() {
            assert!(since.elapsed() < PATIENCE, "the test forgot its flag");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether no other process was here before.
    fn is_ours(&self) -> bool {
        let path = self.flag.with_extension("by");
        match fs::File::create_new(path) {
            Ok(mut by) => write!(by, "{}", std::process::id()).is_ok(),
            Err(_) => false,
        }
    }
}

/// A signal to a process takes effect on all of its threads a moment later; this one must not go on before that.
fn end(signal: Signal) {
    kill_process(getpid(), signal).expect("a process may signal itself");
    thread::sleep(Duration::from_millis(100));
}

/// A host has come to a moment of a step.
fn reached(host: &str, step: &str, moment: Moment) {
    let Some(armed) = ARMED.get() else { return };
    if armed.moment == moment && armed.step == step {
        armed.spring_once(host);
    }
}

/// Something has arrived at a host.
fn arrived(host: &str, what: &str) {
    let step = steps().get(host).copied();
    if let Some(step) = step.filter(|step| step.as_str() == what) {
        reached(host, step.as_str(), Moment::AfterSend);
    }
}

fn steps() -> std::sync::MutexGuard<'static, HashMap<String, StepId>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A journal whose writes are moments of steps.
#[derive(Debug)]
pub(crate) struct WatchedJournal<'a, J> {
    host: String,
    settle: Duration,
    inner: &'a mut J,
}

/// Watches one attempt by what it puts on record.
pub(crate) fn watch<'a, J: Journal>(spec: &AttemptSpec, inner: &'a mut J) -> WatchedJournal<'a, J> {
    WatchedJournal {
        host: spec.endpoint.name.clone(),
        settle: spec.settle,
        inner,
    }
}

impl<J> WatchedJournal<'_, J> {
    /// Half of the wait is over at this moment.
    fn watch_settling(&self, step: StepId) {
        let (host, half) = (self.host.clone(), self.settle / 2);
        tokio::spawn(async move {
            tokio::time::sleep(half).await;
            reached(&host, step.as_str(), Moment::AfterSend);
        });
    }
}

#[async_trait]
impl<J: Journal> Journal for WatchedJournal<'_, J> {
    async fn record(&mut self, event: &HostEvent) -> Result<(), Stopped> {
        use HostEvent as E;
        let (step, before, after) = match event {
            E::StepStarted { step, .. } => {
                (step.as_str(), Moment::BeforeIntent, Moment::AfterIntent)
            }
            E::StepFinished { step, .. } | E::StepFailed { step, .. } => {
                (step.as_str(), Moment::AfterReply, Moment::AfterOutcome)
            }
            E::PreviousKnown { .. } => ("previous", Moment::AfterReply, Moment::AfterOutcome),
            E::RollbackStarted { .. } => ("turn", Moment::AfterReply, Moment::AfterOutcome),
            E::Settled { .. } => ("settled", Moment::AfterReply, Moment::AfterOutcome),
            E::ConnectionLost { .. } | E::FenceReplaced { .. } => {
                return self.inner.record(event).await;
            }
        };
        if let E::StepStarted { step, .. } = event {
            steps().insert(self.host.clone(), *step);
        }
        reached(&self.host, step, before);
        self.inner.record(event).await?;
        reached(&self.host, step, after);
        if let E::StepStarted { step, .. } = event
            && matches!(step, StepId::Settle | StepId::RollbackSettle)
        {
            self.watch_settling(*step);
        }
        Ok(())
    }

    async fn raise(&mut self, above: Epoch) -> Result<Epoch, Stopped> {
        self.inner.raise(above).await
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_armed() {
        let parse = |text| Armed::parse(text, PathBuf::from("flag"));
        let armed = parse("rollback_install:after-send:stop").unwrap();
        assert_eq!(
            (armed.step.as_str(), armed.moment, armed.fault),
            ("rollback_install", Moment::AfterSend, Fault::Stop)
        );
        assert!(parse("settled:after-reply:kill").is_some());
        let call = parse("store.attempt_claim#2:before:kill")
            .unwrap()
            .call
            .unwrap();
        assert_eq!((call.name.as_str(), call.number), ("attempt_claim", 2));
        assert!(parse("store.stage.finished:open:kill").is_some());
        for wrong in [
            "",
            "pull",
            "pull:after-send",
            "pull:after-send:cut",
            "pull:later:kill",
            "pull:before:kill",
            "store.:before:kill",
            "store.attempt_claim#0:before:kill",
            "store.attempt_claim:after-send:kill",
            "push:after-send:kill",
            "pull:after-send:kill:web-01",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
