//! Several servers on one database.

use local_fleet::ReleaseSpec;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_work_and_one_finishes_it_alone() {
    let site = Site::with_hosts(10, ReleaseSpec::good("Next")).await;
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
