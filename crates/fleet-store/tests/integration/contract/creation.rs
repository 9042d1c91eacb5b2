use std::sync::Arc;

use fleet_store::*;
use fleet_types::{HostId, RolloutId, RolloutKind, RolloutState, StageState, Verb};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn refuses_what_makes_no_sense(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let empty = store.rollout_create(plan(&[]), None).await.unwrap_err();
    assert!(matches!(empty, TriggerError::NoHosts), "{empty}");

    let mut twice = plan(&hosts);
    twice.hosts.push(twice.hosts[0].clone());
    let twice = store.rollout_create(twice, None).await.unwrap_err();
    assert!(matches!(twice, TriggerError::Invalid(_)), "{twice}");

    let mut stranger = plan(&hosts);
    stranger.hosts[1].host = HostId(uuid::Uuid::now_v7());
    let gone = store.rollout_create(stranger, None).await.unwrap_err();
    assert!(matches!(gone, TriggerError::HostGone), "{gone}");

    store.host_remove(&hosts[0].name, &actor()).await.unwrap();
    let gone = store.rollout_create(plan(&hosts), None).await.unwrap_err();
    assert!(matches!(gone, TriggerError::HostGone), "{gone}");

    let mut none_at_once = plan(&hosts[1..]);
    none_at_once.policy.max_in_flight = 0;
    let refused = store.rollout_create(none_at_once, None).await.unwrap_err();
    assert!(matches!(refused, TriggerError::Invalid(_)), "{refused}");

    assert_eq!(store.rollout_latest().await.unwrap(), None);
    assert_consistent(&store).await;
}

pub(crate) async fn second_is_refused_and_told_of_the_first(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (first, worker) = start(&store, plan(&hosts)).await;
    for state in [
        RolloutState::Running,
        RolloutState::Paused,
        RolloutState::Aborting,
    ] {
        let verb = match state {
            RolloutState::Paused => Some(Verb::Pause),
            RolloutState::Aborting => Some(Verb::Abort),
            _ => None,
        };
        if let Some(verb) = verb {
            store.rollout_verb(first, verb, &actor()).await.unwrap();
        }
        let refused = store.rollout_create(plan(&hosts), None).await.unwrap_err();
        let TriggerError::Active {
            id,
            started_by,
            attended,
            paused,
            ..
        } = refused
        else {
            panic!("{refused}");
        };
        assert_eq!((id, started_by.as_str(), attended), (first, "anna", true));
        assert_eq!(paused, state == RolloutState::Paused);
    }
    assert_eq!(idle(&store, first, worker).await, Idle::NotRunning);
    let over = store.rollout_advance(first).await.unwrap();
    assert_eq!(over.state, RolloutState::Aborted);
    start(&store, plan(&hosts)).await;
    assert_consistent(&store).await;
}

pub(crate) async fn newborn_is_attended(place: &Place) {
    let store = place.store().await;
    let attended = async |id: RolloutId| store.rollout_view(id).await.unwrap().unwrap().attended;
    let hosts = add_hosts(&store, 3).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    assert!(attended(id).await, "from the trigger's own transaction on");
    place.clock.advance(store.lease_times().lease);
    assert!(!attended(id).await, "its lease ran out");
    assert!(store.worker_renew(worker).await.is_err());

    let other = store.worker_register(worker_with_pid(7)).await.unwrap();
    assert!(!attended(id).await, "alive, but it does not drive this one");
    store.rollout_attend(id, other).await.unwrap();
    store.rollout_attend(id, other).await.unwrap();
    assert!(attended(id).await);
    place.processes.end(7);
    assert!(!attended(id).await, "its process is gone");

    let server = store.worker_register(worker_of_server()).await.unwrap();
    assert!(attended(id).await, "a server serves every rollout");
    store.worker_leave(server).await.unwrap();
    assert!(!attended(id).await);
}

