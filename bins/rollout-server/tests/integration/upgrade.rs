//! A newer version of the program comes in place of this one while a rollout is under way.

use std::time::Duration;

use fleet_testkit::{Postgres, is_left_out};
use local_fleet::{InstallBehaviour, ReleaseSpec};

use crate::log::never_overlap;
use crate::support::{Base, Running, Site};

/// What a newer version does to the database at its start: it adds, and takes nothing away.
const NEXT: &str = "BEGIN; \
    ALTER TABLE hosts ADD COLUMN next_note TEXT; \
    ALTER TABLE attempts ADD COLUMN next_count BIGINT NOT NULL DEFAULT 0; \
    CREATE TABLE next_things (id BIGINT PRIMARY KEY); \
    INSERT INTO __diesel_schema_migrations (version) VALUES ('0999'); \
    COMMIT";

/// From here on only programs that know the newer schema can work on the database.
const CONTRACT: &str = "UPDATE compatibility SET since = 999";

/// A server on the site's database, which must not come up: its exit code and what it said.
fn refused(site: &Site) -> (i32, String) {
    let url = site.database_url();
    let arguments = [
        "--config",
        "rollout.toml",
        "--listen",
        "127.0.0.1:0",
        "--database-url",
        url,
    ];
    site.refuse(&arguments, |_| {})
}

