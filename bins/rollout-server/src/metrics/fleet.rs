//! Shows how the fleet is.

use std::fmt::Write;

use fleet_store::{Lists, StoreError};
use fleet_types::Timestamp;
use fleet_types::view::{Rollout, Status};
use metrics::{counter, gauge};

use super::*;

/// A step may be a little over its limit: the host ends it, and then tells us.
const GRACE_MILLIS: i64 = 60_000;

/// How many hosts most likely go on by themselves no more.
pub(crate) async fn stuck(
    store: &impl Lists,
    status: &Status,
    now: Timestamp,
) -> Result<u32, StoreError> {
    match active(status) {
        None => Ok(0),
        Some(rollout) if !rollout.attended => Ok(rollout.counts.updating),
        Some(rollout) => {
            let before = Timestamp(now.0.saturating_sub(GRACE_MILLIS));
            store.hosts_late(rollout.id, before).await
        }
    }
}

fn active(status: &Status) -> Option<&Rollout> {
    let rollout = status.rollout.as_ref();
    rollout.filter(|rollout| rollout.state.is_active())
}

/// Sets the numbers that tell how things are now, so many hosts being stuck.
pub(crate) fn show(status: &Status, stuck: u32) {
    let fleet = &status.fleet;
    let health = &fleet.health;
    for (word, hosts) in [
        ("active", health.active),
        ("inactive", health.inactive),
        ("unhealthy", health.unhealthy),
        ("unreachable", health.unreachable),
        ("unknown", health.unknown),
    ] {
        gauge!(HOSTS, "health" => word).set(hosts);
    }
    gauge!(HOSTS_ATTENTION).set(fleet.needs_attention);
    gauge!(HOSTS_UPDATING).set(fleet.updating);
    counter!(SEQ).absolute(u64::try_from(status.seq.0).unwrap_or(0));
    gauge!(HOSTS_STUCK).set(stuck);
    show_rollout(active(status));
}

/// Hosts by version, in the text format of Prometheus. Made anew each time: a version that is gone must not stay for ever.
pub(crate) fn versions(status: &Status) -> String {
    let mut text = format!(
        "# HELP {HOSTS_BY_VERSION} Hosts by version, the twenty commonest.\n# TYPE {HOSTS_BY_VERSION} gauge\n"
    );
    for count in &status.fleet.versions {
        let version = count.version.as_deref().unwrap_or("unknown");
        let version: String = version
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let _ = writeln!(
            text,
            "{HOSTS_BY_VERSION}{{version=\"{version}\"}} {}",
            count.hosts
        );
    }
    text
}

fn show_rollout(rollout: Option<&Rollout>) {
    gauge!(ROLLOUT_ACTIVE).set(u32::from(rollout.is_some()));
    gauge!(ROLLOUT_STAGE).set(rollout.map_or(0, |rollout| rollout.stage));
    let counts = rollout.map(|rollout| rollout.counts).unwrap_or_default();
    for (word, hosts) in [
        ("pending", counts.pending),
        ("updating", counts.updating),
        ("success", counts.success),
        ("failed", counts.failed),
        ("rolled_back", counts.rolled_back),
        ("skipped", counts.skipped),
    ] {
        gauge!(ROLLOUT_HOSTS, "state" => word).set(hosts);
    }
    gauge!(FAILURES_ALLOWED).set(rollout.map_or(0, failures_allowed));
}

/// How many more may fail in the current stage.
fn failures_allowed(rollout: &Rollout) -> u32 {
    let stage = rollout
        .stages
        .iter()
        .find(|stage| stage.index == rollout.stage);
    stage.map_or(0, |stage| {
        stage
            .may_fail
            .saturating_sub(stage.counts.failed + stage.counts.rolled_back)
    })
}

/// One line for people.
pub(crate) fn in_words(status: &Status) -> String {
    let fleet = &status.fleet;
    let attention = match fleet.needs_attention {
        0 => String::new(),
        hosts => format!(", {hosts} need attention"),
    };
    let Some(rollout) = active(status) else {
        return format!("{} hosts, no rollout{attention}", fleet.hosts);
    };
    let counts = &rollout.counts;
    let all = counts.pending
        + counts.updating
        + counts.success
        + counts.failed
        + counts.rolled_back
        + counts.skipped;
    format!(
        "rollout {} {}, stage {}/{}, {}/{all} hosts done{attention}",
        rollout.id.short(),
        rollout.state,
        rollout.stage,
        rollout.stages.len(),
        all - counts.pending - counts.updating,
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_store::{
        Actor, Attempts, Claim, DieselStore, Inventory, ManualClock, NewRollout, NewWorker,
        PlannedHost, Rollouts, sample_host,
    };
    use fleet_types::{HostEvent, Policy, RolloutKind, StepId, WorkerId};

    use super::*;

    /// A rollout of 60 hosts, each at a step that may take a minute.
    async fn all_at_work(store: &DieselStore) {
        let actor = Actor::local("ann");
        let new = (0..60).map(|number| sample_host(&format!("h{number}")));
        let hosts = store.host_add(new.collect(), &actor).await.unwrap();
        let planned = hosts.iter().map(|host| PlannedHost {
            host: host.id,
            from: None,
            to: None,
        });
        let plan = NewRollout {
            kind: RolloutKind::Update,
            hosts: planned.collect(),
            target: Some("b".repeat(40).parse().unwrap()),
            target_ref: "main".to_owned(),
            policy: Policy {
                stages: "100".parse().unwrap(),
                max_in_flight: 60,
                ..Policy::default()
            },
            source: None,
            actor,
            message: None,
            force: false,
            request: None,
        };
        let worker = NewWorker {
            id: WorkerId(uuid::Uuid::now_v7()),
            label: "test".to_owned(),
            serves: false,
            process: None,
        };
        let id = worker.id;
        let rollout = store.rollout_create(plan, Some(worker)).await.unwrap();
        let step = HostEvent::StepStarted {
            step: StepId::Inspect,
            limit_seconds: 60,
        };
        for _ in 0..60 {
            let claim = store.attempt_claim(rollout, id, &[]).await.unwrap();
            let Claim::Claimed(claimed) = claim else {
                panic!("{claim:?}");
            };
            store.attempt_record(&claimed.lease, &step).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_host_is_stuck_when_nobody_works_on_it_or_its_step_is_long_over() {
        let store = DieselStore::in_memory(ManualClock::new());
        let status = store.status().await.unwrap();
        let none = stuck(&store, &status, Timestamp(0)).await.unwrap();
        assert_eq!(none, 0);
        all_at_work(&store).await;
        let mut status = store.status().await.unwrap();
        let rollout = status.rollout.as_mut().unwrap();
        let limit = rollout.in_flight[0].deadline.unwrap();
        let at = |millis: i64| Timestamp(limit.0 + millis);
        rollout.attended = true;
        for (now, hosts) in [
            (at(GRACE_MILLIS - 5_000), 0),
            (at(GRACE_MILLIS + 5_000), 60),
        ] {
            assert_eq!(stuck(&store, &status, now).await.unwrap(), hosts);
        }
        status.rollout.as_mut().unwrap().attended = false;
        let all = stuck(&store, &status, Timestamp(0)).await.unwrap();
        assert_eq!(all, 60, "all that are updating");
    }
}
