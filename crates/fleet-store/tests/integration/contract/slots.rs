use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleet_store::*;
use fleet_types::WorkerId;

use crate::fleet::*;
use crate::place::Place;

/// A slot, if one is free.
async fn take(store: &DieselStore, worker: WorkerId, limit: u32) -> Option<SlotId> {
    let slot = SlotId::fresh(worker);
    let taken = store.slot_acquire(slot, limit).await.unwrap();
    taken.then_some(slot)
}

pub(crate) async fn at_most_so_many(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker(false)).await.unwrap();
    let first = take(&store, one, 2).await.unwrap();
    let second = take(&store, other, 2).await.unwrap();
    assert_ne!(first.number, second.number);
    assert_eq!(take(&store, one, 2).await, None);
    // The limit is the asker's: another setting sees the same slots held.
    let third = take(&store, other, 3).await;
    assert!(third.is_some());
    assert_eq!(take(&store, one, 3).await, None);
    store.slot_release(first).await.unwrap();
    store.slot_release(first).await.unwrap();
    assert_eq!(take(&store, one, 2).await, None);
    let last = take(&store, one, 3).await.unwrap();
    store.slot_release(last).await.unwrap();
    assert!(take(&store, one, 3).await.is_some());
    // The answer to the first time was lost.
    store.slot_release(last).await.unwrap();
    assert_eq!(
        take(&store, one, 3).await,
        None,
        "one that is given back twice frees no other"
    );
    let foreign = SlotId {
        worker: one,
        number: second.number,
    };
    store.slot_release(foreign).await.unwrap();
    assert_eq!(
        take(&store, one, 3).await,
        None,
        "nobody gives back another's"
    );
    assert_eq!(take(&store, one, 0).await, None);
}

pub(crate) async fn checks_are_counted_by_themselves(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker_with_pid(5)).await.unwrap();
    let check = async |worker, limit, checks| {
        let slot = SlotId::fresh(worker);
        let taken = store.slot_acquire_for_check(slot, limit, checks);
        taken.await.unwrap().then_some(slot)
    };
    assert_eq!(check(one, 4, 0).await, None);
    let first = check(one, 4, 1).await.unwrap();
    assert_eq!(check(other, 4, 1).await, None, "one over all processes");
    // What is none is not kept out by checks, but all count.
    take(&store, one, 4).await.unwrap();
    take(&store, other, 4).await.unwrap();
    assert!(check(other, 4, 2).await.is_some());
    assert_eq!(take(&store, one, 4).await, None);
    store.slot_release(first).await.unwrap();
    assert_eq!(check(one, 4, 1).await, None, "the other's check");
    // A dead process keeps nobody out for longer than the grace.
    place.processes.end(5);
    assert_eq!(check(one, 4, 1).await, None, "its grace");
    place.clock.advance(store.lease_times().slot_grace);
    let heir = store.worker_register(worker(false)).await.unwrap();
    assert!(check(heir, 4, 1).await.is_some());
}

/// The answer to a taking was lost: asked for again it is the same one, and who wants it no more gives it back unseen.
pub(crate) async fn asked_for_again_it_is_the_same(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker(false)).await.unwrap();
    let slot = SlotId::fresh(one);
    assert!(store.slot_acquire(slot, 1).await.unwrap());
    assert!(store.slot_acquire(slot, 1).await.unwrap());
    assert!(store.slot_acquire_for_check(slot, 1, 0).await.unwrap());
    assert_eq!(
        take(&store, one, 2).await.map(|slot| slot.worker),
        Some(one)
    );
    assert_eq!(take(&store, other, 2).await, None, "two are held, not four");
    // Another's number is nobody's to have.
    let foreign = SlotId {
        worker: other,
        number: slot.number,
    };
    assert!(!store.slot_acquire(foreign, 2).await.unwrap());
    store.slot_release(slot).await.unwrap();
    assert!(take(&store, other, 2).await.is_some());
    // Nor does one who is dead have any.
    place.clock.advance(store.lease_times().lease);
    let refused = store.slot_acquire(slot, 9).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    // What was never taken can be given back.
    store.slot_release(SlotId::fresh(one)).await.unwrap();
}

pub(crate) async fn dead_ones_count_for_a_grace(place: &Place) {
    let store = place.store().await;
    let LeaseTimes {
        lease, slot_grace, ..
    } = store.lease_times();
    let tick = Duration::from_millis(1);

    // Its lease runs out, then the grace.
    let dead = store.worker_register(worker(false)).await.unwrap();
    take(&store, dead, 1).await.unwrap();
    place.clock.advance(lease - tick);
    let heir = store.worker_register(worker_with_pid(5)).await.unwrap();
    assert_eq!(take(&store, heir, 1).await, None);
    place.clock.advance(tick);
    assert_eq!(take(&store, heir, 1).await, None, "dead now");
    place.clock.advance(slot_grace - tick);
    assert_eq!(take(&store, heir, 1).await, None);
    place.clock.advance(tick);
    take(&store, heir, 1).await.unwrap();

    // Its process is gone: the grace counts from when that was found out.
    store.worker_renew(heir).await.unwrap();
    place.processes.end(5);
    let last = store.worker_register(worker(false)).await.unwrap();
    assert_eq!(take(&store, last, 1).await, None);
    place.clock.advance(slot_grace - tick);
    assert_eq!(take(&store, last, 1).await, None);
    place.clock.advance(tick);
    take(&store, last, 1).await.unwrap();

    // The machine was restarted: no connection of before can be left.
    place.clock.reboot();
    let fresh = store.worker_register(worker(false)).await.unwrap();
    assert!(take(&store, fresh, 1).await.is_some());
}

pub(crate) async fn leaving_frees_them(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker(false)).await.unwrap();
    for _ in 0..3 {
        take(&store, one, 3).await.unwrap();
    }
    assert_eq!(take(&store, other, 3).await, None);
    store.worker_leave(one).await.unwrap();
    for _ in 0..3 {
        take(&store, other, 3).await.unwrap();
    }
    assert_eq!(take(&store, other, 3).await, None);
}

pub(crate) async fn racing_processes_stay_within_the_limit(place: &Place) {
    const LIMIT: u32 = 4;
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let held = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::new();
    for n in 0..12 {
        let store = Arc::clone(&stores[n % 2]);
        let held = Arc::clone(&held);
        tasks.push(tokio::spawn(async move {
            let worker = store.worker_register(worker(false)).await.unwrap();
            let mut got = 0;
            while got < 10 {
                if let Some(slot) = take(&store, worker, LIMIT).await {
                    let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= LIMIT, "{now} held");
                    tokio::task::yield_now().await;
                    held.fetch_sub(1, Ordering::SeqCst);
                    store.slot_release(slot).await.unwrap();
                    got += 1;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
