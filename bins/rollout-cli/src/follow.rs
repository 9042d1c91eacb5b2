//! From the event feed to a display.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::Store;
use fleet_types::view;
use fleet_types::{Event, RolloutId, Seq};

use crate::display::{Display, Model};
use crate::failure::Failure;

/// How long a wait for events lasts at most.
const PATIENCE: Duration = Duration::from_millis(500);
/// Events read at once.
const BATCH: u32 = 500;

/// Reads a rollout's events in order, from its first one on, and shows them.
pub(crate) struct Follower {
    store: Arc<dyn Store>,
    id: RolloutId,
    after: Seq,
    /// What is known so far.
    pub model: Model,
    display: Box<dyn Display>,
}

impl Follower {
    /// Begins at the rollout's first event.
    pub(crate) async fn new(
        store: &Arc<dyn Store>,
        id: RolloutId,
        display: Box<dyn Display>,
    ) -> Result<Self, Failure> {
        let rollout = rollout_view(store, id).await?;
        Ok(Self {
            store: Arc::clone(store),
            id,
            after: Seq(0),
            model: Model::new(rollout),
            display,
        })
    }

    /// What comes next, once there is any. The future is its own, so that it can be kept over other things that happen:
    /// one that is dropped and made anew all the time may never come to an end on a slow database.
    pub(crate) fn next(&self) -> Next {
        Box::pin(next(Arc::clone(&self.store), self.id, self.after))
    }

    /// Shows all that is there now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let events = self
                .store
                .events_after(self.after, Some(self.id), BATCH)
                .await?;
            if events.is_empty() {
                return Ok(());
            }
            self.take(&events)?;
        }
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

async fn next(store: Arc<dyn Store>, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure> {
    let events = store.events_after(after, Some(id), BATCH).await?;
    if !events.is_empty() {
        return Ok(events);
    }
    // From here on all events are read, so that the wait begins after those of others as well: waiting from an older number
    // would not wait at all.
    let mut seen = after;
    loop {
        let mut events = store.events_after(seen, None, BATCH).await?;
        match events.last() {
            Some(last) => seen = last.seq,
            None => store.events_wait(seen, PATIENCE).await?,
        }
        events.retain(|event| event.rollout == Some(id));
        if !events.is_empty() {
            return Ok(events);
        }
    }
}

/// A rollout that must be there.
pub(crate) async fn rollout_view(
    store: &Arc<dyn Store>,
    id: RolloutId,
) -> Result<view::Rollout, Failure> {
    store
        .rollout_view(id)
        .await?
        .ok_or_else(|| Failure::refused(format!("there is no rollout {id}")))
}

/// The hosts that have a part in the rollout, each with it.
pub(crate) async fn rollout_hosts(
    store: &Arc<dyn Store>,
    id: RolloutId,
) -> Result<Vec<view::Host>, Failure> {
    let mut hosts = store.host_views(Some(id)).await?;
    hosts.retain(|host| {
        host.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.rollout == id)
    });
    Ok(hosts)
}
