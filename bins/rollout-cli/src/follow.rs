//! From the event feed to a display.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_types::{Event, RolloutId, Seq, view};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use tokio::time::{Instant, sleep};

use crate::display::{Display, Model};
use crate::failure::Failure;
use crate::fleet::Fleet;

/// For so long a server that does not answer is waited for.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
/// Before it is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Reads a rollout's events in order, from its first one on, and shows them.
pub(crate) struct Follower {
    fleet: Arc<dyn Fleet>,
    id: RolloutId,
    after: Seq,
    /// What is known so far.
    pub model: Model,
    display: Box<dyn Display>,
    /// Since when the server has not answered.
    silent_since: Option<Instant>,
}

impl Follower {
    /// Begins at the rollout's first event.
    pub(crate) async fn new(
        fleet: Arc<dyn Fleet>,
        id: RolloutId,
        display: Box<dyn Display>,
    ) -> Result<Self, Failure> {
        let rollout = fleet.rollout(id).await?;
        Ok(Self {
            fleet,
            id,
            after: Seq(0),
            model: Model::new(rollout),
            display,
            silent_since: None,
        })
    }

    /// What comes next, once there is any. The future is its own, so that it can be kept over other things that happen:
    /// one that is dropped and made anew all the time may never come to an end on a slow database.
    pub(crate) fn next(&self) -> Next {
        let (fleet, id, after) = (Arc::clone(&self.fleet), self.id, self.after);
        Box::pin(async move { fleet.next_events(id, after).await })
    }

    /// Shows all that is there now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let events = self.fleet.events(self.id, self.after).await?;
            if events.is_empty() {
                return Ok(());
            }
            self.take(&events)?;
        }
    }

    /// Shows what [`Follower::next`] came with. A server that cannot be reached is waited for, since what it works on goes
    /// on, but not for ever.
    pub(crate) async fn heard(
        &mut self,
        events: Result<Vec<Event>, Failure>,
    ) -> Result<(), Failure> {
        let failure = match events {
            Ok(events) => {
                if self.silent_since.take().is_some() {
                    self.display.note("the server answers again");
                }
                return self.take(&events);
            }
            Err(failure) => failure,
        };
        if !failure.may_pass {
            return Err(failure);
        }
        if self.silent_since.is_none() {
            self.display
                .note(&format!("{}; waiting for it", failure.what()));
        }
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= LONGEST_SILENCE {
            return Err(failure);
        }
        sleep(RETRY).await;
        Ok(())
    }

    /// Shows events that [`Follower::next`] came with.
    pub(crate) fn take(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            self.after = event.seq;
            self.model.apply(event);
            self.display.event(event, &self.model)?;
        }
        Ok(())
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        self.display.tick(&self.model);
    }

    /// Says something that is no event.
    pub(crate) fn note(&mut self, text: &str) {
        self.display.note(text);
    }

    /// Ends the display.
    pub(crate) fn close(&mut self) {
        self.display.close();
    }
}

/// Events that come next.
pub(crate) type Next = Pin<Box<dyn Future<Output = Result<Vec<Event>, Failure>> + Send>>;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// How a rollout stands, asked for again and again in a task of its own. It ends when this is dropped.
pub(crate) struct Looks {
    seen: watch::Receiver<Option<view::Rollout>>,
    task: JoinHandle<()>,
}

impl Looks {
    /// Begins to look.
    pub(crate) fn new(fleet: Arc<dyn Fleet>, id: RolloutId) -> Self {
        let (tell, seen) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                // That it cannot be asked now shows in the events too.
                if let Ok(rollout) = fleet.rollout(id).await {
                    tell.send_replace(Some(rollout));
                }
                sleep(LOOK).await;
            }
        });
        Self { seen, task }
    }

    /// What is seen next.
    pub(crate) async fn next(&mut self) -> view::Rollout {
        loop {
            if self.seen.changed().await.is_err() {
                // The task is gone, so there is nothing more to be seen.
                std::future::pending::<()>().await;
            }
            if let Some(rollout) = self.seen.borrow_and_update().clone() {
                return rollout;
            }
        }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}
