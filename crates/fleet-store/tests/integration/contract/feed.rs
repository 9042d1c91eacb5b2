use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleet_store::*;
use fleet_types::{EventKind, Seq};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn of_one_rollout_only(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    update(&store, &claim(&store, id, worker).await.lease).await;
    add_more(&store).await;
    let all = store.events_after(Seq(0), None, 1000).await.unwrap();
    let own = store.events_after(Seq(0), Some(id), 1000).await.unwrap();
    let chosen: Vec<_> = all
        .iter()
        .filter(|event| event.rollout == Some(id))
        .cloned()
        .collect();
    assert_eq!(own, chosen);
    assert!(all.len() > own.len());
    let mut paged = Vec::new();
    while let Some(next) = {
        let after = paged
            .last()
            .map_or(Seq(0), |event: &fleet_types::Event| event.seq);
        let page = store.events_after(after, Some(id), 2).await.unwrap();
        assert!(page.len() <= 2);
        (!page.is_empty()).then_some(page)
    } {
        paged.extend(next);
    }
    assert_eq!(paged, own);
    let kinds: Vec<EventKind> = own.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds[..4],
        [
            EventKind::RolloutStarted,
            EventKind::StageStarted,
            EventKind::HostStarted,
            EventKind::HostStep
        ]
    );
    assert_eq!(kinds.last(), Some(&EventKind::HostFinished));
    // Backwards, without the steps.
    let told = store.rollout_told(id, None, 1000).await.unwrap();
    let steps = |event: &&fleet_types::Event| event.kind != EventKind::HostStep;
    let expected: Vec<_> = own.iter().filter(steps).rev().cloned().collect();
    assert_eq!(told, expected);
    let mut paged: Vec<fleet_types::Event> = Vec::new();
    while let Some(next) = {
        let before = paged.last().map(|event| event.seq);
        let page = store.rollout_told(id, before, 1).await.unwrap();
        assert!(page.len() <= 1);
        (!page.is_empty()).then_some(page)
    } {
        paged.extend(next);
    }
    assert_eq!(paged, told);
    assert!(store.rollout_told(id, None, 0).await.unwrap().is_empty());
}

async fn add_more(store: &DieselStore) {
    store.host_add(vec![host("more")], &actor()).await.unwrap();
}

pub(crate) async fn waits_for_own_events(place: &Place) {
    let store = place.store().await;
    add_hosts(&store, 1).await;
    let seq = store.status().await.unwrap().seq;
    let patience = Duration::from_secs(60);
    store.events_wait(Seq(seq.0 - 1), patience).await.unwrap();
    let began = Instant::now();
    let short = Duration::from_millis(50);
    store.events_wait(seq, short).await.unwrap();
    assert!(
        began.elapsed() >= short,
        "there was nothing to come back for"
    );
    let (waited, ()) = tokio::join!(store.events_wait(seq, patience), add_more(&store));
    waited.unwrap();
    assert!(!store.events_after(seq, None, 10).await.unwrap().is_empty());
}

pub(crate) async fn waits_for_events_of_others(place: &Place) {
    let store = place.store().await;
    let other = place.store().await;
    add_hosts(&other, 1).await;
    let seq = store.status().await.unwrap().seq;
    let began = Instant::now();
    let patience = Duration::from_secs(60);
    let (waited, ()) = tokio::join!(store.events_wait(seq, patience), add_more(&other));
    waited.unwrap();
    assert!(began.elapsed() < patience);
    assert!(!store.events_after(seq, None, 10).await.unwrap().is_empty());
}

/// Four writers on two stores, two readers that follow: each sees every number once, in order, without a gap.
pub(crate) async fn readers_miss_nothing(place: &Place) {
    const EACH: usize = 40;
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let over = done.load(Ordering::SeqCst);
                    let after = seen.last().copied().unwrap_or(Seq(0));
                    let page = store.events_after(after, None, 7).await.unwrap();
                    if page.is_empty() && over {
                        return seen;
                    }
                    if page.is_empty() {
                        let short = Duration::from_millis(200);
                        store.events_wait(after, short).await.unwrap();
                    }
                    seen.extend(page.into_iter().map(|event| event.seq));
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer: usize| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                for n in 0..EACH {
                    let new = vec![
                        host(&format!("w{writer}-{n}a")),
                        host(&format!("w{writer}-{n}b")),
                    ];
                    store.host_add(new, &actor()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let expected: Vec<Seq> = (1..=4 * EACH as i64 * 2).map(Seq).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected);
    }
    assert_consistent(&stores[0]).await;
}
