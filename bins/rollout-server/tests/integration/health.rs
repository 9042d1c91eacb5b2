//! The health checker at work.

use local_fleet::{Fault, ReleaseSpec};
use serde_json::json;

use crate::support::{Base, Site, until};

on_each_database!(a_service_that_stopped_is_up_again_within_a_sweep);

async fn a_service_that_stopped_is_up_again_within_a_sweep(base: Base) {
    let site = Site::with_hosts(base, 3, ReleaseSpec::good("Next")).await;
    let fleet = site.fleet.as_ref().unwrap();
    let mut text = std::fs::read_to_string(site.path("rollout.toml")).unwrap();
    text = text.replace("fix = false", "every = 1\nfix = true");
    std::fs::write(site.path("rollout.toml"), text).unwrap();
    let mut server = site.serve().await;
    let healthy = async || {
        let (_, status) = server.get("/api/updates/status").await;
        (status["fleet"]["health"]["active"] == json!(3)).then_some(())
    };
    until("all hosts seen active", healthy).await;
    fleet.hosts()[1].set_fault(Fault::UnitDown).await.unwrap();
    until("the service is up again", async || {
        let state = fleet.hosts()[1].service_state().await.unwrap();
        (state.active_state == "active").then_some(())
    })
    .await;
    until("it is seen to be", healthy).await;
    // Three and one again.
    let line = "rollout_server_health_checks_total{outcome=\"active\"} ";
    until("its checks are counted", async || {
        let url = server.url("/metrics");
        let asked = server.client.get(url).bearer_auth(&server.token);
        let text = asked.send().await.unwrap().text().await.unwrap();
        let active = text.lines().find_map(|told| told.strip_prefix(line))?;
        (active.parse::<u64>().unwrap() >= 4).then_some(())
    })
    .await;
    let (_, page) = server.get("/api/updates/events?after=0&limit=1000").await;
    let events = page["events"].as_array().unwrap();
    let told = |event: &&serde_json::Value| event["type"] == "host.health";
    assert!(events.iter().filter(told).count() >= 3, "{page}");
    server.stop().await;
    site.end().await;
}
