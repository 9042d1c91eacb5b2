//! The way of one attempt, from the first look to the proof. Read from top to bottom: each part of the story comes after
//! the one that leads to it. Single steps are done by the driver, what their answers mean is said in `judge`, and what is
//! sent stands in `steps` and `scripts/`.

use fleet_types::{
    CommitHash, HostEvent, Outcome, Phase, Planted, Previous, Reason, StepId, planted,
};
use ssh_exec::Transport;

use crate::driver::{Driver, Left};
use crate::facts::{Inspection, Unit};
use crate::failure::{Broken, Effect, Failure};
use crate::journal::{Journal, Stopped};
use crate::judge::{self, Decision, Verified};
use crate::outcome;
use crate::spec::{AttemptSpec, Goal};
use crate::steps::{self, Direction, Pull};

/// Takes one host to its goal, or back, and proves where it ended.
///
/// Every event is durable in the journal before the engine acts on it; the last one is `Settled` with the outcome that
/// is returned. `Err` means that the attempt was given up without a result; the journal has all that another worker
/// needs to go on. So it is when the future is dropped: a command under way goes on alone on the host, at most until its
/// own limit, and holds the host's lock for as long.
///
/// # Errors
///
/// [`Stopped`] when the journal said so, the transport withheld a connection or a command, or our own credential cannot be
/// loaded.
pub async fn run_attempt(
    spec: AttemptSpec,
    transport: &dyn Transport,
    journal: &mut dyn Journal,
) -> Result<Outcome, Stopped> {
    let mut attempt = Attempt {
        spec: &spec,
        driver: Driver::new(&spec, transport, journal),
        unit: Unit::default(),
        user: None,
        target_is_known: false,
        head: None,
    };
    let mut outcome = match attempt.story().await {
        Ok(outcome) => outcome,
        Err(Broken::Failed(failure)) => attempt.without_proof(&failure),
        Err(Broken::Stopped(stopped)) => return Err(stopped),
    };
    if planted(Planted::UnreachableIsSuccess) && outcome.reason == Reason::Unreachable {
        outcome = outcome::updated(attempt.target());
    }
    outcome.version = outcome.version.or(attempt.head);
    outcome.touched &= !planted(Planted::TouchedForgotten);
    attempt.driver.disconnect().await;
    attempt
        .driver
        .record(HostEvent::Settled {
            outcome: outcome.clone(),
        })
        .await?;
    Ok(outcome)
}

struct Attempt<'a> {
    spec: &'a AttemptSpec,
    driver: Driver<'a>,
    /// The service as last seen: what a restart and a verification are compared with.
    unit: Unit,
    /// The user's number on the host.
    user: Option<String>,
    target_is_known: bool,
    /// Where HEAD was seen last.
    head: Option<CommitHash>,
}

