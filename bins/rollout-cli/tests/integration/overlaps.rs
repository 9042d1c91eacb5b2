//! Two updates that overlap on one database: one runs, the other is told which.

use local_fleet::ReleaseSpec;
use serde_json::Value;

use crate::support::{Running, Site, wait_until};

#[test]
fn one_runs_and_the_other_is_told_which() {
    let rounds = std::env::var("ROLLOUT_TEST_OVERLAPS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    // The one that runs cannot be done before the other has looked.
    let site = Site::gated(1, "[rollout]\nsettle = 0\n[lease]\nslot_grace = 0\n");
    site.open_gate();
    let mut won = [0_u32; 2];
    for round in 0..rounds {
        site.close_gate();
        let target = site.release(ReleaseSpec::good(format!("release {round}")));
        let arguments = ["update", "--to", &target, "--all", "-y", "--json"];
        let mut both = [site.place.start(&arguments), site.place.start(&arguments)];
        wait_until("one of them has been refused", || {
            both.iter_mut().any(Running::has_ended)
        });
        let loser = usize::from(both[1].has_ended());
        let [first, second] = both;
        let (refused, running) = if loser == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let refused = refused.end();
        assert_eq!(refused.code, 7, "round {round}: {refused:#?}");
        site.open_gate();
        let ran = running.end();
        assert_eq!(ran.code, 0, "round {round}: {ran:#?}");
        let summary: Value = ran.lines().pop().unwrap();
        let id = summary["rollout"]["id"].as_str().unwrap();
        let short = &id[id.len() - 8..];
        assert!(
            refused.stderr.contains(short),
            "round {round}: {short} is not in {refused:#?}"
        );
        won[1 - loser] += 1;
    }
    assert!(won[0] > 0 && won[1] > 0, "both orders were seen: {won:?}");
    let list = site.place.json(&["rollouts", "list", "-n", "1000"]);
    assert_eq!(list["rollouts"].as_array().unwrap().len(), rounds as usize);
}
