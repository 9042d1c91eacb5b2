use fleet_store::*;
use fleet_types::{AttemptStatus, Event, Reason, RolloutKind, RolloutState, Seq, StepId};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn goes_through(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let mut order = Vec::new();
    loop {
        match store.attempt_claim(id, worker, &[]).await.unwrap() {
            Claim::Claimed(claimed) => {
                order.push(claimed.attempt.name.to_string());
                update(&store, &claimed.lease).await;
            }
            Claim::Nothing(Idle::StageTaken) => {
                if !store.rollout_advance(id).await.unwrap().state.is_active() {
                    break;
                }
            }
            Claim::Nothing(idle) => panic!("{idle:?}"),
        }
        assert_consistent(&store).await;
    }
    let expected: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    assert_eq!(order, expected, "in plan order");
    let view = store.rollout_view(id).await.unwrap().unwrap();
    assert_eq!(view.state, RolloutState::Completed);
    assert_eq!(view.counts.success, 10);
    assert_eq!(view.counts.total(), 10);
    let sizes: Vec<(u32, u32)> = view.stages.iter().map(|s| (s.percent, s.hosts)).collect();
    assert_eq!(sizes, [(10, 1), (50, 4), (100, 5)]);
    assert!(view.finished_at.is_some() && view.in_flight.is_empty() && !view.attended);
    let again = store.rollout_advance(id).await.unwrap();
    assert_eq!(again.state, RolloutState::Completed);
    assert_eq!(idle(&store, id, worker).await, Idle::NotRunning);
    assert_consistent(&store).await;
}

pub(crate) async fn one_attempt_is_the_one_of_the_list(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    update(&store, &claimed.lease).await;
    let attempts = store.attempt_list(id).await.unwrap();
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        let one = store.attempt_get(id, attempt.host).await.unwrap();
        assert_eq!(one, Some(attempt));
    }
    let nobody = fleet_types::HostId(uuid::Uuid::now_v7());
    assert_eq!(store.attempt_get(id, nobody).await.unwrap(), None);
}

/// Whoever lost the answer to a write says it again; what is on record already is no news.
pub(crate) async fn a_step_ends_once(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    for step in [StepId::Connect, StepId::Inspect] {
        let began = started(step);
        store.attempt_record(&claimed.lease, &began).await.unwrap();
        let ended = finished(step);
        store.attempt_record(&claimed.lease, &ended).await.unwrap();
        store.attempt_record(&claimed.lease, &ended).await.unwrap();
    }
    let told = store.events_after(Seq(0), Some(id), 100).await.unwrap();
    let ended = |event: &&Event| event.status.as_deref() == Some("ok");
    assert_eq!(told.iter().filter(ended).count(), 2);
    assert_consistent(&store).await;
}

pub(crate) async fn rolls_back_to_own_versions(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let (first, worker) = start(&store, one_stage(&hosts)).await;
    while let Claim::Claimed(claimed) = store.attempt_claim(first, worker, &[]).await.unwrap() {
        update(&store, &claimed.lease).await;
    }
    store.rollout_advance(first).await.unwrap();

    let mut back = one_stage(&hosts);
    back.kind = RolloutKind::Rollback;
    back.target = None;
    back.target_ref = first.to_string();
    back.source = Some(first);
    let missing = store.rollout_create(back.clone(), None).await.unwrap_err();
    assert!(matches!(missing, TriggerError::Invalid(_)), "{missing}");
    let attempts = store.attempt_list(first).await.unwrap();
    for (planned, attempt) in back.hosts.iter_mut().zip(&attempts) {
        planned.from = attempt.target.clone();
        planned.to = attempt.progress.previous.clone().map(|it| it.version);
    }
    let (second, worker) = start(&store, back).await;
    let claimed = claim(&store, second, worker).await;
    assert_eq!(claimed.kind, RolloutKind::Rollback);
    assert_eq!(claimed.attempt.from, Some(commit('b')));
    assert_eq!(claimed.attempt.target, Some(commit('a')));
    let moved_on = settled(AttemptStatus::Skipped, Reason::MovedOn, false);
    store
        .attempt_record(&claimed.lease, &moved_on)
        .await
        .unwrap();
    let claimed = claim(&store, second, worker).await;
    update(&store, &claimed.lease).await;
    let done = store.rollout_advance(second).await.unwrap();
    assert_eq!(done.state, RolloutState::Completed);
    assert_eq!(done.target, None);
    let view = store.rollout_view(second).await.unwrap().unwrap();
    assert_eq!((view.counts.skipped, view.counts.success), (1, 1));
    assert_consistent(&store).await;
}

pub(crate) async fn retries(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (first, worker) = start(&store, plan(&hosts)).await;
    let claimed = claim(&store, first, worker).await;
    roll_back(&store, &claimed.lease).await;
    let halted = store.rollout_advance(first).await.unwrap();
    assert_eq!(halted.state, RolloutState::Halted);

    let mut again = plan(&hosts);
    again.kind = RolloutKind::Retry;
    again.source = Some(first);
    let (second, _) = start(&store, again).await;
    let record = store.rollout_get(second).await.unwrap().unwrap();
    assert_eq!(
        (record.kind, record.source),
        (RolloutKind::Retry, Some(first))
    );
    let latest = store.rollout_latest().await.unwrap().unwrap();
    assert_eq!(latest.id, second);
    let listed = |rollouts: Vec<RolloutRecord>| -> Vec<_> {
        rollouts.into_iter().map(|rollout| rollout.id).collect()
    };
    let all = store.rollout_list(None, 10).await.unwrap();
    assert_eq!(listed(all), [second, first]);
    let older = store.rollout_list(Some(second), 10).await.unwrap();
    assert_eq!(listed(older), [first]);
    assert_eq!(store.rollout_list(None, 1).await.unwrap().len(), 1);
    assert_consistent(&store).await;
}
