//! Who the worker is on the store: registering anew after a lost lease, leaving, and bad weather in between.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{LeaseError, NewWorker, Store, StoreError};
use fleet_types::WorkerId;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{Turn, WorkLoop};
use crate::lease::Moment;
use crate::worker::{Finished, Registration, WorkError};

/// A database that says what this program does not know says it again when it means it: a worker ends when it has heard
/// such things for so long, never without as long a silence between two.
const PUZZLED: Duration = Duration::from_secs(60);

/// What the database said that nobody expected: since when, and when last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Puzzle {
    since: Instant,
    last: Instant,
}

impl Puzzle {
    /// Takes note of one more; whether it goes on for too long.
    fn grows(puzzle: &mut Option<Self>) -> bool {
        let now = Instant::now();
        let begun = puzzle.filter(|puzzle| now - puzzle.last < PUZZLED);
        let since = begun.map_or(now, |puzzle| puzzle.since);
        *puzzle = Some(Self { since, last: now });
        now - since > PUZZLED
    }
}

/// How long a leaving worker waits for goodbyes, and for the store to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);

impl WorkLoop {
    /// After the lease was lost: lets go of everything and comes back under a new name.
    pub(super) async fn register_anew(&mut self) -> Result<Turn, WorkError> {
        self.let_go().await;
        if let Some(current) = self.current.take() {
            self.learnt = Some(current.into_learnt());
        }
        self.desks.clear();
        self.give_up_lease().await;
        self.given_up.clear();
        let who = NewWorker {
            id: WorkerId(Uuid::now_v7()),
            ..self.who.clone()
        };
        let since = Moment::now();
        let registered = self.store().worker_register(who).await;
        let Some(id) = self.weather(registered)? else {
            return Ok(Turn::Wait);
        };
        self.orchestrator.outage().over();
        self.registration = Registration::new(&self.orchestrator, id, since);
        self.outlets
            .slots
            .send_replace(self.registration.slots.clone());
        self.take_over_due = true;
        self.company_looked = None;
        self.show();
        Ok(Turn::Again)
    }

    /// Stops every attempt where it stands; its session closes in the background.
    pub(super) async fn let_go(&mut self) {
        self.attempts.abort_all();
        while self.attempts.join_next().await.is_some() {}
        self.owned.clear();
    }

    /// Sends nothing more and closes what is open; then says so, so that what was held can be taken over at once.
    async fn give_up_lease(&self) {
        let slots = &self.registration.slots;
        slots.lease.lose();
        slots.open.close();
        let _ = timeout(FAREWELL, slots.open.wait()).await;
        match timeout(FAREWELL, slots.store.worker_leave(slots.lease.worker())).await {
            Ok(Ok(())) => {}
            // Then it runs out by itself.
            Ok(Err(error)) => slots.lease.outage().note(&error),
            Err(_) => slots.lease.outage().note_silence(),
        }
    }

    pub(super) async fn leave(mut self) -> Finished {
        let unfinished = self.in_flight();
        self.let_go().await;
        let record = self.current.take().map(|current| current.record);
        // Most goodbyes are short. What still opens a connection after that is cut off.
        let open = &self.registration.slots.open;
        open.close();
        let _ = timeout(Duration::from_secs(1), open.wait()).await;
        self.give_up_lease().await;
        Finished { record, unfinished }
    }

    /// `None` when the store cannot answer now; it will be asked again at the next tick.
    pub(super) fn weather<T>(
        &mut self,
        answer: Result<T, StoreError>,
    ) -> Result<Option<T>, WorkError> {
        match answer {
            Ok(answer) => {
                self.trouble = None;
                Ok(Some(answer))
            }
            Err(error) if error.may_pass() || self.may_be_said_once(&error) => {
                self.orchestrator.outage().note(&error);
                self.trouble = Some(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is something that nobody expected, and not for long.
    fn may_be_said_once(&mut self, error: &StoreError) -> bool {
        matches!(error, StoreError::Database { .. }) && !Puzzle::grows(&mut self.puzzle)
    }

    /// The same for a write under the worker's lease: when that is lost, the next turn registers anew.
    pub(super) fn weather_lease<T>(
        &mut self,
        answer: Result<T, LeaseError>,
    ) -> Result<Option<T>, WorkError> {
        match answer {
            Ok(answer) => self.weather(Ok(answer)),
            Err(LeaseError::Store(error)) => {
                self.registration.slots.note_doubt(&error);
                self.weather(Err(error))
            }
            Err(LeaseError::Lost { what }) => {
                tracing::warn!(%what, "the lease is lost");
                self.registration.lease().lose();
                Ok(None)
            }
            Err(error) => Err(WorkError::Internal {
                cause: error.to_string(),
            }),
        }
    }

    pub(super) fn worker(&self) -> WorkerId {
        self.registration.lease().worker()
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.orchestrator.store()
    }
}
