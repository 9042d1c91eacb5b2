use std::time::Duration;

use async_trait::async_trait;
use fleet_types::view::{Host, Rollout, Status, StepOutput};
use fleet_types::{Event, HostName, RolloutId, Seq};
use rollout_orchestrator::find_rollout;

use super::DatabaseFleet;
use crate::failure::Failure;
use crate::fleet::Rollouts;

/// How long a wait for events lasts at most.
const PATIENCE: Duration = Duration::from_millis(500);
/// Events read at once.
const BATCH: u32 = 500;

#[async_trait]
impl Rollouts for DatabaseFleet {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(self.store.status().await?)
    }

    async fn rollouts(&self, limit: u32) -> Result<Vec<Rollout>, Failure> {
        let records = self.store.rollout_list(None, limit).await?;
        let mut rollouts = Vec::with_capacity(records.len());
        for record in records {
            rollouts.push(self.rollout(record.id).await?);
        }
        Ok(rollouts)
    }

    async fn find(&self, text: &str) -> Result<RolloutId, Failure> {
        Ok(find_rollout(self.store.as_ref(), text).await?)
    }

    async fn rollout(&self, id: RolloutId) -> Result<Rollout, Failure> {
        let found = self.store.rollout_view(id).await?;
        found.ok_or_else(|| Failure::refused(format!("there is no rollout {id}")))
    }

    async fn rollout_hosts(&self, id: RolloutId) -> Result<Vec<Host>, Failure> {
        let mut hosts = self.store.host_views(Some(id)).await?;
        hosts.retain(|host| {
            let attempt = host.attempt.as_ref();
            attempt.is_some_and(|attempt| attempt.rollout == id)
        });
        Ok(hosts)
    }

    async fn steps(
        &self,
        id: RolloutId,
        host: &HostName,
    ) -> Result<Option<Vec<StepOutput>>, Failure> {
        let steps = self.store.attempt_steps(id, host).await?;
        if steps.is_empty() {
            let attempts = self.store.attempt_list(id).await?;
            if !attempts.iter().any(|attempt| attempt.name == *host) {
                return Ok(None);
            }
        }
        Ok(Some(steps.into_iter().map(StepOutput::from).collect()))
    }

    async fn events(&self, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure> {
        Ok(self.store.events_after(after, Some(id), BATCH).await?)
    }

    async fn next_events(&self, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure> {
        let events = self.events(id, after).await?;
        if !events.is_empty() {
            return Ok(events);
        }
        // From here on all events are read, so that the wait begins after those of others as well: waiting from an older
        // number would not wait at all.
        let mut seen = after;
        loop {
            let head = self.admin.last_seq().await?;
            let mut events = self.store.events_after(seen, None, BATCH).await?;
            match events.last() {
                Some(last) => seen = last.seq,
                // Of a kind that only a newer program understands.
                None if head > seen => seen = head,
                None => self.store.events_wait(seen, PATIENCE).await?,
            }
            events.retain(|event| event.rollout == Some(id));
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    async fn pause(&self, id: RolloutId) -> Result<(), Failure> {
        Ok(self.orchestrator()?.pause(id, &self.actor).await?)
    }

    async fn resume(&self, id: RolloutId) -> Result<(), Failure> {
        Ok(self.orchestrator()?.resume(id, &self.actor).await?)
    }

    async fn abort(&self, id: RolloutId) -> Result<(), Failure> {
        Ok(self.orchestrator()?.abort(id, &self.actor).await?)
    }
}
