//! Workers that die, and the ones that finish for them.

use std::time::Duration;

use fleet_types::{AttemptStatus, HostEvent, Outcome, Phase, Previous, Progress, Reason, StepId};
use update_engine::testing::{MemoryJournal, SimRelease};

use crate::faults::assert_true;
use crate::support::{HOST, Scene, assert_ended, told};

const RELEASES: [SimRelease; 6] = [
    SimRelease::Good,
    SimRelease::InstallFails,
    SimRelease::StartFails,
    SimRelease::CrashLoops,
    SimRelease::Dies,
    SimRelease::VerifyFails,
];

/// Lets one worker after the other record this many events and die, and the last one finish.
async fn relay(scene: &Scene, lives: &[usize]) -> (Outcome, Progress) {
    let mut progress = Progress::default();
    for (worker, events) in lives.iter().map(Some).chain([None]).enumerate() {
        let mut journal = MemoryJournal::with_progress(progress);
        journal.events_left = events.copied();
        let mut spec = scene.spec();
        spec.guard.epoch += i64::try_from(worker).unwrap();
        match scene.run(spec, &mut journal).await {
            Ok(outcome) => return (outcome, journal.progress),
            Err(_) => progress = journal.progress,
        }
    }
    unreachable!("the last worker is not stopped")
}

