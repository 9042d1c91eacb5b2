//! Calls that share a commit.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fleet_store::*;
use fleet_types::Seq;

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn refused_calls_do_not_undo_others(place: &Place) {
    let store = Arc::new(place.store().await);
    add_hosts(&store, 1).await;
    let hold = place.hold_writers().await;
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let store = Arc::clone(&store);
            // Every third one is refused, after its first host was taken up.
            let second = if n % 3 == 0 {
                "h001".to_owned()
            } else {
                format!("b{n}")
            };
            let new = vec![host(&format!("a{n}")), host(&second)];
            tokio::spawn(async move { store.host_add(new, &actor()).await.is_ok() })
        })
        .collect();
    // On SQLite all of them are queued behind the lock and then share one transaction.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    hold.release().await;
    let mut added = 0;
    for (n, task) in tasks.into_iter().enumerate() {
        let accepted = task.await.unwrap();
        assert_eq!(accepted, n % 3 != 0, "call {n}");
        added += usize::from(accepted);
    }
    let hosts = store.host_list().await.unwrap();
    assert_eq!(hosts.len(), 1 + 2 * added);
    let events = store.events_after(Seq(0), None, 1000).await.unwrap();
    assert_eq!(
        events.len(),
        hosts.len(),
        "no event of a call that was refused"
    );
    let query = AuditQuery {
        limit: 1000,
        ..AuditQuery::default()
    };
    let trail = store.audit_list(query).await.unwrap();
    assert_eq!(
        trail.len(),
        1 + added,
        "a row for each call that was accepted"
    );
    assert_consistent(&store).await;
}

pub(crate) async fn dropped_calls_take_effect(place: &Place) {
    let store = place.store().await;
    let hold = place.hold_writers().await;
    {
        let who = actor();
        let mut call = store.host_add(vec![host("dropped")], &who);
        let polled = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    hold.release().await;
    store.host_add(vec![host("after")], &actor()).await.unwrap();
    let names = async || -> Vec<String> {
        let hosts = store.host_list().await.unwrap();
        hosts.iter().map(|host| host.name.to_string()).collect()
    };
    if place.is_postgres() {
        // It has more than one writer: the one that waited for the lock may still be at it.
        let comes = async {
            while names().await.len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), comes)
            .await
            .expect("a call that nobody waits for takes effect");
    }
    assert_eq!(names().await, ["after", "dropped"]);
}
