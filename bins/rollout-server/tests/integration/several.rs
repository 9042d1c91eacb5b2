//! Several servers on one database.

use local_fleet::ReleaseSpec;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Base, Site, until};

on_each_database!(
    two_servers_share_the_work_and_one_finishes_it_alone
        three_servers_stay_within_the_limit_of_connections_while_one_dies
);

async fn two_servers_share_the_work_and_one_finishes_it_alone(base: Base) {
    let site = Site::with_hosts(base, 10, ReleaseSpec::good("Next")).await;
    let (mut first, mut second) = (site.serve().await, site.serve().await);
    assert_eq!(second.get("/readyz").await.0, StatusCode::OK);
    let id = first.trigger().await;
    let (status, body) = second
        .post("/api/updates/trigger", json!({ "all": true }))
        .await;
    assert_eq!(
        (status, body["active"].as_str()),
        (StatusCode::CONFLICT, Some(id.as_str()))
    );
    let mut stream = second.events(Some(0)).await;
    let mut finished = 0;
    while finished < 2 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    first.kill().await;
    let rollout = second.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 10, "{rollout}");
    drop(stream);
    // What was revoked here is revoked there.
    let third = site.serve().await;
    let (_, tokens) = third.get("/api/tokens").await;
    let token = tokens["tokens"][0]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{tokens}"));
    let gone = third
        .send(
            reqwest::Method::DELETE,
            &format!("/api/tokens/{token}"),
            None,
        )
        .await;
    assert!(gone.status().is_success(), "{}", gone.status());
    until("the end of the token", async || {
        let (status, _) = second.get("/api/updates/status").await;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    second.stop().await;
    site.end().await;
}

async fn three_servers_stay_within_the_limit_of_connections_while_one_dies(base: Base) {
    let site = Site::with_hosts(base, 20, ReleaseSpec::good("Next")).await;
    let fleet = site.fleet.as_ref().unwrap();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(site.serve().await);
    }
    let mut stream = servers[1].events(Some(0)).await;
    servers[1].trigger().await;
    let mut finished = 0;
    while finished < 4 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    servers[0].kill().await;
    drop(stream);
    let rollout = servers[2].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 20, "{rollout}");
    let target = rollout["target"]["version"].as_str().unwrap();
    for host in fleet.hosts() {
        let head = host.head().await.unwrap();
        assert_eq!(head, target, "{}", host.name());
    }
    let most = fleet.max_connections_seen();
    assert!((2..=5).contains(&most), "{most} connections at once");
    for server in &mut servers[1..] {
        server.stop().await;
    }
    site.end().await;
}
