use fleet_store::*;
use fleet_types::{AttemptStatus, HostEvent, Outcome, Reason, RolloutKind, RolloutState, Verb};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

async fn state(store: &DieselStore) -> RolloutState {
    store.rollout_latest().await.unwrap().unwrap().state
}

pub(crate) async fn halts_at_the_fourth_of_ten(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 20).await;
    let mut plan = plan(&hosts);
    plan.policy.stages = "50,100".parse().unwrap();
    let (id, worker) = start(&store, plan).await;
    for bad in 1..=4 {
        assert_eq!(state(&store).await, RolloutState::Running, "{bad} of 10");
        let claimed = claim(&store, id, worker).await;
        roll_back(&store, &claimed.lease).await;
        assert_consistent(&store).await;
    }
    assert_eq!(state(&store).await, RolloutState::Halting);
    assert_eq!(idle(&store, id, worker).await, Idle::NotRunning);
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    assert_eq!(
        over.reason.as_deref(),
        Some("stage 1: 4 of 10 hosts failed, 3 may")
    );
    let attempts = store.attempt_list(id).await.unwrap();
    let skipped = attempts
        .iter()
        .filter(|attempt| attempt.status == AttemptStatus::Skipped)
        .filter(|attempt| attempt.reason == Some(Reason::NotStarted) && !attempt.touched);
    assert_eq!(skipped.count(), 16);
    assert_consistent(&store).await;
}

pub(crate) async fn stops_as_soon_as_it_is_certain(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(claim(&store, id, worker).await.lease);
    }
    for lease in &leases[..4] {
        roll_back(&store, lease).await;
    }
    assert_eq!(state(&store).await, RolloutState::Halting);
    let still = store.rollout_advance(id).await.unwrap();
    assert_eq!(still.state, RolloutState::Halting, "two are in flight");
    update(&store, &leases[4]).await;
    roll_back(&store, &leases[5]).await;
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    let counts = store.rollout_view(id).await.unwrap().unwrap().counts;
    assert_eq!(
        (counts.success, counts.rolled_back, counts.skipped),
        (1, 5, 4)
    );
    assert_consistent(&store).await;
}

pub(crate) async fn nothing_to_do_does_not_dilute(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    roll_back(&store, &claimed.lease).await;
    for unchanged in 1..=7 {
        assert_eq!(state(&store).await, RolloutState::Running, "{unchanged}");
        let claimed = claim(&store, id, worker).await;
        let event = settled(AttemptStatus::Success, Reason::Unchanged, false);
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    // 1 of the 3 that may still change is more than 30 %, whatever they do.
    assert_eq!(state(&store).await, RolloutState::Halting);
    let stage = &store.rollout_view(id).await.unwrap().unwrap().stages[0];
    assert_eq!((stage.counts.success, stage.may_fail), (7, 0));
    assert_consistent(&store).await;
}

pub(crate) async fn last_stage_is_judged_too(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    for _ in 0..2 {
        let claimed = claim(&store, id, worker).await;
        update(&store, &claimed.lease).await;
        store.rollout_advance(id).await.unwrap();
    }
    let claimed = claim(&store, id, worker).await;
    assert_eq!(claimed.attempt.stage, 3);
    roll_back(&store, &claimed.lease).await;
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    assert_consistent(&store).await;
}

pub(crate) async fn some_may_fail(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    for n in 0..10 {
        let claimed = claim(&store, id, worker).await;
        if n < 3 {
            unreachable(&store, &claimed.lease).await;
        } else {
            update(&store, &claimed.lease).await;
        }
    }
    assert_eq!(state(&store).await, RolloutState::Running, "exactly 30 %");
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::CompletedWithFailures);
    assert_eq!(store.known_bad(&commit('b')).await.unwrap(), None);
    assert_consistent(&store).await;
}

pub(crate) async fn aborting_stage_is_not_judged(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    roll_back(&store, &claimed.lease).await;
    assert_eq!(state(&store).await, RolloutState::Aborting);
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Aborted);
    assert_eq!(store.known_bad(&commit('b')).await.unwrap(), None);
    assert_consistent(&store).await;
}

pub(crate) async fn only_touched_hosts_blame_the_commit(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let unknown = Outcome {
        needs_attention: true,
        ..outcome(AttemptStatus::Failed, Reason::OutcomeUnknown, true)
    };
    for (kind, outcome, blamed) in [
        (
            RolloutKind::Update,
            outcome(AttemptStatus::Failed, Reason::Unreachable, false),
            false,
        ),
        (
            RolloutKind::Update,
            outcome(AttemptStatus::Failed, Reason::DirtyTree, false),
            false,
        ),
        // The network went away in the middle: not the commit's fault, though the host is touched.
        (RolloutKind::Update, unknown, false),
        (
            RolloutKind::Rollback,
            outcome(AttemptStatus::Failed, Reason::Unhealthy, true),
            false,
        ),
        (
            RolloutKind::Update,
            outcome(AttemptStatus::RolledBack, Reason::CrashLoop, true),
            true,
        ),
    ] {
        let mut plan = plan(&hosts);
        plan.kind = kind;
        if kind == RolloutKind::Rollback {
            plan.target = None;
            plan.hosts[0].to = Some(commit('b'));
        }
        let (id, worker) = start(&store, plan).await;
        let claimed = claim(&store, id, worker).await;
        let case = format!("{kind} {}", outcome.reason);
        let event = HostEvent::Settled { outcome };
        store.attempt_record(&claimed.lease, &event).await.unwrap();
        let over = store.rollout_advance(id).await.unwrap();
        assert_eq!(over.state, RolloutState::Halted, "{case}");
        let found = store.known_bad(&commit('b')).await.unwrap();
        assert_eq!(found, blamed.then_some(id), "{case}");
    }
    assert_consistent(&store).await;
}
