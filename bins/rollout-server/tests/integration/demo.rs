//! The demo, by HTTP alone.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_rolls_out_by_http_alone_and_leaves_nothing_behind() {
    let site = Site::empty();
    let mut server = site.start(&["--demo"], |_| {}).await;
    let said = server.has_said("\nEnd ").await;
    let token = said.lines().find_map(|line| line.split_once("TOKEN="));
    server.token = token.unwrap().1.to_owned();
    assert!(said.contains(&server.url("/admin/updates")), "{said}");
    assert!(said.lines().count() <= 8, "{said}");

    let began = Instant::now();
    let (status, body) = server
        .post("/api/updates/trigger", json!({ "all": true }))
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(body["rollout"]["counts"]["pending"], 20, "{body}");
    let first = body["rollout"]["id"].clone();

    let (status, body) = server
        .post("/api/updates/trigger", json!({ "all": true }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(
        (&body["code"], &body["active"]),
        (&json!("rollout_active"), &first)
    );

    let rollout = server.rollout_in(&["completed_with_failures"]).await;
    assert_eq!(rollout["counts"]["success"], 19, "{rollout}");
    assert_eq!(rollout["counts"]["rolled_back"], 1, "{rollout}");
    let (_, status) = server.get("/api/updates/status").await;
    assert_eq!(status["fleet"]["versions"][0]["hosts"], 19, "{status}");

    // There is something to do again.
    server
        .has_said(
            "
Next ",
        )
        .await;
    server.trigger().await;
    let next = server.rollout_in(&["completed_with_failures"]).await;
    assert_ne!(next["id"], first);
    assert_ne!(next["target"]["version"], rollout["target"]["version"]);
    assert_eq!(next["counts"]["rolled_back"], 1, "{next}");

    let folders = || {
        let entries = std::fs::read_dir(site.path("")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    assert_eq!(folders(), 1, "the demo's own");
    server.signal(Signal::INT);
    let (status, _) = server.ended().await;
    assert!(status.success(), "{}", server.said());
    assert_eq!(folders(), 0);
}