impl Attempt<'_> {
    /// Forward to the target. If a step fails after something was changed: back.
    async fn story(&mut self) -> Result<Outcome, Broken> {
        if let Err(invalid) = self.spec.app.check() {
            return Err(
                Failure::new(StepId::Inspect, Reason::Internal, invalid.to_string())
                    .with(Effect::NotRun)
                    .into(),
            );
        }
        self.driver.connect().await?;
        let arrived = match self.on_record() {
            OnRecord::Nothing => match self.first_look().await? {
                Look::Settled(outcome) => return Ok(outcome),
                Look::Go(previous) => self.forward(&previous).await,
            },
            OnRecord::Forward(previous) => match self.look_again().await {
                Ok(()) => self.forward(&previous).await,
                // No step has failed: that the host could not be asked is no reason to take it back.
                Err(Broken::Failed(failure)) if is_no_answer(&failure) => {
                    return Ok(outcome::unproven(&failure));
                }
                Err(broken) => Err(broken),
            },
            OnRecord::Back(previous, cause) => {
                return match unless_lost(self.look_again().await)? {
                    Ok(()) => self.back(&previous, &cause).await,
                    Err(failure) => Ok(outcome::rollback_failed(
                        &self.spec.app,
                        &previous,
                        &cause,
                        &failure,
                    )),
                };
            }
        };
        match arrived {
            Ok(()) => Ok(outcome::updated(self.target())),
            Err(Broken::Failed(failure)) => self.after_failure(failure).await,
            Err(stopped) => Err(stopped),
        }
    }

    fn target(&self) -> &CommitHash {
        self.spec.goal.target()
    }

    /// What another worker, or this one before it was restarted, has done already.
    fn on_record(&self) -> OnRecord {
        let progress = self.driver.progress();
        if planted(Planted::PreviousReread) {
            return OnRecord::Nothing;
        }
        match (&progress.previous, &progress.phase) {
            (Some(previous), Phase::Forward)
                if progress.touched && planted(Planted::TakeoverGoesBack) =>
            {
                let failure = Failure::new(StepId::Connect, Reason::OutcomeUnknown, "planted");
                OnRecord::Back(previous.clone(), failure)
            }
            (
                Some(previous),
                Phase::Back {
                    step,
                    reason,
                    message,
                },
            ) => OnRecord::Back(previous.clone(), Failure::new(*step, *reason, message)),
            (Some(previous), Phase::Forward) if progress.touched => {
                OnRecord::Forward(previous.clone())
            }
            _ => OnRecord::Nothing,
        }
    }

    /// Looks at an untouched host and decides. What it is like is durable before anything is changed.
    async fn first_look(&mut self) -> Result<Look, Broken> {
        let mut work = steps::inspect(&self.spec.app, Some(self.target()));
        if self.spec.left_behind {
            // A host in the midst of it is not as it was before this attempt, and may not stay as it is seen.
            self.driver.expect_leftovers(self.longest(None));
            work.guarded = true;
        }
        let (seen, decision) = match self.decide(&work).await {
            // The host cannot keep a lock, which its disk or its owner may be the cause of: a look without one can tell, and
            // decides nothing else.
            Err(Broken::Failed(failure))
                if work.guarded && failure.reason == Reason::PullFailed =>
            {
                work.guarded = false;
                self.decide(&work).await?;
                return Err(failure.into());
            }
            decided => decided?,
        };
        self.head = seen.head().cloned();
        self.target_is_known = seen.relation.is_some();
        self.user = seen.user;
        self.unit = seen.unit;
        match decision {
            Decision::Unchanged => Ok(Look::Settled(outcome::unchanged(self.target()))),
            Decision::MovedOn(message) => Ok(Look::Settled(outcome::moved_on(message))),
            Decision::Go(found) => Ok(Look::Go(self.keep_previous(found).await?)),
        }
    }

    /// What a look comes to.
    async fn decide(&mut self, work: &steps::Work) -> Result<(Inspection, Decision), Broken> {
        let (app, goal) = (&self.spec.app, &self.spec.goal);
        self.driver
            .step(StepId::Inspect, work, |output| {
                let seen = Inspection::of(output);
                judge::judge_exit(output, StepId::Inspect)?;
                match judge::judge_inspection(&seen, app, goal) {
                    Ok(decision) => Ok((seen, decision)),
                    Err((reason, message)) => {
                        Err(Failure::new(StepId::Inspect, reason, message).with(Effect::NotRun))
                    }
                }
            })
            .await
    }

    /// Puts the way back on record, or checks the host against the one that stands there.
    async fn keep_previous(&mut self, found: Previous) -> Result<Previous, Broken> {
        let known = self.driver.progress().previous.clone();
        let Some(known) = known.filter(|_| !planted(Planted::PreviousReread)) else {
            self.driver
                .record(HostEvent::PreviousKnown {
                    previous: found.clone(),
                })
                .await?;
            return Ok(found);
        };
        if known.version != found.version {
            let message = format!(
                "HEAD is {}, and was {} before",
                found.version.short(),
                known.version.short()
            );
            let failure = Failure::new(StepId::Inspect, Reason::ConcurrentChange, message);
            return Err(failure.with(Effect::NotRun).into());
        }
        Ok(known)
    }

    /// Looks at a host in the middle of an update, once whatever was left running there has ended. What is in the way is
    /// met by the steps themselves; all that matters here is how long the unit may take.
    async fn look_again(&mut self) -> Result<(), Broken> {
        // Not the step that the driver is in: the one that the worker before was in.
        let step = self.spec.progress.step;
        self.driver.expect_leftovers(self.longest(step));
        let mut work = steps::inspect(&self.spec.app, Some(self.target()));
        work.guarded = true;
        let seen = self
            .driver
            .step(StepId::Inspect, &work, |output| Ok(Inspection::of(output)))
            .await?;
        self.head = seen.head().cloned();
        self.user = seen.user;
        // It may be the old process or the new one: no restart is to be measured against it.
        self.unit = Unit {
            active_state: String::new(),
            ..seen.unit
        };
        Ok(())
    }

    /// How long a command of this step may go on by itself; of any, if it is not known which.
    fn longest(&self, step: Option<StepId>) -> u32 {
        let app = &self.spec.app;
        let seconds = |step| match step {
            StepId::Pull => steps::pull_seconds(app),
            StepId::RollbackCheckout => steps::checkout_seconds(app),
            StepId::Install | StepId::RollbackInstall => steps::install(app, step).host_seconds(),
            // Nobody has looked at the unit.
            StepId::Restart | StepId::RollbackRestart => {
                steps::restart(app, step, &Unit::with_default_limits(), None).host_seconds()
            }
            StepId::Verify | StepId::RollbackVerify => {
                steps::verify(app, step, &Unit::default(), None).host_seconds()
            }
            _ => 0,
        };
        match step {
            // The look of yet another worker came after it: it could have been any.
            Some(StepId::Connect | StepId::Inspect) | None => StepId::ALL
                .iter()
                .map(|step| seconds(*step))
                .max()
                .unwrap_or(0),
            Some(step) => seconds(step),
        }
    }

    /// The five steps to the target.
    async fn forward(&mut self, previous: &Previous) -> Result<(), Broken> {
        if previous.version != *self.target() {
            let work = self.pull_work(previous);
            self.driver
                .step(StepId::Pull, &work, |output| {
                    judge::judge_pull(output, previous)
                })
                .await?;
            self.head = Some(self.target().clone());
        }
        self.install(StepId::Install).await?;
        self.restart_and_prove().await
    }

    fn pull_work(&self, previous: &Previous) -> steps::Work {
        let (direction, on_branch) = match &self.spec.goal {
            Goal::Update { branch, .. } => (Direction::Forward, branch.as_ref()),
            Goal::Back { .. } => (Direction::Back, None),
        };
        let pull = Pull {
            previous,
            target: self.target(),
            on_branch,
            direction,
            known: self.target_is_known,
            resume: self.driver.left() != Left::Nothing,
        };
        steps::pull(&self.spec.app, &pull)
    }

    async fn install(&mut self, step: StepId) -> Result<(), Broken> {
        let work = steps::install(&self.spec.app, step);
        self.driver
            .step(step, &work, |output| judge::judge_install(output, step))
            .await
    }

    async fn restart_and_prove(&mut self) -> Result<(), Broken> {
        self.restart(StepId::Restart).await?;
        let target = self.target().clone();
        let (settle, verify) = (StepId::Settle, StepId::Verify);
        let proof = self.prove(settle, verify, &target, true).await?;
        Ok(proof.all()?)
    }

    /// Watches the service for a while, then looks what is proven of `wanted`. A reboot in between says nothing about the
    /// service; it is watched once more.
    async fn prove(
        &mut self,
        settle: StepId,
        verify: StepId,
        wanted: &CommitHash,
        installed: bool,
    ) -> Result<Verified, Broken> {
        self.driver.settle(settle).await?;
        let proof = self.verify(verify, wanted, installed).await?;
        if !(proof.rebooted && proof.active) {
            return Ok(proof);
        }
        self.unit = proof.unit;
        self.driver.settle(settle).await?;
        self.verify(verify, wanted, installed).await
    }

    /// Restarts the service. Whether the one that runs afterwards is another one is told from the one seen before.
    async fn restart(&mut self, step: StepId) -> Result<(), Broken> {
        let work = steps::restart(&self.spec.app, step, &self.unit, self.user.as_deref());
        self.unit = self
            .driver
            .step(step, &work, |output| {
                judge::judge_restart(output, step, &self.unit)
            })
            .await?;
        Ok(())
    }

    /// What is proven of `wanted`. The step has failed on record if anything is not. `complete`: it was installed and the
    /// service restarted on it.
    async fn verify(
        &mut self,
        step: StepId,
        wanted: &CommitHash,
        complete: bool,
    ) -> Result<Verified, Broken> {
        let proves = complete.then_some(wanted);
        let work = steps::verify(&self.spec.app, step, &self.unit, proves);
        let mut verified = None;
        let result = self
            .driver
            .step(step, &work, |output| {
                let mut seen = judge::judge_verify(output, step, wanted, &self.unit);
                let back = step == StepId::RollbackVerify && planted(Planted::RollbackNotProven);
                if planted(Planted::NoProof) || back {
                    (seen.place, seen.service) = (Ok(()), Ok(()));
                }
                let all = seen.all();
                verified = Some(seen);
                all
            })
            .await;
        match (result, verified) {
            // What was seen is worth nothing when it could not be put on record: the host may be somebody else's now.
            (Err(Broken::Stopped(stopped)), _) => Err(stopped.into()),
            (_, Some(seen)) => {
                self.head.clone_from(&seen.head);
                Ok(seen)
            }
            (Err(broken), None) => Err(broken),
            (Ok(()), None) => {
                Err(Stopped("a verification was judged without being looked at".to_owned()).into())
            }
        }
    }

    /// A step on the way to the target failed.
    async fn after_failure(&mut self, failure: Failure) -> Result<Outcome, Broken> {
        if self.is_untouched(&failure) {
            return Ok(outcome::refused(&failure));
        }
        match failure.effect {
            Effect::HostLost | Effect::Foreign => Err(failure.into()),
            _ => match self.driver.progress().previous.clone() {
                Some(previous) if previous.version == *self.target() => {
                    self.last_try(&previous, failure).await
                }
                Some(previous) => {
                    self.driver
                        .record(HostEvent::RollbackStarted {
                            step: failure.step,
                            reason: failure.reason,
                            message: failure.message.clone(),
                        })
                        .await?;
                    self.back(&previous, &failure).await
                }
                None => Err(failure.into()),
            },
        }
    }

    fn is_untouched(&self, failure: &Failure) -> bool {
        match self.driver.left() {
            Left::Nothing => true,
            Left::PullPerhaps => failure.effect == Effect::ProvenUnchanged,
            Left::Something => false,
        }
    }

    /// The version is the target already, so there is no other to go back to: once more from where it failed.
    async fn last_try(&mut self, previous: &Previous, first: Failure) -> Result<Outcome, Broken> {
        let installed = match first.step {
            StepId::Install => unless_lost(self.install(StepId::Install).await)?,
            _ => Ok(()),
        };
        let again = match installed {
            Ok(()) => unless_lost(self.restart_and_prove().await)?,
            failed => failed,
        };
        Ok(match again {
            Ok(()) => outcome::updated(self.target()),
            Err(_) => outcome::no_previous(previous, &first),
        })
    }

    /// Back to the previous version, because of `cause`. The service is restarted only on files that are proven to be
    /// the previous ones.
    async fn back(&mut self, previous: &Previous, cause: &Failure) -> Result<Outcome, Broken> {
        let app = &self.spec.app;
        if !planted(Planted::RollbackWithoutCheckout)
            && let Err(failure) = self.checkout(previous).await?
        {
            return Ok(outcome::rollback_failed(app, previous, cause, &failure));
        }
        self.head = Some(previous.version.clone());
        // A service that may run although its install failed is worth a start, even if nobody can vouch for the host.
        let installed = match planted(Planted::RollbackWithoutInstall) {
            true => Ok(()),
            false => unless_lost(self.install(StepId::RollbackInstall).await)?,
        };
        let restarted = unless_lost(self.restart(StepId::RollbackRestart).await)?;
        // A service that did not start needs no watching, but where HEAD is must be known.
        let proof = match &restarted {
            Ok(()) => {
                let (settle, verify) = (StepId::RollbackSettle, StepId::RollbackVerify);
                self.prove(settle, verify, &previous.version, installed.is_ok())
                    .await
            }
            Err(_) => {
                self.verify(StepId::RollbackVerify, &previous.version, false)
                    .await
            }
        };
        let proof = unless_lost(proof)?;
        Ok(outcome::of_rollback(
            app,
            previous,
            cause,
            outcome::Rollback {
                installed,
                restarted,
                proof,
            },
        ))
    }

    /// The forced checkout, with a second try.
    async fn checkout(&mut self, previous: &Previous) -> Result<Result<(), Failure>, Broken> {
        let work = steps::checkout(&self.spec.app, previous, self.target());
        let mut result = Ok(());
        for _ in 0..2 {
            let step = self.driver.step(StepId::RollbackCheckout, &work, |output| {
                judge::judge_checkout(output, previous)
            });
            result = unless_lost(step.await)?;
            match &result {
                Err(failure) if failure.effect != Effect::Foreign => {}
                _ => break,
            }
        }
        Ok(result)
    }

    /// The outcome when nothing more can be proven.
    fn without_proof(&self, failure: &Failure) -> Outcome {
        match self.driver.left() {
            Left::Nothing => outcome::refused(failure),
            _ => outcome::unproven(failure),
        }
    }
}

/// What stands on record at the start.
enum OnRecord {
    Nothing,
    Forward(Previous),
    Back(Previous, Failure),
}

/// What the first look came to.
enum Look {
    Settled(Outcome),
    Go(Previous),
}

/// Whether a look came to nothing, once and again: that says nothing about the host.
fn is_no_answer(failure: &Failure) -> bool {
    let unanswered = matches!(failure.reason, Reason::OutcomeUnknown | Reason::Timeout);
    failure.effect == Effect::NotRun || (failure.step == StepId::Inspect && unanswered)
}

/// Lets the story go on after a step that failed, unless there is nobody to go on with.
fn unless_lost<T>(result: Result<T, Broken>) -> Result<Result<T, Failure>, Broken> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Broken::Failed(failure)) if failure.effect != Effect::HostLost => Ok(Err(failure)),
        Err(broken) => Err(broken),
    }
}
