//! A newer version of the program brings the schema on while servers of this one work.

use std::time::Duration;

use fleet_testkit::{Postgres, is_left_out};
use local_fleet::{InstallBehaviour, ReleaseSpec};

use crate::log::never_overlap;
use crate::support::{Base, Site};

/// What the next version does to the database at its start: it adds, and takes nothing away.
const NEXT: &str = "BEGIN; \
    ALTER TABLE hosts ADD COLUMN next_note TEXT; \
    ALTER TABLE attempts ADD COLUMN next_count BIGINT NOT NULL DEFAULT 0; \
    CREATE TABLE next_things (id BIGINT PRIMARY KEY); \
    INSERT INTO __diesel_schema_migrations (version) VALUES ('0999'); \
    COMMIT";

#[tokio::test(flavor = "multi_thread")]
async fn servers_go_on_while_a_newer_version_adds_to_the_schema_and_an_older_one_does_not_start() {
    if is_left_out("postgres") {
        return;
    }
    let slow = InstallBehaviour::Slow(Duration::from_millis(300));
    let release = ReleaseSpec::good("Next").install(slow);
    let site = Site::with_hosts(Base::Postgres, 16, release).await;
    let postgres = Postgres::shared();
    let (_, database) = site.database_url().rsplit_once('/').unwrap();
    let mut servers = [site.serve().await, site.serve().await];
    let mut stream = servers[0].events(Some(0)).await;
    servers[0].trigger().await;
    let mut finished = 0;
    while finished < 3 {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
    drop(stream);
    postgres.sql(database, NEXT);
    let workers = || postgres.sql(database, "SELECT count(*) FROM workers");
    let before = workers();

    // One of this version that is started now is too old, says so, and has not even registered.
    let url = site.database_url();
    let (code, said) = site.refuse(
        &[
            "--config",
            "rollout.toml",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            url,
        ],
        |_| {},
    );
    assert_eq!(code, 1, "{said}");
    for part in [
        "made by a newer version",
        "schema 0999",
        "this program knows",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(workers(), before);

    // Those that run finish what is under way, also when one of them dies.
    servers[0].kill().await;
    let rollout = servers[1].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 16, "{rollout}");
    let target = rollout["target"]["version"].as_str().unwrap();
    for host in site.fleet.as_ref().unwrap().hosts() {
        let moves = host.git(&["reflog", "--format=%H"]).await.unwrap();
        assert_eq!(moves.matches(target).count(), 1, "{}", host.name());
        never_overlap(host);
    }
    servers[1].stop().await;
    site.end().await;
}