pub(crate) async fn what_is_left_to_others_is_shown(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 30).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let shown = async || {
        let view = store.rollout_view(id).await.unwrap().unwrap();
        let status = store.status().await.unwrap().rollout.unwrap();
        assert_eq!(view.left_to_others, status.left_to_others);
        view.left_to_others
    };
    let left = |count: usize| {
        let hosts = hosts.iter().take(count).rev();
        LeftToOthers::of(hosts.map(|host| host.name.clone()))
    };
    let say = async |worker, left| store.rollout_leaves(id, worker, left).await.unwrap();
    assert_eq!(shown().await, []);
    let other = store.worker_register(worker_with_pid(7)).await.unwrap();
    say(other, left(1)).await;
    assert_eq!(shown().await, [], "it does not drive this one");

    say(worker, left(30)).await;
    let [one] = shown().await.try_into().unwrap();
    let label = &store.worker_alive().await.unwrap()[0].label;
    assert_eq!((&one.process, one.hosts), (label, 30));
    assert_eq!(one.first.len(), 10);
    assert_eq!(
        (one.first[0].as_str(), one.first[9].as_str()),
        ("h001", "h010")
    );

    store.rollout_attend(id, other).await.unwrap();
    say(other, left(2)).await;
    let hosts: Vec<u32> = shown().await.iter().map(|left| left.hosts).collect();
    assert_eq!(hosts, [30, 2]);
    place.processes.end(7);
    assert_eq!(
        shown().await.len(),
        1,
        "who is gone leaves nothing to others"
    );
    say(worker, left(0)).await;
    assert_eq!(shown().await, []);
    say(worker, left(2)).await;
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    assert_eq!(shown().await.len(), 1);
    store.rollout_advance(id).await.unwrap();
    assert_eq!(shown().await, [], "it is over");
    assert_consistent(&store).await;
}

fn worker_of_server() -> NewWorker {
    worker(true)
}

pub(crate) async fn known_bad_commit_needs_consent(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let (bad, worker) = start(&store, plan(&hosts)).await;
    let claimed = claim(&store, bad, worker).await;
    roll_back(&store, &claimed.lease).await;
    store.rollout_advance(bad).await.unwrap();
    assert_eq!(store.known_bad(&commit('b')).await.unwrap(), Some(bad));
    assert_eq!(store.known_bad(&commit('c')).await.unwrap(), None);

    let refused = store.rollout_create(plan(&hosts), None).await.unwrap_err();
    let TriggerError::KnownBad { version, rollout } = refused else {
        panic!("{refused}");
    };
    assert_eq!((version, rollout), (commit('b').to_string(), bad));

    let mut retry = plan(&hosts);
    retry.kind = RolloutKind::Retry;
    let (id, _) = start(&store, retry).await;
    store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
    store.rollout_advance(id).await.unwrap();
    let mut forced = plan(&hosts);
    forced.force = true;
    start(&store, forced).await;
    assert_consistent(&store).await;
}

pub(crate) async fn empty_stages_vanish(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 11).await;
    for (number, sizes) in [
        (1, vec![(10, 1)]),
        (2, vec![(10, 1), (100, 1)]),
        (3, vec![(10, 1), (50, 1), (100, 1)]),
        (10, vec![(10, 1), (50, 4), (100, 5)]),
        (11, vec![(10, 2), (50, 4), (100, 5)]),
    ] {
        let (id, _) = start(&store, plan(&hosts[..number])).await;
        let view = store.rollout_view(id).await.unwrap().unwrap();
        let found: Vec<(u32, u32)> = view.stages.iter().map(|s| (s.percent, s.hosts)).collect();
        assert_eq!(found, sizes, "{number} hosts");
        assert_eq!(view.stages[0].state, StageState::Running);
        assert_eq!(view.counts.pending as usize, number);
        store.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
        store.rollout_advance(id).await.unwrap();
        assert_consistent(&store).await;
    }
}

pub(crate) async fn one_of_fifty_wins(place: &Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    let hosts = add_hosts(&stores[0], 5).await;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            let plan = plan(&hosts);
            tokio::spawn(async move { store.rollout_create(plan, Some(worker(false))).await })
        })
        .collect();
    let mut won = Vec::new();
    let mut told = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => won.push(id),
            Err(TriggerError::Active { id, attended, .. }) => {
                assert!(attended, "the winner's worker is on record with it");
                told.push(id);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((won.len(), told.len()), (1, 49));
    assert!(told.iter().all(|id| *id == won[0]));
    assert_eq!(stores[1].rollout_list(None, 100).await.unwrap().len(), 1);
    assert_consistent(&stores[0]).await;
}
