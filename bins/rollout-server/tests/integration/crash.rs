//! A server that is killed in the middle of a rollout.

use local_fleet::{Fault, ReleaseSpec};

use crate::support::{Base, Site, Stream};

/// Reads until somebody says so: the numbers seen.
async fn read(stream: &mut Stream, seen: &mut Vec<i64>, enough: impl Fn(&str, usize) -> bool) {
    let mut finished = 0;
    while let Some(message) = stream.next().await {
        let Some(id) = message.id else { continue };
        seen.push(id);
        let kind = message.data["type"].as_str().unwrap_or_default();
        finished += usize::from(kind == "host.finished");
        if enough(kind, finished) {
            return;
        }
    }
    panic!("the stream ended too early, after {seen:?}");
}

on_each_database!(a_killed_server_loses_nothing_and_streams_go_on_where_they_were);

async fn a_killed_server_loses_nothing_and_streams_go_on_where_they_were(base: Base) {
    let site = Site::with_hosts(base, 12, ReleaseSpec::good("Next")).await;
    let fleet = site.fleet.as_ref().unwrap();
    // One that fails for a reason of its own, so that not all is smooth.
    fleet.hosts()[5].set_fault(Fault::NoSudo).await.unwrap();
    let mut server = site.serve().await;
    let mut stream = server.events(Some(0)).await;
    let id = server.trigger().await;
    let mut seen = Vec::new();
    read(&mut stream, &mut seen, |_, finished| finished == 2).await;
    server.kill().await;
    drop(stream);

    let mut server = site.serve().await;
    let mut stream = server.events(seen.last().copied()).await;
    read(&mut stream, &mut seen, |kind, _| kind == "rollout.finished").await;
    drop(stream);
    let rollout = server.rollout_in(&["completed_with_failures"]).await;
    assert_eq!(rollout["id"].as_str(), Some(id.as_str()));
    assert_eq!(rollout["counts"]["success"], 11, "{rollout}");
    assert_eq!(rollout["counts"]["failed"], 1, "{rollout}");
    assert_eq!(rollout["counts"]["updating"], 0, "{rollout}");

    // Every event once, in order, as the feed has them.
    let (_, page) = server.get("/api/updates/events?after=0&limit=1000").await;
    let events = page["events"].as_array().unwrap();
    let all: Vec<i64> = events
        .iter()
        .map(|event| event["seq"].as_i64().unwrap())
        .collect();
    let until = all.iter().position(|seq| Some(seq) == seen.last()).unwrap();
    assert_eq!(seen, all[..=until]);

    let target = rollout["target"]["version"].as_str().unwrap();
    for (number, host) in fleet.hosts().iter().enumerate() {
        let head = host.head().await.unwrap();
        assert_eq!(head == target, number != 5, "{} is on {head}", host.name());
    }
    server.stop().await;
    site.end().await;
}
