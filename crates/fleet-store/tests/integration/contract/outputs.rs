use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{
    AttemptStatus, HostEvent, Reason, RolloutId, Seq, StepId, StepOutput, Timestamp, Verb, WorkerId,
};

use crate::fleet::*;
use crate::place::{Place, Version, assert_consistent};

const DAY: Duration = Duration::from_secs(86_400);

fn days(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Removes what is older than 30 days, so many at once, to the end: how many each time.
async fn remove_all(store: &DieselStore, limit: u32) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let removed = store.outputs_remove(days(30), limit).await.unwrap();
        all.push(removed.outputs);
        if !removed.more {
            return all;
        }
    }
}

async fn steps(store: &DieselStore, id: RolloutId, host: &HostRecord) -> Vec<StepRecord> {
    store.attempt_steps(id, &host.name).await.unwrap()
}

/// What is shown of a rollout beside what its steps printed.
async fn shown(store: &DieselStore, id: RolloutId) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        store.rollout_view(id).await.unwrap(),
        store.rollout_get(id).await.unwrap(),
        store.host_views(Some(id)).await.unwrap(),
        store.attempt_list(id).await.unwrap(),
        store.events_after(Seq(0), None, 1000).await.unwrap(),
    )
}

/// One whose install command fails, with these words.
async fn fail(store: &DieselStore, lease: &HostLease, stderr: &str) {
    let output = StepOutput {
        exit: Some(127),
        stdout: String::new(),
        stderr: stderr.to_owned(),
        total_bytes: 1 << 40,
    };
    for event in [
        previous('a'),
        started(StepId::Install),
        HostEvent::StepFailed {
            step: StepId::Install,
            reason: Reason::InstallFailed,
            message: "bun: not found".to_owned(),
            duration_ms: 2500,
            output,
        },
        started(StepId::RollbackCheckout),
        HostEvent::StepFinished {
            step: StepId::RollbackCheckout,
            duration_ms: 7,
            output: StepOutput::default(),
        },
        settled(AttemptStatus::RolledBack, Reason::InstallFailed, true),
    ] {
        store.attempt_record(lease, &event).await.unwrap();
    }
}

/// A rollout over these hosts, which all are updated.
async fn updated(store: &DieselStore, hosts: &[HostRecord]) -> RolloutId {
    let mut plan = one_stage(hosts);
    plan.force = true;
    let (id, worker) = start(store, plan).await;
    update_all(store, id, worker).await;
    id
}

async fn update_all(store: &DieselStore, id: RolloutId, worker: WorkerId) {
    loop {
        match store.attempt_claim(id, worker, &[]).await.unwrap() {
            Claim::Claimed(claimed) => update(store, &claimed.lease).await,
            Claim::Nothing(_) => {
                let record = store.rollout_advance(id).await.unwrap();
                assert!(!record.state.is_active(), "{record:?}");
                return;
            }
        }
    }
}

