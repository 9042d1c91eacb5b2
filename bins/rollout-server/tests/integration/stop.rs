//! A server that is asked to stop.

use std::time::Duration;

use fleet_store::Rollouts;
use fleet_types::AttemptStatus;
use local_fleet::{InstallBehaviour, ReleaseSpec};
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::limits::almost_ask;
use crate::support::{Base, Site, until};

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
async fn a_body_that_does_not_end_does_not_hold_up_the_end() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let _slow = almost_ask(&server.address).await;
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert!(status.success(), "{status}: {}", server.said());
    assert!(took < Duration::from_secs(8), "{took:?}");
}

on_each_database!(
    hosts_in_flight_finish_and_the_next_server_goes_on hosts_that_take_too_long_are_handed_over
);

async fn hosts_in_flight_finish_and_the_next_server_goes_on(base: Base) {
    let site = Site::with_hosts(base, 6, ReleaseSpec::good("Next")).await;
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

async fn hosts_that_take_too_long_are_handed_over(base: Base) {
    let slow = InstallBehaviour::Slow(Duration::from_secs(4));
    let site = Site::with_hosts(base, 2, ReleaseSpec::good("Next").install(slow)).await;
    let mut text = std::fs::read_to_string(site.path("rollout.toml")).unwrap();
    text.push_str("[server]\nstop_grace = 1\n");
    std::fs::write(site.path("rollout.toml"), text).unwrap();
    let mut server = site.serve().await;
    server.trigger().await;
    let mut stream = server.events(Some(0)).await;
    while stream.next().await.unwrap().data["step"] != "install" {}
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert!(status.success(), "{status}: {}", server.said());
    assert!(took < Duration::from_secs(3), "{took:?}");
    server.has_said("left to the next process").await;

    let mut server = site.serve().await;
    let rollout = server.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 2, "{rollout}");
    server.stop().await;
    site.end().await;
}
