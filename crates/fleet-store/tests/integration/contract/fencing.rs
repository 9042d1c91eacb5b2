use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{
    AttemptStatus, Epoch, HostEvent, Reason, RolloutId, StepId, Timestamp, WorkerId,
};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

/// Three hosts, a rollout, a worker and its first claim.
async fn under_way(store: &DieselStore, worker: NewWorker) -> (RolloutId, Claimed) {
    let hosts = add_hosts(store, 3).await;
    let id = worker.id;
    let plan = one_stage(&hosts);
    let rollout = store.rollout_create(plan, Some(worker)).await.unwrap();
    (rollout, claim(store, rollout, id).await)
}

async fn assert_lost(store: &DieselStore, lease: &HostLease) {
    let before = store.events_after(fleet_types::Seq(0), None, 1000).await;
    for event in [
        started(StepId::Inspect),
        previous('a'),
        settled(AttemptStatus::Success, Reason::Updated, true),
    ] {
        let refused = store.attempt_record(lease, &event).await.unwrap_err();
        assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    }
    let refused = store.attempt_raise(lease, Epoch(9)).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    let after = store.events_after(fleet_types::Seq(0), None, 1000).await;
    assert_eq!(before.unwrap(), after.unwrap(), "not a trace");
    assert_consistent(store).await;
}

pub(crate) async fn stale_epoch_writes_nothing(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    let wrong = |change: fn(&mut HostLease)| {
        let mut lease = claimed.lease.clone();
        change(&mut lease);
        lease
    };
    for lease in [
        wrong(|lease| lease.epoch = Epoch(0)),
        wrong(|lease| lease.epoch = Epoch(2)),
        wrong(|lease| lease.worker = WorkerId(uuid::Uuid::now_v7())),
        wrong(|lease| lease.rollout = RolloutId(uuid::Uuid::now_v7())),
        wrong(|lease| lease.host = fleet_types::HostId(uuid::Uuid::now_v7())),
    ] {
        assert_lost(&store, &lease).await;
    }
    update(&store, &claimed.lease).await;
    assert_lost(&store, &claimed.lease).await;
}

pub(crate) async fn lease_that_ran_out_writes_nothing(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    let lease = store.lease_times().lease;
    for _ in 0..5 {
        place.clock.advance(lease - Duration::from_millis(1));
        store.worker_renew(claimed.lease.worker).await.unwrap();
    }
    place.clock.advance(lease - Duration::from_millis(1));
    let event = started(StepId::Inspect);
    store.attempt_record(&claimed.lease, &event).await.unwrap();
    place.clock.advance(Duration::from_millis(1));
    assert_lost(&store, &claimed.lease).await;
    let refused = store.worker_renew(claimed.lease.worker).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    assert!(store.worker_alive().await.unwrap().is_empty());
}

pub(crate) async fn taken_over_by_another(place: &Place) {
    let store = place.store().await;
    let (id, claimed) = under_way(&store, worker(false)).await;
    for event in [previous('a'), started(StepId::Pull)] {
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    place.clock.advance(store.lease_times().lease);
    let heir = store.worker_register(worker(false)).await.unwrap();
    let taken = store.attempt_take_over(heir, &[]).await.unwrap().unwrap();
    assert_eq!(taken.lease.epoch, Epoch(claimed.lease.epoch.0 + 1));
    assert_eq!(taken.attempt.takeovers, 1);
    assert_eq!(taken.attempt.name, claimed.attempt.name);
    let progress = &taken.attempt.progress;
    assert_eq!(progress.step, Some(StepId::Pull));
    assert!(progress.touched);
    let known = progress.previous.as_ref().map(|it| it.version.clone());
    assert_eq!(known, Some(commit('a')));
    assert!(store.attempt_take_over(heir, &[]).await.unwrap().is_none());

    assert_lost(&store, &claimed.lease).await;
    let end = settled(AttemptStatus::Success, Reason::Updated, true);
    store.attempt_record(&taken.lease, &end).await.unwrap();
    let next = claim(&store, id, heir).await;
    assert_eq!(next.lease.epoch, Epoch(1), "every host has its own");
    assert_consistent(&store).await;
}

pub(crate) async fn live_worker_keeps_its_hosts(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker_with_pid(1)).await;
    let other = store.worker_register(worker_with_pid(2)).await.unwrap();
    assert!(store.attempt_take_over(other, &[]).await.unwrap().is_none());
    let own = claimed.lease.worker;
    assert!(store.attempt_take_over(own, &[]).await.unwrap().is_none());
    let alive: Vec<_> = store.worker_alive().await.unwrap();
    assert_eq!(alive.len(), 2);
    assert!(alive.iter().any(|worker| worker.id == own));
    update(&store, &claimed.lease).await;
}

pub(crate) async fn reboot_ends_every_lease(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    place.clock.reboot();
    assert_lost(&store, &claimed.lease).await;
    assert!(store.worker_renew(claimed.lease.worker).await.is_err());
    // Boot time began anew, so the old lease's end lies in this boot's future.
    let heir = store.worker_register(worker(false)).await.unwrap();
    let taken = store.attempt_take_over(heir, &[]).await.unwrap().unwrap();
    update(&store, &taken.lease).await;
    assert_consistent(&store).await;
}