pub(crate) async fn old_ones_are_removed_and_results_stay(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_failure_percent = "100".parse().unwrap();
    let (id, worker) = start(&store, plan).await;
    let first = claim(&store, id, worker).await;
    update(&store, &first.lease).await;
    let second = claim(&store, id, worker).await;
    fail(&store, &second.lease, &"x".repeat(64 * 1024)).await;
    let before = (
        steps(&store, id, &hosts[0]).await,
        steps(&store, id, &hosts[1]).await,
    );

    // Not over, however long ago it began.
    place.clock.advance(DAY * 40);
    assert_eq!(remove_all(&store, 100).await, [0]);
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    let record = store.rollout_advance(id).await.unwrap();
    assert!(!record.state.is_active(), "{record:?}");
    // Over, and younger: its age is counted from its end.
    place.clock.advance(DAY * 30 - Duration::from_millis(1));
    assert_eq!(remove_all(&store, 100).await, [0]);
    assert_eq!(steps(&store, id, &hosts[0]).await, before.0);
    let (active, worker) = start(&store, one_stage(&hosts[..1])).await;
    let claimed = claim(&store, active, worker).await;
    store
        .attempt_record(&claimed.lease, &started(StepId::Inspect))
        .await
        .unwrap();
    store
        .attempt_record(&claimed.lease, &finished(StepId::Inspect))
        .await
        .unwrap();
    let of_active = steps(&store, active, &hosts[0]).await;
    let was = shown(&store, id).await;

    place.clock.advance(Duration::from_millis(1));
    assert_eq!(remove_all(&store, 100).await, [3]);
    assert_eq!(shown(&store, id).await, was);
    for (host, before) in [(&hosts[0], before.0), (&hosts[1], before.1)] {
        let expected: Vec<StepRecord> = before
            .into_iter()
            .map(|mut step| {
                let printed = !step.output.stdout.is_empty() || !step.output.stderr.is_empty();
                step.output.stdout.clear();
                step.output.stderr.clear();
                step.removed_after_days = printed.then_some(days(30));
                step
            })
            .collect();
        assert_eq!(steps(&store, id, host).await, expected);
    }
    let of_second = steps(&store, id, &hosts[1]).await;
    assert_eq!(of_second[0].output.exit, Some(127));
    assert_eq!(of_second[0].output.total_bytes, 1 << 40);
    assert_eq!(of_second[1].removed_after_days, None, "it printed nothing");
    assert_eq!(steps(&store, id, &hosts[2]).await, []);
    assert_eq!(steps(&store, active, &hosts[0]).await, of_active);

    // Done once and for all.
    place.clock.advance(DAY);
    assert_eq!(remove_all(&store, 100).await, [0]);
    let later = store.outputs_remove(days(1), 100).await.unwrap();
    assert_eq!(later, OutputsRemoved::default());
    assert_eq!(steps(&store, id, &hosts[1]).await, of_second);
    assert_consistent(&store).await;
}

pub(crate) async fn a_few_at_a_time(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 5).await;
    let first = updated(&store, &hosts).await;
    place.clock.advance(DAY);
    let second = updated(&store, &hosts[..3]).await;
    place.clock.advance(DAY * 31);
    // Two steps a host: as many hosts as fit, the oldest rollout first, and one host at least.
    let removed = store.outputs_remove(days(30), 5).await.unwrap();
    assert_eq!((removed.outputs, removed.more), (4, true));
    for (number, host) in hosts.iter().enumerate() {
        for step in steps(&store, first, host).await {
            let gone = step.removed_after_days.is_some();
            assert_eq!(gone, number < 2, "{}: {step:?}", host.name);
            assert_eq!(step.output.stdout.is_empty(), gone);
            assert_eq!(step.output.total_bytes, 4);
        }
    }
    let removed = store.outputs_remove(days(30), 1).await.unwrap();
    assert_eq!((removed.outputs, removed.more), (2, true));
    let removed = store.outputs_remove(days(30), 0).await.unwrap();
    assert_eq!((removed.outputs, removed.more), (2, true));
    assert_eq!(remove_all(&store, 4).await, [2, 4, 2]);
    for step in steps(&store, second, &hosts[2]).await {
        assert_eq!(step.removed_after_days, Some(days(30)));
    }
    assert_eq!(remove_all(&store, 4).await, [0]);
    assert_consistent(&store).await;
}

pub(crate) async fn long_ones_are_fewer_at_a_time(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 20).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_failure_percent = "100".parse().unwrap();
    let (id, worker) = start(&store, plan).await;
    let long = "x".repeat(64 * 1024);
    for _ in &hosts {
        let claimed = claim(&store, id, worker).await;
        fail(&store, &claimed.lease, &long).await;
    }
    store.rollout_advance(id).await.unwrap();
    place.clock.advance(DAY * 31);
    let removed = store.outputs_remove(days(30), 1000).await.unwrap();
    assert_eq!((removed.outputs, removed.more), (15, true), "a megabyte");
    for (number, host) in hosts.iter().enumerate() {
        let printed = &steps(&store, id, host).await[0];
        assert_eq!(
            printed.output.stderr.is_empty(),
            number < 15,
            "{}",
            host.name
        );
        assert_eq!(printed.output.total_bytes, 1 << 40);
    }
    assert_eq!(remove_all(&store, 1000).await, [5]);
    assert_consistent(&store).await;
}

