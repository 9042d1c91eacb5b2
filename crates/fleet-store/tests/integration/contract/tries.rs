//! Tries to sign in, and how long to wait between them.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::Timestamp;

use crate::place::Place;

/// How many of these tries were counted before one had to wait.
async fn counted(store: &DieselStore, tries: impl IntoIterator<Item = (String, String)>) -> usize {
    let mut counted = 0;
    for (account, source) in tries {
        match store.sign_in_try(&account, &source).await {
            Ok(()) => counted += 1,
            Err(AccessError::TooManyTries { wait }) => {
                assert!(!wait.is_zero() && wait <= Duration::from_secs(60));
            }
            Err(error) => panic!("{error}"),
        }
    }
    counted
}

pub(crate) async fn a_network_is_one_source(place: &Place) {
    let store = place.store().await;
    let one = |n: u32| ("anna".to_owned(), format!("2001:db8:7:7::{n:x}"));
    assert_eq!(counted(&store, (0..100).map(one)).await, 5);
    let others = |n: u32| ("anna".to_owned(), format!("2001:db8:7:{n:x}::1"));
    assert_eq!(counted(&store, (100..120).map(others)).await, 20);
    let mapped = |n: u32| ("bob".to_owned(), format!("::ffff:192.0.2.{n}"));
    assert_eq!(counted(&store, (0..20).map(mapped)).await, 20);
}

pub(crate) async fn sources_that_are_no_addresses_are_sources_too(place: &Place) {
    let store = place.store().await;
    let long = "x".repeat(1_000_000);
    for source in ["cli on laptop", "\0", &long] {
        let tries = || std::iter::repeat_with(|| ("anna".to_owned(), source.to_owned())).take(10);
        assert_eq!(counted(&store, tries()).await, 5);
    }
    // Only the beginning is looked at: what anybody can send is not kept.
    let longer = ("anna".to_owned(), format!("{long}y"));
    assert_eq!(counted(&store, [longer]).await, 0);
}

pub(crate) async fn a_wait_ends_when_it_was_said_to(place: &Place) {
    let store = place.store().await;
    let wait = async || match store.sign_in_try("anna", "192.0.2.1").await {
        Ok(()) => 0,
        Err(AccessError::TooManyTries { wait }) => wait.as_millis(),
        Err(error) => panic!("{error}"),
    };
    for _ in 0..5 {
        assert_eq!(wait().await, 0);
    }
    for (later, left) in [(0, 1000), (400, 600), (600, 0)] {
        place.clock.advance(Duration::from_millis(later));
        assert_eq!(wait().await, left, "{later} ms later");
    }
    // A clock that was set back a little makes nobody wait longer than that.
    let now = place.clock.now().0;
    place.clock.set_wall(Timestamp(now - 8000));
    assert_eq!(wait().await, 2000);
    place.clock.set_wall(Timestamp(now));
    // Whatever stands on record.
    for (failures, left) in [(i64::MAX, 60_000), (-3, 0)] {
        let sql = format!("UPDATE sign_in_failures SET failures = {failures}");
        place.execute(&sql).await.unwrap();
        assert_eq!(wait().await, left, "{failures} failures");
    }
}

pub(crate) async fn clocks_that_are_set_back_keep_nobody_out(place: &Place) {
    let store = place.store().await;
    let anna = || ("anna".to_owned(), "192.0.2.1".to_owned());
    let tries = || std::iter::repeat_with(anna).take(20);
    assert_eq!(counted(&store, tries()).await, 5);
    let hour = 3_600_000;
    place.clock.set_wall(Timestamp(place.clock.now().0 - hour));
    assert_eq!(counted(&store, tries()).await, 5);
}

pub(crate) async fn what_is_no_account_is_counted_as_one(place: &Place) {
    let store = place.store().await;
    let odd = |n: usize| (format!("{}\0", "x".repeat(n)), "192.0.2.1".to_owned());
    assert_eq!(counted(&store, (1..50).map(odd)).await, 5);
    store.sign_in_try("anna", "192.0.2.1").await.unwrap();
}

pub(crate) async fn success_is_not_held_against_the_source(place: &Place) {
    let store = place.store().await;
    for n in 0..200 {
        let account = format!("u{n}");
        store.sign_in_try(&account, "192.0.2.1").await.unwrap();
        store.sign_in_try(&account, "192.0.2.1").await.unwrap();
        store.sign_in_done(&account, "192.0.2.1").await.unwrap();
    }
}

pub(crate) async fn at_once_as_one_by_one(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let run = async |tries: Vec<(String, &'static str)>| {
        let tasks: Vec<_> = tries
            .into_iter()
            .enumerate()
            .map(|(n, (account, source))| {
                let store = Arc::clone(&stores[n % 2]);
                tokio::spawn(async move { store.sign_in_try(&account, source).await })
            })
            .collect();
        let mut counted = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => counted += 1,
                Err(AccessError::TooManyTries { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        counted
    };
    let one_pair = (0..60).map(|_| ("anna".to_owned(), "192.0.2.1")).collect();
    assert_eq!(run(one_pair).await, 5);
    let many = (0..120).map(|n| (format!("u{n}"), "192.0.2.2")).collect();
    assert_eq!(run(many).await, 50);
}

pub(crate) async fn tries_and_successes_do_not_block_each_other(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let began = std::time::Instant::now();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let account = format!("u{}", n % 3);
            tokio::spawn(async move {
                match store.sign_in_try(&account, "192.0.2.1").await {
                    Ok(()) | Err(AccessError::TooManyTries { .. }) => {}
                    Err(error) => return Err(error),
                }
                Ok(store.sign_in_done(&account, "192.0.2.1").await?)
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // A deadlock costs PostgreSQL a second at least, and there would be many.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

pub(crate) async fn table_stays_small(place: &Place) {
    let store = place.store().await;
    let fill = |at: i64| {
        format!(
            "INSERT INTO sign_in_failures (what, failures, last_at) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
             SELECT 'source of {at} ' || i, 1, {at} + i FROM n"
        )
    };
    let now = place.clock.now().0;
    // What is more than 15 minutes old goes first, and if that is enough, nothing else.
    place.execute(&fill(now - 16 * 60_000)).await.unwrap();
    store.sign_in_try("anna", "192.0.2.1").await.unwrap();
    place.assert_rows("sign_in_failures", 2).await;
    place.execute(&fill(now - 30_000)).await.unwrap();
    store.sign_in_try("anna", "192.0.2.2").await.unwrap();
    // The oldest 1,001 went; the pair and its source are new.
    place
        .assert_rows("sign_in_failures", 2 + 10_000 - 1_001 + 2)
        .await;
}