pub(crate) async fn gone_process_is_dead_at_once_and_for_ever(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker_with_pid(1)).await;
    let heir = store.worker_register(worker_with_pid(2)).await.unwrap();
    assert!(store.attempt_take_over(heir, &[]).await.unwrap().is_none());
    place.processes.end(1);
    let taken = store.attempt_take_over(heir, &[]).await.unwrap().unwrap();
    assert_eq!(taken.attempt.name, claimed.attempt.name);
    let refused = store.worker_renew(claimed.lease.worker).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    assert_lost(&store, &claimed.lease).await;
}

pub(crate) async fn worker_that_left_is_gone(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    store.worker_leave(claimed.lease.worker).await.unwrap();
    store.worker_leave(claimed.lease.worker).await.unwrap();
    assert_lost(&store, &claimed.lease).await;
    let heir = store.worker_register(worker(false)).await.unwrap();
    assert!(store.attempt_take_over(heir, &[]).await.unwrap().is_some());
}

pub(crate) async fn raised_above_what_the_host_knows(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    let raised = store
        .attempt_raise(&claimed.lease, Epoch(41))
        .await
        .unwrap();
    assert_eq!(raised.epoch, Epoch(42));
    assert_lost(&store, &claimed.lease).await;
    let lower = store.attempt_raise(&raised, Epoch(3)).await.unwrap();
    assert_eq!(lower.epoch, Epoch(43), "never falls");
    let full = store.attempt_raise(&lower, Epoch(i64::MAX)).await;
    assert!(matches!(full, Err(LeaseError::Store(_))), "{full:?}");
    let event = HostEvent::FenceReplaced {
        store: "another".to_owned(),
        epoch: 41,
        raised_to: lower.epoch,
    };
    store.attempt_record(&lower, &event).await.unwrap();
    update(&store, &lower).await;
    assert_consistent(&store).await;
}

pub(crate) async fn wall_clock_jumps_change_nothing(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    for wall in [0, 4_000_000_000_000] {
        place.clock.set_wall(Timestamp(wall));
        store.worker_renew(claimed.lease.worker).await.unwrap();
        let event = started(StepId::Inspect);
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    place.clock.set_wall(Timestamp(0));
    update(&store, &claimed.lease).await;
    assert_consistent(&store).await;
}

pub(crate) async fn illegal_events_change_nothing(place: &Place) {
    let store = place.store().await;
    let (_, claimed) = under_way(&store, worker(false)).await;
    let record = async |event: HostEvent| store.attempt_record(&claimed.lease, &event).await;
    let illegal = |result: Result<(), LeaseError>| {
        assert!(matches!(result, Err(LeaseError::Illegal(_))), "{result:?}");
    };
    illegal(record(started(StepId::Pull)).await);
    illegal(record(settled(AttemptStatus::Updating, Reason::Updated, false)).await);
    illegal(record(finished(StepId::Inspect)).await);
    record(previous('a')).await.unwrap();
    record(previous('a')).await.unwrap();
    illegal(record(previous('c')).await);
    record(started(StepId::Pull)).await.unwrap();
    illegal(record(finished(StepId::Install)).await);
    let hosts = store.host_list().await.unwrap();
    assert_eq!(hosts[0].previous_version, Some(commit('a')));
    assert_consistent(&store).await;
}

/// A clock whose wall is off and whose boot is its own, as another machine's would be.
#[derive(Debug)]
struct Elsewhere {
    off: i64,
    boot: &'static str,
    real: SystemClock,
}

impl Clock for Elsewhere {
    fn now(&self) -> Timestamp {
        Timestamp(self.real.now().0 + self.off)
    }

    fn lease_moment(&self) -> LeaseMoment {
        LeaseMoment {
            era: self.boot.into(),
            ..self.real.lease_moment()
        }
    }
}

/// On PostgreSQL processes of different machines go by the database's clock, on SQLite all are on one machine.
pub(crate) async fn lease_time_is_one_for_all_processes(place: &Place) {
    let boot = |other| if place.is_postgres() { other } else { "same" };
    let clock = |off, name| {
        Arc::new(Elsewhere {
            off,
            boot: boot(name),
            real: SystemClock::new(),
        })
    };
    let one = place.store_with(clock(-3_600_000, "one")).await;
    let other = place.store_with(clock(3_600_000, "other")).await;
    let (_, claimed) = under_way(&one, worker(false)).await;
    let second = other.worker_register(worker(false)).await.unwrap();
    assert_eq!(other.worker_alive().await.unwrap().len(), 2);
    assert_eq!(one.worker_alive().await.unwrap().len(), 2);
    assert!(
        other
            .attempt_take_over(second, &[])
            .await
            .unwrap()
            .is_none()
    );
    one.worker_renew(claimed.lease.worker).await.unwrap();
    update(&one, &claimed.lease).await;
    assert_consistent(&other).await;
}
