use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fleet_store::*;

use crate::fleet::*;
use crate::place::Place;

pub(crate) async fn at_most_so_many(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker(false)).await.unwrap();
    let first = store.slot_acquire(one, 2).await.unwrap().unwrap();
    let second = store.slot_acquire(other, 2).await.unwrap().unwrap();
    assert_ne!(first.number, second.number);
    assert_eq!(store.slot_acquire(one, 2).await.unwrap(), None);
    // The limit is the asker's: another setting sees the same slots held.
    let third = store.slot_acquire(other, 3).await.unwrap();
    assert!(third.is_some());
    assert_eq!(store.slot_acquire(one, 3).await.unwrap(), None);
    store.slot_release(first).await.unwrap();
    store.slot_release(first).await.unwrap();
    assert_eq!(store.slot_acquire(one, 2).await.unwrap(), None);
    let last = store.slot_acquire(one, 3).await.unwrap().unwrap();
    store.slot_release(last).await.unwrap();
    assert!(store.slot_acquire(one, 3).await.unwrap().is_some());
    // The answer to the first time was lost.
    store.slot_release(last).await.unwrap();
    assert_eq!(
        store.slot_acquire(one, 3).await.unwrap(),
        None,
        "one that is given back twice frees no other"
    );
    let foreign = SlotId {
        worker: one,
        number: second.number,
    };
    store.slot_release(foreign).await.unwrap();
    assert_eq!(
        store.slot_acquire(one, 3).await.unwrap(),
        None,
        "nobody gives back another's"
    );
    assert_eq!(store.slot_acquire(one, 0).await.unwrap(), None);
}

pub(crate) async fn checks_are_counted_by_themselves(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker_with_pid(5)).await.unwrap();
    let check = async |worker, limit, checks| {
        store
            .slot_acquire_for_check(worker, limit, checks)
            .await
            .unwrap()
    };
    assert_eq!(check(one, 4, 0).await, None);
    let first = check(one, 4, 1).await.unwrap();
    assert_eq!(check(other, 4, 1).await, None, "one over all processes");
    // What is none is not kept out by checks, but all count.
    store.slot_acquire(one, 4).await.unwrap().unwrap();
    store.slot_acquire(other, 4).await.unwrap().unwrap();
    assert!(check(other, 4, 2).await.is_some());
    assert_eq!(store.slot_acquire(one, 4).await.unwrap(), None);
    store.slot_release(first).await.unwrap();
    assert_eq!(check(one, 4, 1).await, None, "the other's check");
    // A dead process keeps nobody out for longer than the grace.
    place.processes.end(5);
    assert_eq!(check(one, 4, 1).await, None, "its grace");
    place.clock.advance(store.lease_times().slot_grace);
    let heir = store.worker_register(worker(false)).await.unwrap();
    assert!(check(heir, 4, 1).await.is_some());
}

pub(crate) async fn dead_ones_count_for_a_grace(place: &Place) {
    let store = place.store().await;
    let LeaseTimes {
        lease, slot_grace, ..
    } = store.lease_times();
    let tick = Duration::from_millis(1);

    // Its lease runs out, then the grace.
    let dead = store.worker_register(worker(false)).await.unwrap();
    store.slot_acquire(dead, 1).await.unwrap().unwrap();
    place.clock.advance(lease - tick);
    let heir = store.worker_register(worker_with_pid(5)).await.unwrap();
    assert_eq!(store.slot_acquire(heir, 1).await.unwrap(), None);
    place.clock.advance(tick);
    assert_eq!(store.slot_acquire(heir, 1).await.unwrap(), None, "dead now");
    place.clock.advance(slot_grace - tick);
    assert_eq!(store.slot_acquire(heir, 1).await.unwrap(), None);
    place.clock.advance(tick);
    store.slot_acquire(heir, 1).await.unwrap().unwrap();

    // Its process is gone: the grace counts from when that was found out.
    store.worker_renew(heir).await.unwrap();
    place.processes.end(5);
    let last = store.worker_register(worker(false)).await.unwrap();
    assert_eq!(store.slot_acquire(last, 1).await.unwrap(), None);
    place.clock.advance(slot_grace - tick);
    assert_eq!(store.slot_acquire(last, 1).await.unwrap(), None);
    place.clock.advance(tick);
    store.slot_acquire(last, 1).await.unwrap().unwrap();

    // The machine was restarted: no connection of before can be left.
    place.clock.reboot();
    let fresh = store.worker_register(worker(false)).await.unwrap();
    assert!(store.slot_acquire(fresh, 1).await.unwrap().is_some());
}

pub(crate) async fn leaving_frees_them(place: &Place) {
    let store = place.store().await;
    let one = store.worker_register(worker(false)).await.unwrap();
    let other = store.worker_register(worker(false)).await.unwrap();
    for _ in 0..3 {
        store.slot_acquire(one, 3).await.unwrap().unwrap();
    }
    assert_eq!(store.slot_acquire(other, 3).await.unwrap(), None);
    store.worker_leave(one).await.unwrap();
    for _ in 0..3 {
        store.slot_acquire(other, 3).await.unwrap().unwrap();
    }
    assert_eq!(store.slot_acquire(other, 3).await.unwrap(), None);
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
                if let Some(slot) = store.slot_acquire(worker, LIMIT).await.unwrap() {
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
