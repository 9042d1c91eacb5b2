//! Requests that are carried out once, however often they are made.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::Verb;

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

fn request(key: &str) -> Option<RequestKey> {
    Some(RequestKey {
        key: key.to_owned(),
        fingerprint: "all to main".to_owned(),
    })
}

pub(crate) async fn bad_keys_are_refused(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let long = "x".repeat(501);
    for bad in ["", "\0", "a\nb", &long] {
        let mut plan = one_stage(&hosts);
        plan.request = request(bad);
        let refused = store.rollout_create(plan, None).await.unwrap_err();
        assert!(matches!(refused, TriggerError::Invalid(_)), "{refused}");
    }
    assert_eq!(store.rollout_latest().await.unwrap(), None);
}

pub(crate) async fn known_before_the_plan_is_looked_at(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let mut plan = one_stage(&hosts);
    plan.request = request("k");
    let id = store.rollout_create(plan.clone(), None).await.unwrap();
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    store.rollout_advance(id).await.unwrap();
    store.host_remove(&hosts[0].name, &actor()).await.unwrap();
    let gone = store.rollout_create(plan.clone(), None).await;
    assert!(matches!(gone, Err(TriggerError::Repeated { rollout }) if rollout == id));
    plan.hosts.clear();
    let empty = store.rollout_create(plan, None).await;
    assert!(matches!(empty, Err(TriggerError::Repeated { rollout }) if rollout == id));
}

pub(crate) async fn forgotten_in_time(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let create = async |key| {
        let mut plan = one_stage(&hosts);
        plan.request = request(key);
        let id = store.rollout_create(plan, None).await?;
        store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
        store.rollout_advance(id).await.unwrap();
        Ok::<_, TriggerError>(id)
    };
    let first = create("k1").await.unwrap();
    place.clock.advance(Duration::from_secs(24 * 3600));
    let again = create("k1").await;
    assert!(matches!(again, Err(TriggerError::Repeated { rollout }) if rollout == first));
    place.clock.advance(Duration::from_secs(25 * 3600));
    create("k2").await.unwrap();
    assert_ne!(create("k1").await.unwrap(), first);
}

pub(crate) async fn one_rollout_for_two_processes(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let hosts = add_hosts(&stores[0], 3).await;
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let mut plan = plan(&hosts);
            plan.request = request("k");
            tokio::spawn(async move { store.rollout_create(plan, Some(worker(false))).await })
        })
        .collect();
    let (mut made, mut told) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => made.push(id),
            Err(TriggerError::Repeated { rollout }) => told.push(rollout),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made.len(), told.len()), (1, 29));
    assert!(told.iter().all(|id| *id == made[0]));
    assert_consistent(&stores[0]).await;
}
