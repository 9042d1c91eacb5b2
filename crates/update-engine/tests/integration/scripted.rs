//! Attempts on a simulated host, on a paused clock.

use fleet_types::{AttemptStatus, Reason};
use tokio::time::Instant;
use update_engine::testing::{MemoryJournal, SimRelease};

use crate::support::{Scene, told};

#[tokio::test(start_paused = true)]
async fn a_good_release_is_told_in_this_order() {
    let scene = Scene::new(SimRelease::Good);
    let mut journal = MemoryJournal::default();
    let begun = Instant::now();
    let transport = scene.fleet.transport();
    let outcome = update_engine::run_attempt(scene.spec(), &transport, &mut journal)
        .await
        .unwrap();
    assert_eq!(
        (outcome.status, outcome.reason, outcome.touched),
        (AttemptStatus::Success, Reason::Updated, true)
    );
    assert_eq!(outcome.version.as_ref(), Some(&scene.new));
    assert!(scene.host().is_wholly_on(&scene.new));
    assert_eq!(
        begun.elapsed().as_secs(),
        5,
        "the settle wait and nothing else"
    );
    assert_eq!(
        (
            transport.connections(),
            transport.most_open(),
            transport.open()
        ),
        (2, 1, 0)
    );
    let expected = format!(
        "connect? connect. inspect? inspect. previous {} pull? pull. install? install. restart? restart. \
         settle? settle. verify? verify. = success updated",
        scene.old.short()
    );
    assert_eq!(told(&journal.events).join(" "), expected);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_does_not_stay_up_is_taken_back() {
    let scene = Scene::new(SimRelease::CrashLoops);
    let mut journal = MemoryJournal::default();
    let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
    assert_eq!(
        (outcome.status, outcome.reason),
        (AttemptStatus::RolledBack, Reason::CrashLoop),
        "{}",
        outcome.message
    );
    assert!(scene.host().is_wholly_on(&scene.old));
    let expected = format!(
        "connect? connect. inspect? inspect. previous {} pull? pull. install? install. restart? restart. \
         settle? settle. verify? verify! crash_loop back because of verify: crash_loop \
         rollback_checkout? rollback_checkout. rollback_install? rollback_install. rollback_restart? rollback_restart. \
         rollback_settle? rollback_settle. rollback_verify? rollback_verify. = rolled_back crash_loop",
        scene.old.short()
    );
    assert_eq!(told(&journal.events).join(" "), expected);
}
