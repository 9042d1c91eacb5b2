use fleet_store::*;
use fleet_types::{
    AttemptStatus, EventKind, Reason, RolloutId, RolloutKind, RolloutState, Seq, StageState, Verb,
};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

/// A rollout of four hosts in this state, with one host in flight where the state is an active one.
async fn brought_to(store: &DieselStore, hosts: &[HostRecord], state: RolloutState) -> RolloutId {
    let mut plan = one_stage(hosts);
    plan.force = true;
    let (id, worker) = start(store, plan).await;
    let leases = [
        claim(store, id, worker).await.lease,
        claim(store, id, worker).await.lease,
        claim(store, id, worker).await.lease,
    ];
    let verb = async |verb| store.rollout_verb(id, verb, &actor()).await.unwrap();
    match state {
        RolloutState::Running => {}
        RolloutState::Paused => verb(Verb::Pause).await,
        RolloutState::Halting | RolloutState::Halted => {
            roll_back(store, &leases[0]).await;
            roll_back(store, &leases[1]).await;
        }
        RolloutState::Aborting | RolloutState::Aborted => verb(Verb::Abort).await,
        RolloutState::Completed => {
            for lease in &leases[..2] {
                update(store, lease).await;
            }
            update(store, &claim(store, id, worker).await.lease).await;
        }
        _ => {
            unreachable(store, &leases[0]).await;
            update(store, &leases[1]).await;
            update(store, &claim(store, id, worker).await.lease).await;
        }
    }
    if !state.is_active() {
        let rest: &[HostLease] = match state {
            RolloutState::Aborted => &leases,
            _ => &leases[2..],
        };
        for lease in rest {
            update(store, lease).await;
        }
        store.rollout_advance(id).await.unwrap();
    }
    let found = store.rollout_get(id).await.unwrap().unwrap();
    assert_eq!(found.state, state);
    id
}

pub(crate) async fn every_verb_in_every_state(place: &Place) {
    use RolloutState as S;
    let store = place.store().await;
    let hosts = add_hosts(&store, 4).await;
    // What pause, resume and abort come to: another state, no change, or a refusal.
    let refused = None;
    for (state, pause, resume, abort) in [
        (
            S::Running,
            Some(S::Paused),
            Some(S::Running),
            Some(S::Aborting),
        ),
        (
            S::Paused,
            Some(S::Paused),
            Some(S::Running),
            Some(S::Aborting),
        ),
        (S::Halting, refused, refused, Some(S::Halting)),
        (S::Aborting, refused, refused, Some(S::Aborting)),
        (S::Halted, refused, refused, refused),
        (S::Aborted, refused, refused, Some(S::Aborted)),
        (S::Completed, refused, refused, refused),
        (S::CompletedWithFailures, refused, refused, refused),
    ] {
        for (verb, expected) in [
            (Verb::Pause, pause),
            (Verb::Resume, resume),
            (Verb::Abort, abort),
        ] {
            let id = brought_to(&store, &hosts, state).await;
            check_verb(&store, id, verb, state, expected).await;
            end(&store, id).await;
            assert_consistent(&store).await;
        }
    }
    let nobody = RolloutId(uuid::Uuid::now_v7());
    let unknown = store.rollout_verb(nobody, Verb::Pause, &actor()).await;
    assert!(matches!(unknown, Err(VerbError::Unknown { id }) if id == nobody));
}

async fn check_verb(
    store: &DieselStore,
    id: RolloutId,
    verb: Verb,
    state: RolloutState,
    expected: Option<RolloutState>,
) {
    let case = format!("{verb} in {state}");
    let seq = store.status().await.unwrap().seq;
    for round in 0..2 {
        let result = store.rollout_verb(id, verb, &actor()).await;
        match expected {
            Some(_) => result.unwrap_or_else(|error| panic!("{case}: {error}")),
            None => assert!(matches!(
                result,
                Err(VerbError::WrongState { state: found, .. }) if found == state
            )),
        }
        let now = store.rollout_get(id).await.unwrap().unwrap().state;
        assert_eq!(now, expected.unwrap_or(state), "{case}, round {round}");
    }
    let events = store.events_after(seq, Some(id), 10).await.unwrap();
    let moved = expected.is_some_and(|expected| expected != state);
    assert_eq!(events.len(), usize::from(moved), "{case}: asked twice");
    assert!(
        events
            .iter()
            .all(|event| event.actor.as_deref() == Some("anna"))
    );
}

/// Leaves the place for the next rollout.
async fn end(store: &DieselStore, id: RolloutId) {
    let _ = store.rollout_verb(id, Verb::Abort, &actor()).await;
    let attempts = store.attempt_list(id).await.unwrap();
    let updating: Vec<&AttemptRecord> = attempts
        .iter()
        .filter(|attempt| attempt.status == AttemptStatus::Updating)
        .collect();
    for worker in store.worker_alive().await.unwrap() {
        store.worker_leave(worker.id).await.unwrap();
    }
    let heir = store.worker_register(worker(false)).await.unwrap();
    for _ in updating {
        let taken = store.attempt_take_over(heir, &[]).await.unwrap().unwrap();
        update(store, &taken.lease).await;
    }
    let over = store.rollout_advance(id).await.unwrap();
    assert!(!over.state.is_active());
}