fn says_too_new(said: &str) {
    for part in [
        "made by a newer version",
        "schema 0999",
        "compatible since 0999",
        "this program knows",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Waits until so many hosts are done.
async fn finished(server: &Running, hosts: usize) {
    let mut stream = server.events(Some(0)).await;
    let mut finished = 0;
    while finished < hosts {
        let message = stream.next().await.unwrap();
        finished += usize::from(message.data["type"] == "host.finished");
    }
}

/// By the hosts' own word: each came to the target once, and no two changing commands of one overlapped.
async fn went_once(site: &Site, target: &str) {
    for host in site.fleet.as_ref().unwrap().hosts() {
        let moves = host.git(&["reflog", "--format=%H"]).await.unwrap();
        assert_eq!(moves.matches(target).count(), 1, "{}", host.name());
        never_overlap(host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_go_on_and_start_while_the_schema_is_compatible_and_end_when_it_is_not() {
    if is_left_out("postgres") {
        return;
    }
    let slow = InstallBehaviour::Slow(Duration::from_millis(300));
    let release = ReleaseSpec::good("Next").install(slow);
    let site = Site::with_git_in_logs(Base::Postgres, 16, release).await;
    let postgres = Postgres::shared();
    let (_, database) = site.database_url().rsplit_once('/').unwrap();
    let mut servers = [site.serve().await, site.serve().await];
    servers[0].trigger().await;
    finished(&servers[0], 3).await;
    postgres.sql(database, NEXT);

    // Those that run, and one that is started now, finish what is under way, also when one of them dies.
    let mut third = site.serve().await;
    assert_eq!(third.get("/readyz").await.0, 200);
    servers[0].kill().await;
    let rollout = servers[1].rollout_in(&["completed"]).await;
    assert_eq!(rollout["counts"]["success"], 16, "{rollout}");
    went_once(&site, rollout["target"]["version"].as_str().unwrap()).await;

    // Those that run end by themselves, and say why; one that is started has not even registered.
    postgres.sql(database, CONTRACT);
    for server in [&mut servers[1], &mut third] {
        let (status, _) = server.ended().await;
        assert_eq!(status.code(), Some(1), "{}", server.said());
        says_too_new(&server.said());
    }
    let workers = || postgres.sql(database, "SELECT count(*) FROM workers");
    let before = workers();
    let (code, said) = refused(&site);
    assert_eq!(code, 1, "{said}");
    says_too_new(&said);
    assert_eq!(workers(), before);
    site.end().await;
}

/// With programs that stand for the next version: they know one more migration.
#[cfg(feature = "crash-points")]
mod next_version {
    use reqwest::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::support::until;

    const LEFT: &str =
        "is carried on by a newer version of this program; this process leaves it to those";

    /// Notes past the programs, in the transaction itself, who took a host on: what their program knows, and what the
    /// rollout needed then. What takes hosts on locks the rollout, so the notes are in the order of what happened.
    const NOTE: &str = "CREATE TABLE noted (at BIGSERIAL, host TEXT, worker TEXT, knows BIGINT, needed BIGINT); \
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
            INSERT INTO noted (host, worker, knows, needed) SELECT NEW.name, w.id, w.schema, r.schema \
            FROM workers w, rollouts r WHERE w.id = NEW.lease_worker AND r.id = NEW.last_rollout; \
            RETURN NULL; END'; \
        CREATE TRIGGER note AFTER UPDATE OF lease_worker ON hosts FOR EACH ROW WHEN (NEW.lease_purpose = 'update' \
            AND NEW.lease_worker IS DISTINCT FROM OLD.lease_worker) EXECUTE FUNCTION note()";

    struct Notes<'a> {
        postgres: &'static Postgres,
        database: &'a str,
    }

    impl<'a> Notes<'a> {
        fn on(site: &'a Site) -> Self {
            let (_, database) = site.database_url().rsplit_once('/').unwrap();
            let postgres = Postgres::shared();
            postgres.sql(database, NOTE);
            Self { postgres, database }
        }

        fn number(&self, query: &str) -> u32 {
            let answer = self.postgres.sql(self.database, query);
            answer
                .trim()
                .parse()
                .unwrap_or_else(|_| panic!("{query}: {answer}"))
        }

        /// Hosts taken on by programs of this kind: `<` for the older ones, `=` for the newer.
        fn taken_on(&self, by: char) -> u32 {
            self.number(&format!("SELECT count(*) FROM noted WHERE knows {by} 999"))
        }

        /// Once a newer one had written, no older one took anything on.
        fn assert_in_order(&self) {
            let late = "SELECT count(*) FROM noted WHERE knows < needed";
            assert_eq!(self.number(late), 0);
            let after = "SELECT count(*) FROM noted WHERE knows < 999 \
                AND at > (SELECT min(at) FROM noted WHERE knows = 999)";
            assert_eq!(self.number(after), 0);
        }
    }

    /// A server of the next version.
    async fn next(site: &Site) -> Running {
        let folder = site.path("migrations");
        let migration = folder.join("0999_next");
        if !migration.exists() {
            std::fs::create_dir_all(&migration).unwrap();
            let sql = "ALTER TABLE hosts ADD COLUMN next_note TEXT; CREATE TABLE next_things (id BIGINT PRIMARY KEY);";
            std::fs::write(migration.join("up.sql"), sql).unwrap();
        }
        let knows = |command: &mut std::process::Command| {
            command.env("ROLLOUT_MORE_MIGRATIONS", &folder);
        };
        site.serve_with(&[], knows).await
    }

    async fn slow_site(hosts: usize) -> Site {
        let slow = InstallBehaviour::Slow(Duration::from_secs(1));
        Site::with_git_in_logs(
            Base::Postgres,
            hosts,
            ReleaseSpec::good("Next").install(slow),
        )
        .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_servers_are_replaced_in_turn_while_a_rollout_is_under_way() {
        if is_left_out("postgres") {
            return;
        }
        let site = slow_site(16).await;
        let notes = Notes::on(&site);
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(site.serve().await);
        }
        // Slow enough that all that follows has its time.
        let slowly = json!({ "all": true, "concurrency": 2, "stages": [10, 50, 100] });
        let (status, body) = servers[0].post("/api/updates/trigger", slowly).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        finished(&servers[0], 2).await;
        assert!(notes.taken_on('<') > 0 && notes.taken_on('=') == 0);

        // The first in good order, the second without a word: what it had in flight is the newer one's.
        servers[0].stop().await;
        servers[0] = next(&site).await;
        until("a host of the newer version's", async || {
            (notes.taken_on('=') > 0).then_some(())
        })
        .await;
        for older in &servers[1..] {
            older.has_said(LEFT).await;
        }
        servers[1].kill().await;
        servers[1] = next(&site).await;

        // An old one can still be started; it has nothing to do here.
        let mut again = site.serve().await;
        assert_eq!(again.get("/readyz").await.0, StatusCode::OK);
        again.has_said(LEFT).await;
        let (status, body) = again
            .post("/api/updates/trigger", json!({ "all": true }))
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "{body}");
        servers[2].stop().await;
        servers[2] = next(&site).await;

        let rollout = servers[2].rollout_in(&["completed"]).await;
        assert_eq!(rollout["counts"]["success"], 16, "{rollout}");
        notes.assert_in_order();
        went_once(&site, rollout["target"]["version"].as_str().unwrap()).await;

        // What the next version takes away then ends the old one, and no other.
        notes.postgres.sql(notes.database, CONTRACT);
        let (status, _) = again.ended().await;
        assert_eq!(status.code(), Some(1), "{}", again.said());
        let (code, said) = refused(&site);
        assert_eq!(code, 1, "{said}");
        says_too_new(&said);
        for mut server in servers {
            assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
            server.stop().await;
        }
        site.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_newer_version_has_begun_waits_for_one() {
        if is_left_out("postgres") {
            return;
        }
        let site = slow_site(6).await;
        let notes = Notes::on(&site);
        let mut newer = next(&site).await;
        newer.trigger().await;
        let older = site.serve().await;
        until("a host of the newer version's", async || {
            (notes.taken_on('=') > 0).then_some(())
        })
        .await;
        newer.kill().await;
        older.has_said(LEFT).await;
        until("nobody who works on it", async || {
            let (_, status) = older.get("/api/updates/status").await;
            (status["rollout"]["attended"] == false).then_some(())
        })
        .await;
        assert_eq!(notes.taken_on('<'), 0);
        // It can be paused and resumed all the same; that is for the next one to go by.
        let (_, status) = older.get("/api/updates/status").await;
        let id = status["rollout"]["id"].as_str().unwrap().to_owned();
        for verb in ["pause", "resume"] {
            let path = format!("/api/updates/rollouts/{id}/{verb}");
            let (status, body) = older.post(&path, json!({})).await;
            assert!(status.is_success(), "{body}");
        }

        let newer = next(&site).await;
        let rollout = newer.rollout_in(&["completed"]).await;
        assert_eq!(rollout["counts"]["success"], 6, "{rollout}");
        assert_eq!(notes.taken_on('<'), 0);
        notes.assert_in_order();
        went_once(&site, rollout["target"]["version"].as_str().unwrap()).await;
        for mut server in [older, newer] {
            server.stop().await;
        }
        site.end().await;
    }
}
