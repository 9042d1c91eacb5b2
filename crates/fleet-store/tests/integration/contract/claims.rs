use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fleet_store::*;
use fleet_types::{AttemptStatus, Epoch, Reason, StepId, WorkerId};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn in_order_and_at_most_so_many(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 6).await;
    let mut plan = one_stage(&hosts);
    plan.hosts.reverse();
    plan.policy.max_in_flight = 2;
    let (id, worker) = start(&store, plan).await;
    let first = claim(&store, id, worker).await;
    let second = claim(&store, id, worker).await;
    assert_eq!(first.attempt.name, hosts[5].name, "the order of the plan");
    assert_eq!(second.attempt.name, hosts[4].name);
    assert_eq!(first.lease.epoch, Epoch(1));
    assert_eq!(first.attempt.status, AttemptStatus::Updating);
    assert_eq!(idle(&store, id, worker).await, Idle::Full);
    update(&store, &first.lease).await;
    let third = claim(&store, id, worker).await;
    assert_eq!(third.attempt.name, hosts[3].name);
    assert_eq!(idle(&store, id, worker).await, Idle::Full);
    assert_consistent(&store).await;
}

pub(crate) async fn never_two_on_one_machine(place: &Place) {
    let store = place.store().await;
    let new = vec![
        host_at("a1", "a.example.org", "/srv/one"),
        host_at("a2", "A.example.org.", "/srv/two"),
        host_at("b", "b.example.org", "/srv/one"),
    ];
    let hosts = store.host_add(new, &actor()).await.unwrap();
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let first = claim(&store, id, worker).await;
    assert_eq!(first.attempt.name.as_str(), "a1");
    let second = claim(&store, id, worker).await;
    assert_eq!(second.attempt.name.as_str(), "b", "a2 is on a1's machine");
    assert_eq!(idle(&store, id, worker).await, Idle::NoneSuitable);

    // Also when the worker that has the machine is dead: its host must be settled first.
    place.clock.advance(store.lease_times().lease);
    let heir = store.worker_register(worker_new()).await.unwrap();
    assert_eq!(idle(&store, id, heir).await, Idle::NoneSuitable);
    let taken = store.attempt_take_over(heir, &[]).await.unwrap().unwrap();
    assert_eq!(taken.attempt.name.as_str(), "a1");
    assert_eq!(idle(&store, id, heir).await, Idle::NoneSuitable);
    update(&store, &taken.lease).await;
    let third = claim(&store, id, heir).await;
    assert_eq!(third.attempt.name.as_str(), "a2");
    assert_consistent(&store).await;
}

fn worker_new() -> NewWorker {
    worker(false)
}

pub(crate) async fn exceptions_are_left_out(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 130).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let except: Vec<_> = hosts[..129].iter().map(|host| host.id).collect();
    let claimed = store.attempt_claim(id, worker, &except).await.unwrap();
    let Claim::Claimed(claimed) = claimed else {
        panic!("{claimed:?}");
    };
    assert_eq!(claimed.attempt.name, hosts[129].name);
    let nothing = store.attempt_claim(id, worker, &except).await.unwrap();
    assert!(matches!(nothing, Claim::Nothing(Idle::NoneSuitable)));
    let first = claim(&store, id, worker).await;
    assert_eq!(first.attempt.name, hosts[0].name);

    place.clock.advance(store.lease_times().lease);
    let heir = store.worker_register(worker_new()).await.unwrap();
    let both = [hosts[0].id, hosts[129].id];
    assert!(
        store
            .attempt_take_over(heir, &both)
            .await
            .unwrap()
            .is_none()
    );
    let taken = store.attempt_take_over(heir, &both[..1]).await.unwrap();
    assert_eq!(taken.unwrap().attempt.name, hosts[129].name);
}

pub(crate) async fn nothing_without_a_target(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let mut plan = one_stage(&hosts);
    plan.target = None;
    let (id, worker) = start(&store, plan).await;
    assert_eq!(idle(&store, id, worker).await, Idle::Unresolved);
    let target = Resolution::Commit(commit('b'));
    let record = store.rollout_resolve(id, target).await.unwrap();
    assert_eq!(record.target, Some(commit('b')));
    let claimed = claim(&store, id, worker).await;
    assert_eq!(claimed.attempt.target, Some(commit('b')));
    assert_consistent(&store).await;
}

pub(crate) async fn only_under_a_lease(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let stranger = WorkerId(uuid::Uuid::now_v7());
    let refused = store.attempt_claim(id, stranger, &[]).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    place.clock.advance(store.lease_times().lease);
    let refused = store.attempt_claim(id, worker, &[]).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    let refused = store.attempt_take_over(worker, &[]).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    let slot = SlotId::fresh(worker);
    let refused = store.slot_acquire(slot, 5).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    let views = store.host_views(None).await.unwrap();
    assert!(
        views
            .iter()
            .all(|host| host.update_status == Some(AttemptStatus::Pending))
    );
}

pub(crate) async fn told_of_what_may_be_under_way_still(place: &Place) {
    use AttemptStatus::{Failed, RolledBack, Success};
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let plan = NewRollout {
        force: true,
        ..one_stage(&hosts)
    };
    // How the attempts ended one after another, and whether the next one is told that something may be left.
    for (status, reason, touched, left) in [
        (Failed, Reason::Unreachable, false, false),
        (Failed, Reason::OutcomeUnknown, true, true),
        (Failed, Reason::Unreachable, false, true),
        (Success, Reason::Updated, true, false),
        (Failed, Reason::NoPrevious, true, true),
        (RolledBack, Reason::InstallFailed, true, false),
    ] {
        let (id, worker) = start(&store, plan.clone()).await;
        let claimed = claim(&store, id, worker).await;
        if touched {
            for event in [previous('a'), started(StepId::Pull)] {
                store.attempt_record(&claimed.lease, &event).await.unwrap();
            }
        }
        let event = settled(status, reason, touched);
        store.attempt_record(&claimed.lease, &event).await.unwrap();
        assert!(!store.rollout_advance(id).await.unwrap().state.is_active());
        let (next, worker) = start(&store, plan.clone()).await;
        let claimed = claim(&store, next, worker).await;
        assert_eq!(claimed.left_behind, left, "after {status}/{reason}");
        unreachable(&store, &claimed.lease).await;
        store.rollout_advance(next).await.unwrap();
    }
}

pub(crate) async fn racing_claimers_take_each_host_once(place: &Place) {
    const MOST: u32 = 5;
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let hosts = add_hosts(&stores[0], 60).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_in_flight = MOST;
    let (id, first) = start(&stores[0], plan).await;
    let second = stores[1].worker_register(worker(false)).await.unwrap();
    let in_flight = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            let worker = [first, second][n % 2];
            let in_flight = Arc::clone(&in_flight);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    match store.attempt_claim(id, worker, &[]).await.unwrap() {
                        Claim::Claimed(claimed) => {
                            let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                            assert!(now <= MOST, "{now} in flight");
                            taken.push(claimed.attempt.name.to_string());
                            // Counted down first: the store's own count is never lower than ours.
                            in_flight.fetch_sub(1, Ordering::SeqCst);
                            update(&store, &claimed.lease).await;
                        }
                        Claim::Nothing(Idle::Full) => tokio::task::yield_now().await,
                        Claim::Nothing(_) => return taken,
                    }
                }
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let distinct: HashSet<&String> = taken.iter().collect();
    assert_eq!((taken.len(), distinct.len()), (60, 60));
    let over = stores[1].rollout_advance(id).await.unwrap();
    assert!(!over.state.is_active());
    assert_consistent(&stores[0]).await;
}
