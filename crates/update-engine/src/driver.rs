//! Does single steps: intent on record, command under the host's lock, answer or loss, result on record.

use std::time::Duration;

use fleet_types::{Epoch, HostEvent, Planted, Progress, Reason, StepId, StepOutput, planted};
use ssh_exec::{CommandOutput, ConnectError, GuardRefusal, HostGuard, SessionError, Transport};
use tokio::time::{Instant, sleep};

use crate::failure::{Broken, Effect, Failure, one_line, without_passwords};
use crate::journal::{Journal, Stopped};
use crate::link::{Link, reason_of};
use crate::spec::{AttemptSpec, GuardSpec};
use crate::steps::Work;

/// How often a step is sent again after an outcome that is not known.
const RERUNS: u32 = 3;
/// How often the host's record may turn out to outrank us in one step.
const RAISES: u32 = 3;

/// What may be left of the attempt on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// No mutating command has run.
    Nothing,
    /// A pull may have run, and nothing after it: facts can still prove that it changed nothing.
    PullPerhaps,
    /// Something did, or may have.
    Something,
}

/// Carries single steps out.
pub(crate) struct Driver<'a> {
    spec: &'a AttemptSpec,
    link: Link<'a>,
    journal: &'a mut dyn Journal,
    progress: Progress,
    guard: GuardSpec,
    left: Left,
    /// The longest that a command which another worker left behind may keep the lock, until ours has had it once.
    leftover_seconds: u32,
    /// A command under the host's lock was sent and may still be on its way: the next one has to outrank it.
    outrank: bool,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        spec: &'a AttemptSpec,
        transport: &'a dyn Transport,
        journal: &'a mut dyn Journal,
    ) -> Self {
        let progress = spec.progress.clone();
        let left = match (progress.touched, progress.step) {
            (false, _) => Left::Nothing,
            (true, Some(StepId::Pull)) => Left::PullPerhaps,
            (true, _) => Left::Something,
        };
        Self {
            spec,
            link: Link::new(transport, &spec.endpoint),
            journal,
            // Who began this attempt may have left a command on its way, and under this very epoch.
            outrank: progress.touched && !planted(Planted::NoRaise),
            progress,
            guard: spec.guard.clone(),
            left,
            leftover_seconds: 0,
        }
    }

    pub(crate) fn left(&self) -> Left {
        self.left
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Makes an event durable.
    pub(crate) async fn record(&mut self, event: HostEvent) -> Result<(), Stopped> {
        // An event that cannot follow is a fault of ours. Nothing may be done on the strength of it.
        self.progress = self
            .progress
            .after(&event)
            .map_err(|illegal| Stopped(illegal.to_string()))?;
        tracing::debug!(host = %self.spec.endpoint.name, step = ?self.progress.step, "recorded");
        self.journal.record(&event).await
    }

    /// Opens the first connection, as a step of its own.
    pub(crate) async fn connect(&mut self) -> Result<(), Broken> {
        let step = StepId::Connect;
        let limit_seconds = self
            .spec
            .app
            .timeouts
            .connect
            .saturating_mul(3)
            .saturating_add(3);
        self.record(HostEvent::StepStarted {
            step,
            limit_seconds,
        })
        .await?;
        let since = Instant::now();
        let connected = match self.left {
            Left::Nothing => self.link.open().await,
            // This host was there a while ago, and is in the middle of an update.
            _ => self.link.reopen(self.reconnect_window()).await,
        };
        let connected = connected.map_err(|error| self.unreachable(step, &error));
        let result = only_failures(connected)?;
        self.finish(step, since, StepOutput::default(), &result)
            .await?;
        Ok(result?)
    }

    /// Gives the connection up in order, so that it holds no slot.
    pub(crate) async fn disconnect(&mut self) {
        self.link.close().await;
    }

    /// Waits while the service settles, without a connection.
    pub(crate) async fn settle(&mut self, step: StepId) -> Result<(), Broken> {
        let wait = self.spec.settle;
        if wait.is_zero() {
            return Ok(());
        }
        let limit_seconds = u32::try_from(wait.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        self.record(HostEvent::StepStarted {
            step,
            limit_seconds,
        })
        .await?;
        self.link.close().await;
        let since = Instant::now();
        sleep(wait).await;
        Ok(self
            .finish(step, since, StepOutput::default(), &Ok(()))
            .await?)
    }

    /// Does one step: its intent is durable before it is sent, and its result before anything else is done.
    pub(crate) async fn step<T>(
        &mut self,
        step: StepId,
        work: &Work,
        judge: impl FnOnce(&CommandOutput) -> Result<T, Failure>,
    ) -> Result<T, Broken> {
        let limit_seconds = work.limit_seconds(self.lock_wait(work, false));
        let intent = HostEvent::StepStarted {
            step,
            limit_seconds,
        };
        let late = planted(Planted::IntentAfterSend) && step.is_mutating();
        if !late {
            self.record(intent.clone()).await?;
        }
        let since = Instant::now();
        let answer = only_failures(self.exchange(step, work).await)?;
        if late {
            self.record(intent).await?;
        }
        let output = answer
            .as_ref()
            .map_or_else(|_| StepOutput::default(), step_output);
        let result = answer.and_then(|output| judge(&output));
        if step.is_mutating()
            && result
                .as_ref()
                .map_or_else(|f| f.effect, |_| Effect::Possible)
                == Effect::Possible
        {
            self.left = Left::Something;
        }
        self.finish(step, since, output, &result).await?;
        Ok(result?)
    }

    async fn finish<T>(
        &mut self,
        step: StepId,
        since: Instant,
        output: StepOutput,
        result: &Result<T, Failure>,
    ) -> Result<(), Stopped> {
        let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record(match result {
            Ok(_) => HostEvent::StepFinished {
                step,
                duration_ms,
                output,
            },
            Err(failure) => HostEvent::StepFailed {
                step,
                reason: failure.reason,
                message: failure.message.clone(),
                duration_ms,
                output,
            },
        })
        .await
    }

    /// Sends the command until it is known to have ended. All commands can be sent again: under the lock the second run
    /// finds what the first one left.
    async fn exchange(&mut self, step: StepId, work: &Work) -> Result<CommandOutput, Broken> {
        let (mut reruns, mut raises, mut replace) = (0, 0, None);
        loop {
            if !self.link.is_open() {
                self.reconnect(step, None).await?;
            }
            if work.guarded && std::mem::take(&mut self.outrank) {
                // One that still waits for the lock must find itself outranked when it gets it after the one sent now.
                self.guard.epoch = self.journal.raise(Epoch(self.guard.epoch)).await?.0;
            }
            let guard = (work.guarded && !planted(Planted::NoHostLock))
                .then(|| self.host_guard(work, reruns > 0, replace.take()));
            let error = match self.link.run(&work.command(guard, reruns > 0)).await {
                Ok(output) => match output.refusal() {
                    None => {
                        if work.guarded {
                            self.leftover_seconds = 0;
                        }
                        return Ok(output);
                    }
                    Some(GuardRefusal::Fenced { store, epoch }) if raises < RAISES => {
                        raises += 1;
                        self.raise(&store, epoch).await?;
                        replace = Some((store, epoch));
                        continue;
                    }
                    Some(refusal) => return Err(refused(step, refusal).into()),
                },
                Err(error) => error,
            };
            if planted(Planted::NoMarker) && matches!(error, SessionError::Lost { .. }) {
                self.link.close().await;
                return Ok(CommandOutput::default());
            }
            self.may_have_run(step, &error);
            self.outrank |= work.guarded && !planted(Planted::NoRaise);
            if reruns == RERUNS || !may_be_sent_again(&error, step, self.left) {
                return Err(self.given_up(step, error)?.into());
            }
            reruns += 1;
            self.reconnect(step, Some(&error)).await?;
        }
    }

    fn host_guard(&self, work: &Work, again: bool, replace: Option<(String, i64)>) -> HostGuard {
        HostGuard {
            repo: self.spec.app.repo.as_str().to_owned(),
            store: self.guard.store.clone(),
            epoch: self.guard.epoch,
            replace,
            wait_seconds: self.lock_wait(work, again),
        }
    }

    /// A command that was left behind keeps the lock for as long as its own limits let it.
    fn lock_wait(&self, work: &Work, again: bool) -> u32 {
        let leftover = if again {
            work.host_seconds().max(self.leftover_seconds)
        } else {
            self.leftover_seconds
        };
        if work.guarded {
            self.spec.app.timeouts.lock.saturating_add(leftover)
        } else {
            0
        }
    }

    /// From here on, until we have had the lock, one that another worker left behind may hold it this long.
    pub(crate) fn expect_leftovers(&mut self, seconds: u32) {
        self.leftover_seconds = seconds;
    }

    fn may_have_run(&mut self, step: StepId, error: &SessionError) {
        use SessionError as E;
        let may_have = !matches!(
            error,
            E::Withheld { .. } | E::Unsendable { .. } | E::ShellBroken { .. }
        );
        if may_have && step.is_mutating() {
            self.left = self.left.max(if step == StepId::Pull {
                Left::PullPerhaps
            } else {
                Left::Something
            });
        }
    }

    /// Opens a connection in mid-attempt. `lost`: because the last one broke.
    async fn reconnect(&mut self, step: StepId, lost: Option<&SessionError>) -> Result<(), Broken> {
        if let Some(error) = lost {
            let message = one_line(&error.to_string());
            self.record(HostEvent::ConnectionLost { step, message })
                .await?;
        }
        let opened = self.link.reopen(self.reconnect_window()).await;
        opened.map_err(|error| self.unreachable(step, &error))
    }

    fn reconnect_window(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.app.timeouts.reconnect))
    }

    /// Raises our epoch above the one on record on the host, as far as the store says that the host is ours.
    async fn raise(&mut self, store: &str, epoch: i64) -> Result<(), Broken> {
        let raised_to = self.journal.raise(self.guard.above(epoch)).await?;
        self.guard.epoch = raised_to.0;
        self.record(HostEvent::FenceReplaced {
            store: store.to_owned(),
            epoch,
            raised_to,
        })
        .await?;
        Ok(())
    }

    /// What no connection means at this point.
    fn unreachable(&self, step: StepId, error: &ConnectError) -> Broken {
        // A credential that cannot be loaded here is no fault of the host either: another process may have it.
        let blames = |reason: &Reason| {
            *reason != Reason::NoCredential || planted(Planted::KeyHeldAgainstHost)
        };
        let Some(reason) = reason_of(error).filter(blames) else {
            return Stopped(error.to_string()).into();
        };
        match self.left {
            Left::Nothing => Failure::new(step, reason, error.to_string())
                .with(Effect::NotRun)
                .into(),
            _ => Failure::new(step, Reason::OutcomeUnknown, error.to_string())
                .with(Effect::HostLost)
                .into(),
        }
    }

    /// The failure of a step that will not be sent again, its outcome not known.
    fn given_up(&self, step: StepId, error: SessionError) -> Result<Failure, Stopped> {
        let message = error.to_string();
        let untouched = self.left == Left::Nothing;
        let (reason, effect) = match &error {
            SessionError::Withheld { .. } => return Err(Stopped(message)),
            SessionError::Unsendable { .. } => (Reason::Internal, Effect::NotRun),
            SessionError::ShellBroken { .. } => (Reason::ShellBroken, Effect::NotRun),
            SessionError::Deadline { .. } if untouched => (Reason::Timeout, Effect::NotRun),
            SessionError::Deadline { .. } => (Reason::Timeout, Effect::Possible),
            _ if untouched => (Reason::Unreachable, Effect::NotRun),
            _ => (Reason::OutcomeUnknown, Effect::Possible),
        };
        Ok(Failure::new(step, reason, message).with(effect))
    }
}

