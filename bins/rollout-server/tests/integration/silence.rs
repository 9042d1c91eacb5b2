//! A server that is asked to stop while its database takes what it says and never answers.

use std::time::Duration;

use fleet_testkit::{Postgres, is_left_out};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use rustix::process::Signal;

use crate::line::{Line, by_port};
use crate::support::{Base, Running, Site, until};

/// A server at work on hosts, whose database has fallen silent; the site goes to the same database by another line.
async fn struck_dumb(more: &str) -> (Site, Running) {
    let slow = InstallBehaviour::Slow(Duration::from_secs(2));
    let release = ReleaseSpec::good("Next").install(slow);
    let mut site = Site::with_hosts(Base::Postgres, 2, release).await;
    site.configure(more);
    let port = Postgres::shared().port();
    let line = Line::to(port);
    site.go_through(|url| by_port(url, port, line.port()));
    let server = site.serve().await;
    site.go_through(|url| by_port(url, line.port(), port));
    server.trigger().await;
    let mut stream = server.events(Some(0)).await;
    while stream.next().await.unwrap().data["step"] != "install" {}
    line.fall_silent();
    (site, server)
}

/// Nothing is lost: the next server finishes what was under way.
async fn is_finished_by_the_next(site: Site) {
    let mut server = site.serve().await;
    let rollout = server.rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 2, "{rollout}");
    server.stop().await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_never_answers_does_not_hold_up_the_end() {
    if is_left_out("postgres") {
        return;
    }
    let (site, mut server) = struck_dumb("[server]\nstop_grace = 6\n").await;
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert_eq!(status.code(), Some(0), "{status}: {}", server.said());
    // Five seconds for the hosts in flight, five to leave.
    assert!(took < Duration::from_secs(13), "{took:?}");
    let said = server.has_said("the database has not answered for").await;
    assert!(said.contains("taken over by another process"), "{said}");
    is_finished_by_the_next(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_soon_although_the_database_never_answers() {
    if is_left_out("postgres") {
        return;
    }
    let (site, mut server) = struck_dumb("[server]\nstop_grace = 30\n").await;
    server.signal(Signal::TERM);
    server.has_said("stopping: hosts in flight finish").await;
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert_eq!(status.code(), Some(0), "{status}: {}", server.said());
    assert!(took < Duration::from_secs(10), "{took:?}");
    server.has_said("taken over by another process").await;
    is_finished_by_the_next(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_up_yet_ends_as_well() {
    if is_left_out("postgres") {
        return;
    }
    // While it registers, when there is nothing to hand over yet, and when it is about to let people in.
    for (word, seconds) in [("INSERT INTO \"workers\"", 4), ("INSERT INTO \"setup\"", 9)] {
        // The schema is there already.
        let mut site = Site::empty_on(Base::Postgres);
        drop(site.store().await);
        site.configure("[server]\nstop_grace = 1\n");
        let port = Postgres::shared().port();
        let line = Line::to_until(port, word);
        site.go_through(|url| by_port(url, port, line.port()));
        let mut server = site.begin();
        until("silence", async || line.is_silent().then_some(())).await;
        server.signal(Signal::TERM);
        let (status, took) = server.ended().await;
        assert_eq!(
            status.code(),
            Some(0),
            "{word}: {status}: {}",
            server.said()
        );
        assert!(took < Duration::from_secs(seconds), "{word}: {took:?}");
    }
}
