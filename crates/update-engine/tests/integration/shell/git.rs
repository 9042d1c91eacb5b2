use fleet_types::{AttemptStatus, Reason};

use super::place::Place;

#[tokio::test]
async fn a_good_release() {
    let place = Place::new();
    let old = place.head();
    let new = place.release("two", "service=ok\n");
    let outcome = place.update(&new).await;
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::Success, Reason::Updated),
        "{outcome:?}"
    );
    place.assert_on(&new, "two");
    assert_eq!(place.branch(), "main");
    assert_eq!(
        place.git(&["rev-parse", "refs/rollout/previous"]),
        old.as_str()
    );
    assert_eq!(
        place.acts(),
        ["bun install", "systemctl restart app.service"]
    );
}
