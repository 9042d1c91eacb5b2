//! After the first signal: the pause is put on record beside the work, and it is watched whether the database answers at all.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::Store;
use fleet_types::{HostName, RolloutId};
use rollout_orchestrator::WorkerStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::display::words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{DatabaseFleet, Rollouts as _};
use crate::signals::Caught;

/// How long the hosts in flight may take after SIGTERM; the rest of the 30 s is for leaving.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(21);
/// All of it.
const TERM_LIMIT: Duration = Duration::from_secs(30);
/// Hosts in flight are not waited for any longer when the database has not answered for so long: without it nothing is sent
/// to them, and how they end cannot be recorded. Longer than any lock is waited for.
const SILENCE: Duration = Duration::from_secs(25);
/// After so long it is said that the database has not answered yet.
const HINT: Duration = Duration::from_secs(2);
/// How long it takes until a database that answered is asked again.
const LOOK: Duration = Duration::from_millis(500);

/// What is under way since the first signal.
pub(crate) struct Stopping {
    signal: Caught,
    begun: Instant,
    /// None once it was told what came of it.
    pausing: Option<AbortOnDropHandle<Result<(), Failure>>>,
    hinted: bool,
    /// Ends when the database has been silent for too long.
    silent: AbortOnDropHandle<()>,
    answered: watch::Receiver<Instant>,
    status: watch::Receiver<WorkerStatus>,
}

/// What came of it meanwhile.
pub(crate) enum Said {
    /// To be told.
    Note(String),
    /// Nobody waits for the hosts in flight any longer.
    Leave,
}

impl Stopping {
    /// The worker, whose status this is, was told to stop already.
    pub(crate) fn begin(
        database: &DatabaseFleet,
        id: RolloutId,
        signal: Caught,
        status: watch::Receiver<WorkerStatus>,
    ) -> Self {
        let pausing = database.clone();
        let pausing = tokio::spawn(async move { pausing.pause(id).await });
        let (note, answered) = watch::channel(Instant::now());
        let silent = tokio::spawn(until_silent(Arc::clone(&database.store), id, note));
        Self {
            signal,
            begun: Instant::now(),
            pausing: Some(AbortOnDropHandle::new(pausing)),
            hinted: false,
            silent: AbortOnDropHandle::new(silent),
            answered,
            status,
        }
    }

    /// What comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Said {
        let hint_at = self.begun + HINT;
        let end = match self.signal {
            Caught::Terminate => Some(self.begun + TERM_GRACE),
            Caught::Interrupt | Caught::Again => None,
        };
        let is_pausing = self.pausing.is_some();
        tokio::select! {
            said = Self::until_paused(&mut self.pausing, &self.status), if is_pausing => {
                Said::Note(said + self.what_next())
            }
            () = sleep_until(hint_at), if is_pausing && !self.hinted => {
                self.hinted = true;
                let what = "stopping (the database has not answered yet): no further host is started";
                Said::Note(what.to_owned() + self.what_next())
            }
            _ = &mut self.silent => Said::Leave,
            () = sleep_until(end.unwrap_or(hint_at)), if end.is_some() => Said::Leave,
        }
    }

    /// Waits until the pause is on record, if it is not yet, and tells what came of it.
    pub(crate) async fn paused(&mut self) -> Option<String> {
        self.pausing.as_ref()?;
        Some(Self::until_paused(&mut self.pausing, &self.status).await)
    }

    async fn until_paused(
        pausing: &mut Option<AbortOnDropHandle<Result<(), Failure>>>,
        status: &watch::Receiver<WorkerStatus>,
    ) -> String {
        let Some(task) = pausing else {
            return std::future::pending().await;
        };
        let paused = task.await;
        *pausing = None;
        let waits = match status.borrow().in_flight.len() {
            0 => "nothing is in flight".to_owned(),
            count => format!(
                "{} in flight finish",
                words::hosts(u32::try_from(count).unwrap_or(u32::MAX))
            ),
        };
        match paused.unwrap_or_else(|error| Err(Failure::unexpected(error))) {
            Ok(()) => format!("paused: no further host is started, {waits}"),
            // It is ending by itself, or cannot be reached; what is in flight finishes all the same.
            Err(failure) => format!("stopping ({}): {waits}", failure.what()),
        }
    }

    fn what_next(&self) -> &'static str {
        match self.signal {
            Caught::Terminate => "",
            Caught::Interrupt | Caught::Again => ". Ctrl-C again leaves at once",
        }
    }

    /// How long it may take from here on to read how things stand.
    pub(crate) fn patience(&self) -> Duration {
        match self.signal {
            Caught::Terminate => TERM_LIMIT.saturating_sub(self.begun.elapsed()),
            Caught::Interrupt | Caught::Again => SILENCE,
        }
    }

    /// For how long the database has not answered.
    pub(crate) fn silence(&self) -> Duration {
        self.answered.borrow().elapsed()
    }

    /// Whether the database has answered after that.
    pub(crate) fn was_answered_since(&self, then: Instant) -> bool {
        *self.answered.borrow() > then
    }
}

/// Returns once the database has not answered for [`SILENCE`].
async fn until_silent(store: Arc<dyn Store>, id: RolloutId, answered: watch::Sender<Instant>) {
    let answer = async || {
        while store.rollout_get(id).await.is_err() {
            sleep(LOOK).await;
        }
    };
    while timeout(SILENCE, answer()).await.is_ok() {
        answered.send_replace(Instant::now());
        sleep(LOOK).await;
    }
}

/// Why this program leaves without having heard how the rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// The database did not say, or said this.
    Silent(String),
    /// A person did not wait for it.
    Unwaited,
}

impl Unheard {
    /// After the database has not answered for so long, if that is known.
    pub(crate) fn silent(silence: Option<Duration>) -> Self {
        Self::Silent(match silence.map(|silence| silence.as_secs()) {
            Some(seconds @ 1..) => format!("the database has not answered for {seconds} s"),
            // It may be slow, and have answered something else meanwhile.
            _ => "the database has not said it in time".to_owned(),
        })
    }

    fn why(&self) -> &str {
        match self {
            Self::Silent(why) => why,
            Self::Unwaited => "another signal came before it was read",
        }
    }

    /// What has to be so before anybody goes on.
    fn condition(&self) -> &'static str {
        match self {
            Self::Silent(_) => ", once the database answers",
            Self::Unwaited => "",
        }
    }
}

/// This program leaves without having heard how the rollout stands.
pub(crate) fn left_unheard(id: RolloutId, unfinished: &[HostName], unheard: &Unheard) -> Failure {
    let id = id.short();
    let (why, condition) = (unheard.why(), unheard.condition());
    let failure = Failure::new(
        Exit::Interrupted,
        format!("interrupted: how rollout {id} stands is not known: {why}"),
    );
    if unfinished.is_empty() {
        let help = format!("rollout-cli resume {id} goes on{condition}");
        return failure.why("nothing was in flight here").help(help);
    }
    let names = words::names(unfinished);
    failure
        .why(format!("a step may still run on {names}"))
        .help(format!(
            "another process takes these hosts over, or rollout-cli resume {id} does{condition}"
        ))
}
