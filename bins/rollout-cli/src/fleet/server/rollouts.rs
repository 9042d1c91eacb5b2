use std::time::Duration;

use async_trait::async_trait;
use fleet_types::view::{Host, Rollout, Status, StepOutput};
use fleet_types::{Event, HostName, RolloutId, Seq};
use serde::Deserialize;
use serde_json::json;

use super::ServerFleet;
use crate::failure::Failure;
use crate::fleet::Rollouts;

/// Rollouts read at once.
const PAGE: u32 = 100;
/// Events read at once.
const BATCH: u32 = 500;
/// How long the server waits for events before it says that there are none.
const WAIT: u64 = 25;
/// How long such an answer may take.
const PATIENCE: Duration = Duration::from_secs(WAIT + 20);

#[derive(Deserialize)]
struct One {
    rollout: Rollout,
}

#[derive(Deserialize)]
struct Page {
    rollouts: Vec<Rollout>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
    next: Seq,
    #[serde(default)]
    reset: bool,
}

#[async_trait]
impl Rollouts for ServerFleet {
    async fn status(&self) -> Result<Status, Failure> {
        self.client.get(&["api", "updates", "status"], &[]).await
    }

    async fn rollouts(&self, limit: u32) -> Result<Vec<Rollout>, Failure> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rollouts = Vec::new();
        let mut cursor = None;
        loop {
            let mut query = vec![("limit", limit.min(PAGE).to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let path = ["api", "updates", "rollouts"];
            let page: Page = self.client.get(&path, &query).await?;
            rollouts.extend(page.rollouts);
            cursor = page.next;
            if cursor.is_none() || rollouts.len() >= wanted {
                rollouts.truncate(wanted);
                return Ok(rollouts);
            }
        }
    }

    async fn find(&self, text: &str) -> Result<RolloutId, Failure> {
        let one: One = self
            .client
            .get(&["api", "updates", "rollouts", text], &[])
            .await?;
        Ok(one.rollout.id)
    }

    async fn rollout(&self, id: RolloutId) -> Result<Rollout, Failure> {
        let id = id.to_string();
        let one: One = self
            .client
            .get(&["api", "updates", "rollouts", &id], &[])
            .await?;
        Ok(one.rollout)
    }

    async fn rollout_hosts(&self, id: RolloutId) -> Result<Vec<Host>, Failure> {
        let id = id.to_string();
        let mut hosts = self
            .all_hosts(&["api", "updates", "rollouts", &id, "hosts"])
            .await?;
        // The server goes by their turn; on a database it is by name.
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hosts)
    }

    async fn steps(
        &self,
        id: RolloutId,
        host: &HostName,
    ) -> Result<Option<Vec<StepOutput>>, Failure> {
        #[derive(Deserialize)]
        struct Steps {
            steps: Vec<StepOutput>,
        }
        let (id, host) = (id.to_string(), host.as_str());
        let path = ["api", "updates", "rollouts", &id, "hosts", host, "output"];
        let found: Option<Steps> = self.client.get_if_there(&path).await?;
        Ok(found.map(|found| found.steps))
    }

    async fn events(&self, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure> {
        Ok(self.feed(id, after, 0).await?.events)
    }

    async fn next_events(&self, id: RolloutId, mut after: Seq) -> Result<Vec<Event>, Failure> {
        loop {
            let page = self.feed(id, after, WAIT).await?;
            if !page.events.is_empty() {
                return Ok(page.events);
            }
            after = page.next;
        }
    }

    async fn pause(&self, id: RolloutId) -> Result<(), Failure> {
        self.steer(id, "pause").await
    }

    async fn resume(&self, id: RolloutId) -> Result<(), Failure> {
        self.steer(id, "resume").await
    }

    async fn abort(&self, id: RolloutId) -> Result<(), Failure> {
        self.steer(id, "abort").await
    }
}

impl ServerFleet {
    /// All verbs are idempotent.
    async fn steer(&self, id: RolloutId, verb: &str) -> Result<(), Failure> {
        let id = id.to_string();
        let path = ["api", "updates", "rollouts", &id, verb];
        let _: One = self.client.post(&path, &json!({})).await?;
        Ok(())
    }

    async fn feed(&self, id: RolloutId, after: Seq, wait: u64) -> Result<Events, Failure> {
        let query = [
            ("rollout", id.to_string()),
            ("after", after.to_string()),
            ("limit", BATCH.to_string()),
            ("wait", wait.to_string()),
        ];
        let path = ["api", "updates", "events"];
        let page: Events = self.client.get_within(&path, &query, PATIENCE).await?;
        if page.reset {
            return Err(
                Failure::unexpected("the server's store is another one than before")
                    .why("it has fewer events than were seen already")
                    .help("rollout-cli status shows where things stand now"),
            );
        }
        Ok(page)
    }
}