pub(crate) async fn pause_lets_hosts_finish_and_opens_no_stage(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    store.rollout_verb(id, Verb::Pause, &actor()).await.unwrap();
    let paused = store.rollout_get(id).await.unwrap().unwrap();
    assert_eq!(paused.reason.as_deref(), Some("anna asked to pause"));
    assert_eq!(idle(&store, id, worker).await, Idle::NotRunning);
    update(&store, &claimed.lease).await;
    let still = store.rollout_advance(id).await.unwrap();
    assert_eq!((still.state, still.stage), (RolloutState::Paused, 1));
    let stage = &store.rollout_view(id).await.unwrap().unwrap().stages[0];
    assert_eq!(stage.state, StageState::Passed);
    store
        .rollout_verb(id, Verb::Resume, &actor())
        .await
        .unwrap();
    let on = store.rollout_advance(id).await.unwrap();
    assert_eq!((on.state, on.stage), (RolloutState::Running, 2));
    assert_eq!(on.reason, None);
    let next = claim(&store, id, worker).await;
    store.rollout_verb(id, Verb::Pause, &actor()).await.unwrap();
    roll_back(&store, &next.lease).await;
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(
        over.state,
        RolloutState::Halted,
        "the gate counts in a pause too"
    );
    assert_consistent(&store).await;
}

pub(crate) async fn abort_skips_the_rest(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    update(&store, &claim(&store, id, worker).await.lease).await;
    store.rollout_advance(id).await.unwrap();
    let claimed = claim(&store, id, worker).await;
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    let seq = store.status().await.unwrap().seq;
    let still = store.rollout_advance(id).await.unwrap();
    assert_eq!(still.state, RolloutState::Aborting);
    assert_eq!(store.status().await.unwrap().seq, seq, "nothing to do yet");
    update(&store, &claimed.lease).await;
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Aborted);
    let view = store.rollout_view(id).await.unwrap().unwrap();
    assert_eq!((view.counts.success, view.counts.skipped), (2, 8));
    let states: Vec<StageState> = view.stages.iter().map(|stage| stage.state).collect();
    assert_eq!(
        states,
        [StageState::Passed, StageState::Failed, StageState::Pending]
    );
    let last = store.events_after(seq, Some(id), 100).await.unwrap();
    let last = last.last().unwrap();
    assert_eq!(last.kind, EventKind::RolloutAborted);
    let message = last.message.as_deref().unwrap();
    assert!(message.contains("2 updated") && message.contains("8 skipped"));
    assert_consistent(&store).await;
}

async fn unresolved(store: &DieselStore, hosts: &[HostRecord]) -> RolloutId {
    let mut plan = plan(hosts);
    plan.target = None;
    start(store, plan).await.0
}

pub(crate) async fn first_resolution_stands(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let id = unresolved(&store, &hosts).await;
    let resolve = async |digit| {
        let target = Resolution::Commit(commit(digit));
        store.rollout_resolve(id, target).await.unwrap().target
    };
    assert_eq!(resolve('d').await, Some(commit('d')));
    assert_eq!(resolve('e').await, Some(commit('d')));
    let late = Resolution::Impossible("late".to_owned());
    let stands = store.rollout_resolve(id, late).await.unwrap();
    assert_eq!(stands.state, RolloutState::Running);
    let attempts = store.attempt_list(id).await.unwrap();
    assert!(attempts.iter().all(|it| it.target == Some(commit('d'))));
    let events = store.events_after(Seq(0), Some(id), 100).await.unwrap();
    let told = events
        .iter()
        .filter(|event| event.kind == EventKind::RolloutResolved);
    assert_eq!(told.count(), 1);
    assert_consistent(&store).await;
}

pub(crate) async fn unresolvable_ends_it(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let id = unresolved(&store, &hosts).await;
    let target = Resolution::Impossible("no host could be asked".to_owned());
    let over = store.rollout_resolve(id, target).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    assert_eq!(over.reason.as_deref(), Some("cannot_resolve_target"));
    let attempts = store.attempt_list(id).await.unwrap();
    for attempt in attempts {
        assert_eq!(attempt.status, AttemptStatus::Skipped);
        assert_eq!(attempt.reason, Some(Reason::NotStarted));
        assert!(!attempt.touched);
    }
    let events = store.events_after(Seq(0), Some(id), 100).await.unwrap();
    assert!(events.iter().any(|event| {
        event.message.as_deref() == Some("no host could be asked")
            && event.reason.as_deref() == Some("cannot_resolve_target")
    }));
    assert_consistent(&store).await;
}

pub(crate) async fn known_bad_branch_ends_it(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (bad, worker) = start(&store, plan(&hosts)).await;
    roll_back(&store, &claim(&store, bad, worker).await.lease).await;
    store.rollout_advance(bad).await.unwrap();

    let id = unresolved(&store, &hosts).await;
    let target = Resolution::Commit(commit('b'));
    let over = store.rollout_resolve(id, target.clone()).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    assert_eq!(over.reason.as_deref(), Some("known_bad"));

    for change in [
        (|plan: &mut NewRollout| plan.force = true) as fn(&mut NewRollout),
        |plan| plan.kind = RolloutKind::Retry,
    ] {
        let mut consented = plan(&hosts);
        consented.target = None;
        change(&mut consented);
        let (id, _) = start(&store, consented).await;
        let on = store.rollout_resolve(id, target.clone()).await.unwrap();
        assert_eq!(on.state, RolloutState::Running);
        store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
        store.rollout_advance(id).await.unwrap();
    }
    assert_consistent(&store).await;
}
