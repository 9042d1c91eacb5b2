//! What is told to those who watch.

use reqwest::StatusCode;

use crate::support::{Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_is_not_ready() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
    let (database, aside) = (site.database(), site.path("aside.db"));
    std::fs::rename(&database, &aside).unwrap();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["code"], "not_ready");
    let text = body.to_string();
    assert!(
        !text.contains("rollout.db") && !text.contains("sqlite"),
        "{text}"
    );
    assert_eq!(server.get("/healthz").await.0, StatusCode::OK);
    // Another file in its place is not the database either.
    std::fs::write(&database, "").unwrap();
    assert_eq!(
        server.get("/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    std::fs::rename(&aside, &database).unwrap();
    // Where a write failed meanwhile, the next one has to succeed first.
    until("it is ready again", async || {
        (server.get("/readyz").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_for_those_who_may_read() {
    let site = Site::without_hosts().await;
    let mut server = site.serve().await;
    let url = server.url("/metrics");
    let bare = server.client.get(&url).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let _stream = server.events(None).await;
    let wanted = [
        "rollout_server_build_info{version=",
        "rollout_server_hosts{health=\"unknown\"} 0",
        "rollout_server_rollout_active 0",
        "rollout_server_sse_clients 1",
        "rollout_server_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"401\"} 1",
        "# TYPE rollout_server_hosts_by_version gauge",
        "rollout_server_db_query_duration_seconds_bucket{op=\"read\",le=\"0.0005\"} ",
        "rollout_server_db_query_duration_seconds_count{op=\"write\"} ",
    ];
    let made_up = server.url("/made-up-by-somebody");
    server.client.get(&made_up).send().await.unwrap();
    let text = until("all numbers", async || {
        let asked = server.client.get(&url).bearer_auth(&server.token);
        let text = asked.send().await.unwrap().text().await.unwrap();
        wanted
            .iter()
            .all(|line| text.contains(line))
            .then_some(text)
    })
    .await;
    assert!(!text.contains("made-up"), "{text}");
    server.stop().await;
}