/// A shell that does not work on the first command will not work on the next.
fn may_be_sent_again(error: &SessionError, step: StepId, left: Left) -> bool {
    match error {
        SessionError::Withheld { .. } | SessionError::Unsendable { .. } => false,
        SessionError::ShellBroken { .. } => step != StepId::Inspect || left != Left::Nothing,
        _ => true,
    }
}

fn refused(step: StepId, refusal: GuardRefusal) -> Failure {
    let (reason, message) = match refusal {
        GuardRefusal::Busy => (
            Reason::HostBusy,
            "another command holds the host's lock".to_owned(),
        ),
        GuardRefusal::Fenced { store, epoch } => (
            Reason::HostBusy,
            format!("another worker drives the host (store {store}, epoch {epoch})"),
        ),
        GuardRefusal::Unusable(cause) if cause.contains("no git repository") => {
            (Reason::NoRepo, cause)
        }
        GuardRefusal::Unusable(cause) if cause.contains("not installed") => {
            (Reason::ToolMissing, cause)
        }
        GuardRefusal::Unusable(cause) => (Reason::PullFailed, cause),
    };
    Failure::new(step, reason, message).with(Effect::NotRun)
}

/// Takes the one way out that is no result of a step.
fn only_failures<T>(result: Result<T, Broken>) -> Result<Result<T, Failure>, Stopped> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Broken::Failed(failure)) => Ok(Err(failure)),
        Err(Broken::Stopped(stopped)) => Err(stopped),
    }
}

fn step_output(output: &CommandOutput) -> StepOutput {
    StepOutput {
        exit: Some(output.exit),
        stdout: without_passwords(&output.stdout.text()),
        stderr: without_passwords(&output.stderr.text()),
        total_bytes: output.stdout.total.saturating_add(output.stderr.total),
    }
}
