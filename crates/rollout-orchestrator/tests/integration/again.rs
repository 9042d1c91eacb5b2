//! Retry, rollback, and commits known to be bad.

use fleet_store::TriggerError;
use fleet_types::*;
use rollout_orchestrator::*;
use update_engine::testing::{SimHost, SimRelease};

use crate::world::*;

fn about(source: RolloutId) -> AgainRequest {
    AgainRequest {
        source,
        policy: None,
        message: None,
        actor: actor(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_the_same_commit_with_those_that_are_left() {
    let world = World::new(20).await;
    world.breaks(&[1, 2], SimRelease::CrashLoops);
    let orchestrator = world.orchestrator();
    let first = run(&orchestrator, policy()).await;
    assert_eq!(first.state, RolloutState::Halted);
    // The cause is mended, and the branch has moved on since.
    world.breaks(&[1, 2], SimRelease::Good);
    world
        .fleet
        .change_origin(|origin| origin.push("main", SimRelease::Good));
    let id = orchestrator.retry(&about(first.id), None).await.unwrap();
    let record = orchestrator.drive(id, who("retry")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(
        (record.kind, record.source),
        (RolloutKind::Retry, Some(first.id))
    );
    assert_eq!(record.target, Some(world.new.clone()));
    assert_eq!(world.tally(id).await, [(AttemptStatus::Success, 20)].into());
    world.check_truth(id).await;
    let nothing = orchestrator.retry(&about(id), None).await.unwrap_err();
    assert!(
        matches!(nothing, AgainError::Plan(PlanError::NothingLeft { .. })),
        "{nothing}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollback_takes_each_host_to_its_own_version() {
    let world = World::new(6).await;
    // One of them is further behind.
    let host = world
        .fleet
        .change_origin(|origin| SimHost::on(&world.oldest, origin));
    world.fleet.add("web-02", host);
    world.breaks(&[6], SimRelease::InstallFails);
    let orchestrator = world.orchestrator();
    let first = run(&orchestrator, in_one_go()).await;
    assert_eq!(world.tally(first.id).await[&AttemptStatus::Success], 5);
    world.forget();
    let id = orchestrator.rollback(&about(first.id), None).await.unwrap();
    let record = orchestrator.drive(id, who("rollback")).await.unwrap();
    assert_eq!(
        (record.state, record.kind),
        (RolloutState::Completed, RolloutKind::Rollback)
    );
    assert_eq!(
        (record.target, record.target_ref),
        (None, first.id.to_string())
    );
    assert_eq!(world.tally(id).await, [(AttemptStatus::Success, 5)].into());
    world.check_truth(id).await;
    for name in world.names() {
        let before = if name == "web-02" {
            &world.oldest
        } else {
            &world.old
        };
        assert!(
            world.fleet.host(&name).unwrap().is_wholly_on(before),
            "{name}"
        );
    }
    // Those that went elsewhere since are not touched.
    world
        .fleet
        .change_origin(|origin| origin.push("main", SimRelease::Good));
    let elsewhere = PlanRequest {
        selection: Selection::On(vec!["web-01".parse().unwrap()]),
        ..all(in_one_go())
    };
    let plan = orchestrator.plan(&elsewhere).await.unwrap();
    let second = orchestrator.trigger(&plan, None).await.unwrap();
    orchestrator.drive(second, who("elsewhere")).await.unwrap();
    world.forget();
    let id = orchestrator.rollback(&about(first.id), None).await.unwrap();
    let record = orchestrator.drive(id, who("again")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    let outcomes = world.outcomes(id).await;
    assert_eq!(outcomes[0], "web-01 skipped/moved_on");
    assert!(
        outcomes[1..]
            .iter()
            .all(|o| o.ends_with("success/unchanged")),
        "{outcomes:?}"
    );
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_gated_too() {
    let world = World::new(10).await;
    let orchestrator = world.orchestrator();
    let first = run(&orchestrator, policy()).await;
    assert_eq!(first.state, RolloutState::Completed);
    for name in world.names() {
        let old = world.old.clone();
        world.fleet.change(&name, |host| {
            host.releases.insert(old, SimRelease::StartFails);
        });
    }
    world.forget();
    let id = orchestrator.rollback(&about(first.id), None).await.unwrap();
    let record = orchestrator.drive(id, who("rollback")).await.unwrap();
    assert_eq!(record.state, RolloutState::Halted);
    assert_eq!(
        world.tally(id).await[&AttemptStatus::Skipped],
        9,
        "only the first stage was tried"
    );
    world.check_truth(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_halted_a_rollout_needs_force() {
    let world = World::new(4).await;
    world.breaks(&[1, 2, 3, 4], SimRelease::CrashLoops);
    let orchestrator = world.orchestrator();
    let first = run(&orchestrator, policy()).await;
    assert_eq!(first.state, RolloutState::Halted);

    let by_hash = PlanRequest {
        to: Some(TargetRef::Commit(world.new.clone())),
        ..all(policy())
    };
    let plan = orchestrator.plan(&by_hash).await.unwrap();
    let refused = orchestrator.trigger(&plan, None).await.unwrap_err();
    assert!(
        matches!(&refused, TriggerRefusal::Refused(TriggerError::KnownBad { rollout, .. }) if *rollout == first.id),
        "{refused}"
    );
    // A branch is only known to lead there once it is resolved.
    let record = run(&orchestrator, policy()).await;
    assert_eq!(
        (record.state, record.reason.as_deref()),
        (RolloutState::Halted, Some("known_bad"))
    );
    let tally = world.tally(record.id).await;
    assert_eq!(tally, [(AttemptStatus::Skipped, 4)].into());

    let forced = PlanRequest {
        force: true,
        ..by_hash
    };
    let plan = orchestrator.plan(&forced).await.unwrap();
    let id = orchestrator.trigger(&plan, None).await.unwrap();
    let record = orchestrator.drive(id, who("forced")).await.unwrap();
    assert_eq!(
        (record.state, record.target),
        (RolloutState::Halted, Some(world.new.clone()))
    );
    assert_eq!(world.tally(id).await[&AttemptStatus::RolledBack], 1);
}
