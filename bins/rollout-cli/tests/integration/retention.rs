//! What steps printed goes some days after the end of their rollout; what came of them stays.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use local_fleet::{InstallBehaviour, ReleaseSpec};
use serde_json::Value;

use crate::server::Served;
use crate::support::{Place, Site};

const FAST: &str = "[rollout]\nsettle = 0.2\nmax_failures = 100\n[app.timeouts]\nconnect = 5\n";
const WORDS: &str = "was removed after 30 days";

impl Site {
    fn sql(&self, sql: &str) {
        let database = self.place.path("rollout.db");
        let mut conn = SqliteConnection::establish(&database.display().to_string()).unwrap();
        conn.batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}"))
            .unwrap();
    }

    /// All that is over ended so many days earlier.
    fn date_back(&self, days: i64) {
        self.sql(&format!(
            "UPDATE rollouts SET finished_at = finished_at - {days} * 86400000"
        ));
    }

    /// A rollout that broke on the first host: its id.
    fn broken(&self) -> String {
        self.release(
            ReleaseSpec::good("bad")
                .install(InstallBehaviour::Fail)
                .only_on(["web-01"]),
        );
        let ran = self.place.expect(3, &["update", "--all", "-y", "--json"]);
        let last = ran.lines().pop().unwrap();
        last["rollout"]["id"].as_str().unwrap().to_owned()
    }

    fn steps(&self, rollout: &str) -> Vec<Value> {
        let shown = self.place.json(&["logs", rollout, "--host", "web-01"]);
        shown["steps"].as_array().unwrap().clone()
    }
}

fn printed(steps: &[Value]) -> usize {
    let text = |step: &Value, name: &str| step[name].as_str().unwrap().len();
    let both = |step| text(step, "stdout") + text(step, "stderr");
    steps.iter().map(both).sum()
}

#[test]
fn old_outputs_go_after_a_rollout_and_results_stay() {
    let site = Site::new(2, FAST);
    let id = site.broken();
    let before = site.steps(&id);
    assert!(printed(&before) > 0, "{before:?}");
    let logs = ["logs", &id, "--host", "web-01"];
    let text = site.place.expect(0, &logs).stdout;
    let heads = |text: &str| -> Vec<String> {
        let heads = text.lines().filter(|line| line.starts_with("──"));
        heads.map(str::to_owned).collect()
    };
    // Its own rollout is young, and a look removes nothing.
    assert_eq!(site.steps(&id), before);
    site.date_back(31);
    assert_eq!(site.steps(&id), before);

    site.release(ReleaseSpec::good("good"));
    let ran = site
        .place
        .expect(0, &["-v", "update", "--all", "-y", "--json"]);
    assert_eq!(
        ran.stderr
            .matches("old outputs of steps were removed")
            .count(),
        1,
        "{}",
        ran.stderr
    );
    let second = ran.lines().pop().unwrap()["rollout"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(printed(&site.steps(&second)) > 0);
    let after = site.steps(&id);
    assert_eq!((after.len(), printed(&after)), (before.len(), 0));
    for (before, after) in before.iter().zip(&after) {
        for field in [
            "step",
            "started_at",
            "finished_at",
            "duration_seconds",
            "reason",
            "message",
            "exit",
            "total_bytes",
        ] {
            assert_eq!(before[field], after[field], "{field}");
        }
        let was_there = printed(std::slice::from_ref(before)) > 0;
        assert_eq!(after["removed_after_days"] == 30, was_there, "{after}");
    }
    let now = site.place.expect(0, &logs).stdout;
    assert_eq!(heads(&now), heads(&text));
    let gone = before.iter().filter(|step| step["total_bytes"] != 0);
    assert_eq!(now.matches(WORDS).count(), gone.count(), "{now}");
    let bytes = before
        .iter()
        .find(|step| step["reason"] == "install_failed");
    let bytes = &bytes.unwrap()["total_bytes"];
    assert!(
        now.contains(&format!("what it printed ({bytes} bytes) {WORDS}")),
        "{now}"
    );

    // The same through a server, which removes nothing more.
    let served = Served::on(site);
    assert_eq!(served.expect(0, &logs).stdout, now);
}

#[test]
fn what_goes_wrong_with_it_is_no_failure() {
    let site = Site::new(1, FAST);
    site.release(ReleaseSpec::good("two"));
    site.place.expect(0, &["update", "--all", "-y"]);
    let first = site.status().rollout.unwrap().id.to_string();
    site.date_back(31);
    site.sql(
        "CREATE TRIGGER no BEFORE DELETE ON steps \
         BEGIN SELECT RAISE(FAIL, 'not today'); END",
    );
    for (arguments, quiet) in [
        (vec!["update", "--all", "-y"], true),
        (vec!["-v", "update", "--all", "-y"], false),
    ] {
        let ran = site.place.expect(0, &arguments);
        assert_eq!(ran.stderr.contains("not today"), !quiet, "{ran:#?}");
    }
    // With the obstacle gone, a rollback does it.
    site.sql("DROP TRIGGER no");
    let ran = site.place.expect(0, &["-v", "rollback", &first, "-y"]);
    assert!(ran.stderr.contains("were removed"), "{}", ran.stderr);
}

#[test]
fn it_can_be_kept_for_longer_and_for_ever() {
    for (days, removed) in [("0", 0), ("32", 0), ("31", 1), ("1", 1)] {
        let site = Site::new(1, &format!("{FAST}[history]\noutput_days = {days}\n"));
        site.release(ReleaseSpec::good("two"));
        let shown = site.place.expect(0, &["config", "show"]).stdout;
        let line = shown
            .lines()
            .find(|line| line.starts_with("history.output_days"));
        assert!(line.unwrap().contains(days), "{shown}");
        site.place.expect(0, &["update", "--all", "-y"]);
        site.date_back(31);
        let ran = site.place.expect(0, &["-v", "update", "--all", "-y"]);
        assert_eq!(
            ran.stderr.matches("were removed").count(),
            removed,
            "{days}: {}",
            ran.stderr
        );
    }
    let place = Place::new();
    place.write("rollout.toml", "[history]\noutput_days = 36501\n");
    let ran = place.expect(2, &["status"]);
    assert!(ran.stderr.contains("history.output_days"), "{}", ran.stderr);
}
