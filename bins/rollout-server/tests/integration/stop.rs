//! A server that is asked to stop.

use std::time::Duration;

use fleet_store::Rollouts;
use fleet_types::AttemptStatus;
use local_fleet::ReleaseSpec;
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::support::{Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_hold_up_the_end() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(server.events(None).await);
    }
    // A connection that is kept, and one that never asked for anything.
    assert_eq!(server.get("/healthz").await.0, StatusCode::OK);
    let _silent = tokio::net::TcpStream::connect(&server.address)
        .await
        .unwrap();
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert!(status.success(), "{status}: {}", server.said());
    assert!(took < Duration::from_secs(3), "{took:?}");
    for stream in &mut streams {
        let said = stream.next().await.unwrap();
        assert_eq!(said.name.as_deref(), Some("bye"), "{said:?}");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_in_flight_finish_and_the_next_server_goes_on() {
    let site = Site::with_hosts(6, ReleaseSpec::good("Next")).await;
    let mut server = site.serve().await;
    let id = server.trigger().await.parse().unwrap();
    let store = site.store().await;
    let statuses = async || {
        let attempts = store.attempt_list(id).await.unwrap();
        attempts.iter().map(|a| a.status).collect::<Vec<_>>()
    };
    until("a host in flight", async || {
        statuses()
            .await
            .contains(&AttemptStatus::Updating)
            .then_some(())
    })
    .await;
    server.stop().await;
    let left = statuses().await;
    assert!(!left.contains(&AttemptStatus::Updating), "{left:?}");
    assert!(left.contains(&AttemptStatus::Pending), "{left:?}");

    let mut server = site.serve().await;
    let rollout = server.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 6, "{rollout}");
    server.stop().await;
    site.end().await;
}