pub(crate) async fn what_cannot_be_told_stays(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 4).await;
    let id = updated(&store, &hosts).await;
    // As a newer version of the program may write it, what was removed before, and what is no output.
    for (rows, output) in [
        (
            "number = 1 AND position = 1",
            r#"{"exit":3,"stdout":"a","stderr":"","total_bytes":18446744073709551615,"later":[7]}"#,
        ),
        (
            "number = 1 AND position = 2",
            r#"{"exit":3,"stdout":"a\u0000","stderr":"","total_bytes":2}"#,
        ),
        (
            "number = 1 AND position = 3",
            r#"{"exit":3,"stdout":"","stderr":"","total_bytes":2,"removed_after_days":7}"#,
        ),
        ("number = 1 AND position = 4", "[]"),
        ("number = 2", r#"{"pieces":["a"]}"#),
    ] {
        let sql = format!("UPDATE steps SET output = '{output}' WHERE {rows}");
        place.execute(&sql).await.unwrap();
    }
    place.clock.advance(DAY * 31);
    assert_eq!(remove_all(&store, 100).await, [2]);
    let told = place
        .execute(
            r#"CREATE TABLE kept (number INTEGER, position INTEGER, output TEXT, CHECK (CASE
                WHEN number <> 1 THEN output = '{"pieces":["a"]}'
                WHEN position = 1 THEN output LIKE '%"later":[7]%' AND output LIKE '%"removed_after_days":30%'
                    AND output LIKE '%"stdout":""%' AND output LIKE '%"exit":3%'
                    AND output LIKE '%"total_bytes":18446744073709551615%'
                WHEN position = 2 THEN output LIKE '%"removed_after_days":30%' AND output LIKE '%"stdout":""%'
                WHEN position = 3 THEN output LIKE '%"removed_after_days":7}'
                ELSE output = '[]' END));
            INSERT INTO kept SELECT number, position, output FROM steps; DROP TABLE kept"#,
        )
        .await;
    assert_eq!(told, Ok(()));
    let first = hosts[0].name.clone();
    assert!(
        store.attempt_steps(id, &first).await.is_err(),
        "not ours to read"
    );
}

pub(crate) async fn a_newer_schema_is_left_to_newer_programs(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    updated(&store, &hosts).await;
    place.clock.advance(DAY * 31);
    let newer = place.store_of(&Version::expands()).await.unwrap();
    assert_eq!(remove_all(&store, 100).await, [0]);
    assert_eq!(remove_all(&newer, 100).await, [2]);
}

/// A machine whose wall clock is ahead.
#[derive(Debug)]
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.now().0 + 100 * i64::try_from(DAY.as_millis()).unwrap())
    }

    fn lease_moment(&self) -> LeaseMoment {
        self.0.lease_moment()
    }
}

pub(crate) async fn one_clock_that_is_ahead_removes_nothing(place: &Place) {
    let right = place.store_with(Arc::new(SystemClock::new())).await;
    let hosts = add_hosts(&right, 1).await;
    updated(&right, &hosts).await;
    let ahead = place.store_with(Arc::new(Ahead(SystemClock::new()))).await;
    // The clock of the one machine is all that SQLite has.
    let expected = if place.is_postgres() { 0 } else { 2 };
    assert_eq!(remove_all(&ahead, 100).await, [expected]);
}

pub(crate) async fn several_share_it(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 8).await;
    let mut rollouts = Vec::new();
    for _ in 0..2 {
        rollouts.push(updated(&store, &hosts).await);
    }
    place.clock.advance(DAY * 31);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let own = place.store().await;
        callers.spawn(async move { remove_all(&own, 2).await });
    }
    let counts = callers.join_all().await;
    let sum: u32 = counts.iter().flatten().sum();
    assert_eq!(sum, 2 * 8 * 2, "{counts:?}");
    for id in rollouts {
        for host in &hosts {
            let steps = steps(&store, id, host).await;
            assert!(steps.iter().all(|step| step.removed_after_days.is_some()));
        }
    }
    assert_eq!(remove_all(&store, 2).await, [0]);
    assert_consistent(&store).await;
}