#[track_caller]
fn assert_relay(
    cell: &str,
    scene: &Scene,
    release: SimRelease,
    (outcome, progress): (Outcome, Progress),
) {
    assert_true(cell, scene, &outcome);
    let wanted = if release == SimRelease::Good {
        AttemptStatus::Success
    } else {
        AttemptStatus::RolledBack
    };
    assert_eq!(outcome.status, wanted, "{cell}: {outcome:?}");
    assert_eq!(progress.previous.unwrap().version, scene.old, "{cell}");
    assert!(
        outcome.touched,
        "{cell}: never unchanged once it was touched"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_at_any_event_is_no_fault_of_the_host() {
    for release in RELEASES {
        let events = {
            let mut journal = MemoryJournal::default();
            let scene = Scene::new(release);
            scene.run(scene.spec(), &mut journal).await.unwrap();
            journal.events.len()
        };
        for first in 0..events {
            let scene = Scene::new(release);
            assert_relay(
                &format!("{release:?}, {first}"),
                &scene,
                release,
                relay(&scene, &[first]).await,
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_workers_that_die_at_any_two_events_are_no_fault_of_the_host() {
    for release in RELEASES {
        for first in 0..26 {
            for second in 0..26 {
                let scene = Scene::new(release);
                let cell = format!("{release:?}, {first}, {second}");
                assert_relay(
                    &cell,
                    &scene,
                    release,
                    relay(&scene, &[first, second]).await,
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_killed_in_mid_command_is_no_fault_of_the_host() {
    for release in RELEASES {
        for half_seconds in 0..40_u64 {
            let scene = Scene::new(release);
            scene.fleet.change(HOST, |host| {
                let names = StepId::ALL.iter().map(|step| step.as_str().to_owned());
                host.takes = names.map(|name| (name, Duration::from_secs(1))).collect();
            });
            let mut journal = MemoryJournal::default();
            let kill = tokio::time::sleep(Duration::from_millis(half_seconds * 500 + 250));
            let finished = tokio::select! {
                outcome = scene.run(scene.spec(), &mut journal) => Some(outcome.unwrap()),
                () = kill => None,
            };
            let result = match finished {
                Some(outcome) => (outcome, journal.progress),
                None => {
                    let mut heir = MemoryJournal::with_progress(journal.progress);
                    let mut spec = scene.spec();
                    spec.guard.epoch += 1;
                    (scene.run(spec, &mut heir).await.unwrap(), heir.progress)
                }
            };
            assert_relay(
                &format!("{release:?}, {half_seconds}"),
                &scene,
                release,
                result,
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_host_was_taken_over_changes_nothing_more() {
    for epochs_ahead in [1, 5] {
        let scene = Scene::new(SimRelease::Good);
        scene.fleet.change(HOST, |host| {
            host.fence = Some(("store-1".to_owned(), 7 + epochs_ahead))
        });
        let mut journal = MemoryJournal {
            refuses_to_raise: true,
            ..MemoryJournal::default()
        };
        scene.run(scene.spec(), &mut journal).await.unwrap_err();
        assert!(!scene.host().was_changed());
        assert_eq!(
            scene.host().fence,
            Some(("store-1".to_owned(), 7 + epochs_ahead))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_outranks_a_valid_lease_is_replaced_and_told() {
    for (store, epoch, raised_to) in [("store-1", 40, 41), ("other", 2, 8), ("other", i64::MAX, 8)]
    {
        let scene = Scene::new(SimRelease::Good);
        scene
            .fleet
            .change(HOST, |host| host.fence = Some((store.to_owned(), epoch)));
        let mut journal = MemoryJournal::default();
        let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
        assert_eq!(outcome.status, AttemptStatus::Success);
        assert_eq!(scene.host().fence, Some(("store-1".to_owned(), raised_to)));
        assert!(told(&journal.events).contains(&format!("fence {store} {epoch} -> {raised_to}")));
    }
}

/// The same worker begins again, under the epoch that it had: what it sent before may still be on its way, and has to come
/// to a host that has seen a higher one.
#[tokio::test(start_paused = true)]
async fn a_worker_that_begins_again_outranks_what_it_sent_before() {
    for (progress, epochs) in [(Progress::default(), 7..=7), (touched(), 8..=8)] {
        let scene = Scene::new(SimRelease::Good);
        let ours = scene.spec().guard;
        scene.fleet.change(HOST, |host| {
            host.fence = Some((ours.store.clone(), ours.epoch));
        });
        assert_eq!(ours.epoch, 7);
        let begun = progress.touched;
        let mut spec = scene.spec();
        spec.progress = progress.clone();
        let mut journal = MemoryJournal::with_progress(progress);
        let transport = scene.fleet.transport();
        let outcome = update_engine::run_attempt(spec, &transport, &mut journal)
            .await
            .unwrap();
        assert_eq!(outcome.status, AttemptStatus::Success, "{outcome:?}");
        let host = scene.host();
        let mut guarded = host.received.iter().filter_map(|command| command.epoch);
        assert!(
            guarded.all(|epoch| epochs.contains(&epoch)),
            "begun {begun}: {:?}",
            host.received
        );
        assert_eq!(host.fence, Some((ours.store, *epochs.end())));
    }
}

/// In the middle of a pull.
fn touched() -> Progress {
    on_record(&Scene::new(SimRelease::Good), StepId::Pull, Phase::Forward)
}

/// A host in the state that a worker's record says it may be in.
fn on_record(scene: &Scene, step: StepId, phase: Phase) -> Progress {
    let previous = Previous {
        version: scene.old.clone(),
        branch: Some("main".to_owned()),
        was_active: true,
    };
    Progress {
        previous: Some(previous),
        touched: true,
        phase,
        step: Some(step),
    }
}

fn failed_before() -> Phase {
    Phase::Back {
        step: StepId::Verify,
        reason: Reason::CrashLoop,
        message: "the service did not stay up".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn any_phase_and_step_on_record_is_finished() {
    let forward = [
        StepId::Connect,
        StepId::Inspect,
        StepId::Pull,
        StepId::Install,
        StepId::Restart,
        StepId::Settle,
    ];
    for step in StepId::ALL.iter().copied() {
        for moved in [false, true] {
            let phase = if forward.contains(&step) || step == StepId::Verify {
                Phase::Forward
            } else {
                failed_before()
            };
            let scene = Scene::new(SimRelease::Good);
            if moved {
                scene.fleet.change(HOST, |host| {
                    host.head = scene.new.clone();
                    host.tree = None;
                    host.moving = true;
                    host.installed = None;
                    host.running = None;
                    host.known.insert(scene.new.clone());
                });
            }
            let back = phase != Phase::Forward;
            let mut journal = MemoryJournal::with_progress(on_record(&scene, step, phase));
            let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
            let expected = match back {
                false => (AttemptStatus::Success, Reason::Updated, None),
                true => (
                    AttemptStatus::RolledBack,
                    Reason::CrashLoop,
                    Some(StepId::Verify),
                ),
            };
            assert_eq!(
                (outcome.status, outcome.reason, outcome.step),
                expected,
                "{step}: {outcome:?}"
            );
            assert_true(step.as_str(), &scene, &outcome);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_touched_host_that_cannot_be_reached_needs_attention_after_the_window() {
    for phase in [Phase::Forward, failed_before()] {
        let scene = Scene::new(SimRelease::Good);
        scene
            .fleet
            .change(HOST, |host| host.refuses_connections = u32::MAX);
        let mut journal = MemoryJournal::with_progress(on_record(&scene, StepId::Install, phase));
        let begun = tokio::time::Instant::now();
        let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
        assert_ended(&outcome, AttemptStatus::Failed, Reason::OutcomeUnknown);
        assert!(outcome.touched && outcome.needs_attention);
        let waited = begun.elapsed().as_secs();
        assert!(
            (285..=300).contains(&waited),
            "{waited} s of the 300 allowed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_commit_is_not_thrown_away() {
    let scene = Scene::new(SimRelease::Good);
    let theirs = scene
        .fleet
        .change_origin(|origin| origin.commit(Some(&scene.old), SimRelease::Good));
    scene.fleet.change(HOST, |host| {
        host.head = theirs.clone();
        host.tree = Some(theirs.clone());
        host.known.insert(theirs.clone());
    });
    for (phase, reason) in [
        (Phase::Forward, Reason::ConcurrentChange),
        (failed_before(), Reason::RollbackFailed),
    ] {
        let mut journal = MemoryJournal::with_progress(on_record(&scene, StepId::Pull, phase));
        let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
        assert_ended(&outcome, AttemptStatus::Failed, reason);
        assert!(outcome.touched && outcome.needs_attention);
        assert_eq!(scene.host().head, theirs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_attempt_checks_the_version_on_record() {
    let scene = Scene::new(SimRelease::Good);
    let previous = Previous {
        version: scene.new.clone(),
        branch: Some("main".to_owned()),
        was_active: true,
    };
    let progress = Progress {
        previous: Some(previous),
        ..Progress::default()
    };
    let mut journal = MemoryJournal::with_progress(progress);
    let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
    assert_eq!(
        (outcome.reason, outcome.touched),
        (Reason::ConcurrentChange, false)
    );
    assert!(!scene.host().was_changed());
    assert!(!journal.events.iter().any(|event| matches!(
        event,
        HostEvent::StepStarted {
            step: StepId::Pull,
            ..
        }
    )));
}

#[tokio::test(start_paused = true)]
async fn what_the_dead_worker_left_running_is_waited_for() {
    for (step, at_least) in [
        (StepId::Install, 60 + 120),
        (StepId::Restart, 60 + 180),
        (StepId::Pull, 60 + 240),
        (StepId::Inspect, 60 + 300),
        (StepId::Settle, 60),
    ] {
        let scene = Scene::new(SimRelease::Good);
        let mut spec = scene.spec();
        spec.progress = on_record(&scene, step, Phase::Forward);
        let mut journal = MemoryJournal::with_progress(spec.progress.clone());
        let transport = scene.fleet.transport();
        update_engine::run_attempt(spec, &transport, &mut journal)
            .await
            .unwrap();
        let waits: Vec<u32> = transport
            .calls()
            .iter()
            .map(|call| call.command.guard().unwrap().wait_seconds)
            .collect();
        assert!(
            (at_least..at_least + 60).contains(&waits[0]),
            "{step}: {waits:?}"
        );
        assert!(
            waits[1..].iter().all(|wait| *wait == 60),
            "{step}: {waits:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_is_waited_for_before_the_first_look() {
    for (left, held, reason) in [
        (true, 350, Reason::Updated),
        (true, 400, Reason::HostBusy),
        (false, 200, Reason::HostBusy),
        (false, 50, Reason::Updated),
    ] {
        let scene = Scene::new(SimRelease::Good);
        let begun = tokio::time::Instant::now();
        scene.fleet.change(HOST, |host| {
            host.locked_until = Some(begun + Duration::from_secs(held));
        });
        let mut spec = scene.spec();
        spec.left_behind = left;
        spec.settle = Duration::ZERO;
        let outcome = scene
            .run(spec, &mut MemoryJournal::default())
            .await
            .unwrap();
        let what = format!("{left}, {held} s: {outcome:?}");
        assert_eq!(outcome.reason, reason, "{what}");
        assert_eq!(outcome.touched, reason == Reason::Updated, "{what}");
        assert!(!outcome.needs_attention, "{what}");
        // Nothing that was seen before it had ended is worth anything.
        let first = scene.host().received.remove(0);
        assert_eq!(
            (first.name.as_str(), first.epoch.is_some()),
            ("inspect", left)
        );
    }
}

/// Refuses one record, of the end of the first verification, and takes all others.
#[derive(Default)]
struct RefusesOnce {
    inner: MemoryJournal,
    refused: bool,
}

#[async_trait::async_trait]
impl update_engine::Journal for RefusesOnce {
    async fn record(&mut self, event: &HostEvent) -> Result<(), update_engine::Stopped> {
        let is_end = matches!(
            event,
            HostEvent::StepFinished {
                step: StepId::Verify,
                ..
            } | HostEvent::StepFailed {
                step: StepId::Verify,
                ..
            }
        );
        if is_end && !self.refused {
            self.refused = true;
            return Err(update_engine::Stopped("the lease was lost".to_owned()));
        }
        self.inner.record(event).await
    }

    async fn raise(
        &mut self,
        above: fleet_types::Epoch,
    ) -> Result<fleet_types::Epoch, update_engine::Stopped> {
        self.inner.raise(above).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_may_not_record_a_verification_stops_there() {
    for release in [SimRelease::Good, SimRelease::VerifyFails] {
        let scene = Scene::new(release);
        let mut journal = RefusesOnce::default();
        let transport = scene.fleet.transport();
        let result = update_engine::run_attempt(scene.spec(), &transport, &mut journal).await;
        assert!(result.is_err(), "{release:?}: {result:?}");
        let last = journal.inner.events.last().unwrap();
        assert!(
            matches!(
                last,
                HostEvent::StepStarted {
                    step: StepId::Verify,
                    ..
                }
            ),
            "{release:?}: {last:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_asked_on_takeover_is_not_taken_back() {
    for step in [StepId::Pull, StepId::Install] {
        let scene = Scene::new(SimRelease::Good);
        scene.fleet.change(HOST, |host| host.locked = true);
        let mut journal = MemoryJournal::with_progress(on_record(&scene, step, Phase::Forward));
        let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
        assert_ended(&outcome, AttemptStatus::Failed, Reason::HostBusy);
        assert!(outcome.touched && outcome.needs_attention, "{outcome:?}");
        let back = |event: &HostEvent| matches!(event, HostEvent::RollbackStarted { .. });
        assert!(!journal.events.iter().any(back), "{step}");
    }
}

/// It answers no look, as often as it is asked, and each time it can be reached again.
#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_on_takeover_is_not_taken_back() {
    use update_engine::testing::SimWhat;
    for (what, reason) in [
        (SimWhat::LostBefore, Reason::OutcomeUnknown),
        (SimWhat::NoAnswer, Reason::Timeout),
    ] {
        let scene = Scene::new(SimRelease::Good);
        scene.fleet.change(HOST, |host| {
            for nth in 1..=4 {
                *host = host.clone().with_fault("inspect", nth, what.clone());
            }
        });
        let progress = on_record(&scene, StepId::Restart, Phase::Forward);
        let mut journal = MemoryJournal::with_progress(progress);
        let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
        assert_ended(&outcome, AttemptStatus::Failed, reason);
        assert!(outcome.touched && outcome.needs_attention, "{outcome:?}");
        let back = |event: &HostEvent| matches!(event, HostEvent::RollbackStarted { .. });
        assert!(!journal.events.iter().any(back), "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_sent_again_outranks_the_one_that_may_still_wait() {
    let scene = Scene::new(SimRelease::Good);
    scene.fleet.change(HOST, |host| {
        *host = host
            .clone()
            .with_fault("install", 1, update_engine::testing::SimWhat::LostBefore);
    });
    let mut journal = MemoryJournal::default();
    let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
    assert_eq!(outcome.status, AttemptStatus::Success, "{outcome:?}");
    let epochs: Vec<_> = scene
        .host()
        .received
        .iter()
        .filter(|command| command.name == "install")
        .map(|command| command.epoch.unwrap())
        .collect();
    assert_eq!(epochs, [7, 8]);
    assert_eq!(scene.host().fence, Some(("store-1".to_owned(), 8)));
}

/// Every try is lost, so that the host is brought back while the last one may still wait for the lock.
#[tokio::test(start_paused = true)]
async fn the_way_back_outranks_a_step_that_may_still_wait() {
    let scene = Scene::new(SimRelease::Good);
    scene.fleet.change(HOST, |host| {
        for nth in 1..=4 {
            let lost = update_engine::testing::SimWhat::LostBefore;
            *host = host.clone().with_fault("restart", nth, lost);
        }
    });
    let mut journal = MemoryJournal::default();
    let outcome = scene.run(scene.spec(), &mut journal).await.unwrap();
    assert_ended(&outcome, AttemptStatus::RolledBack, Reason::OutcomeUnknown);
    let host = scene.host();
    let sent = host
        .received
        .iter()
        .filter_map(|command| Some((command.name.as_str(), command.epoch?)));
    let sent: Vec<_> = sent.collect();
    let last = sent.iter().rposition(|(name, _)| *name == "restart");
    let back = sent
        .iter()
        .position(|(name, _)| *name == "rollback_checkout");
    let (last, back) = (last.unwrap(), back.unwrap());
    assert!(last < back && sent[last].1 < sent[back].1, "{sent:?}");
}
