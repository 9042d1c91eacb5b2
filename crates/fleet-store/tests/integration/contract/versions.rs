//! Two versions of the program on one database: who may start, and who carries on what.

use fleet_store::*;
use fleet_types::{RolloutId, RolloutState, StageState, StepId, Verb, WorkerId};

use crate::fleet::*;
use crate::place::{Place, Version, assert_consistent};

const NEWER: Schema = Version::SCHEMA;

/// A store of the next version, which adds to the schema, and one of this version that is opened after it.
async fn both(place: &Place) -> (DieselStore, DieselStore) {
    let newer = place.store_of(&Version::expands()).await.unwrap();
    (newer, place.store().await)
}

async fn registered(store: &DieselStore) -> WorkerId {
    store.worker_register(worker(true)).await.unwrap()
}

fn is_too_new(refused: &StoreError, known: Schema) -> bool {
    matches!(refused, StoreError::TooNew { found, since, known: it, .. }
        if (*found, *since, *it) == (NEWER, NEWER, known))
}

pub(crate) async fn older_ones_work_while_the_schema_is_compatible(place: &Place) {
    let first = place.store().await;
    let known = first.schema_known();
    assert_eq!(first.schema(), (None, known));
    let at_work = registered(&first).await;
    let newer = place.store_of(&Version::expands()).await.unwrap();
    assert_eq!(newer.schema(), (Some(known), NEWER));
    // A mark below ours, so that writing it would show.
    place
        .execute("UPDATE compatibility SET since = 3")
        .await
        .unwrap();

    let older = place.store().await;
    assert_eq!(older.schema(), (Some(NEWER), NEWER));
    assert_eq!((older.schema_known(), newer.schema_known()), (known, NEWER));
    place.assert_rows("compatibility WHERE since = 3", 1).await;
    place
        .assert_rows("__diesel_schema_migrations WHERE version = '0900'", 1)
        .await;
    let hosts = add_hosts(&older, 2).await;
    let (id, lower) = start(&older, one_stage(&hosts)).await;
    update(&older, &claim(&older, id, lower).await.lease).await;
    update(&older, &claim(&older, id, lower).await.lease).await;
    let ended = older.rollout_advance(id).await.unwrap();
    assert_eq!(
        (ended.state, ended.schema),
        (RolloutState::Completed, known)
    );
    assert_consistent(&older).await;
    let schemas: Vec<Schema> = {
        registered(&newer).await;
        let alive = newer.worker_alive().await.unwrap();
        alive.iter().map(|worker| worker.schema).collect()
    };
    assert_eq!(schemas.iter().filter(|schema| **schema == known).count(), 2);
    assert_eq!(schemas.iter().filter(|schema| **schema == NEWER).count(), 1);

    // From here on it is none of theirs: those that start are refused, those at work stop.
    place
        .execute("UPDATE compatibility SET since = 900")
        .await
        .unwrap();
    let refused = DieselStore::open(place.url(), StoreOptions::default())
        .await
        .unwrap_err();
    assert!(is_too_new(&refused, known), "{refused}");
    let text = format!(
        "made by a newer version (schema 0900, compatible since 0900, this program knows {known})"
    );
    assert!(refused.to_string().contains(&text), "{refused}");
    match first.worker_renew(at_work).await.unwrap_err() {
        LeaseError::Store(refused) => assert!(is_too_new(&refused, known), "{refused}"),
        other => panic!("{other}"),
    }
    let refused = first.worker_register(worker(true)).await.unwrap_err();
    assert!(is_too_new(&refused, known), "{refused}");
    let newer_worker = registered(&newer).await;
    newer.worker_renew(newer_worker).await.unwrap();
    place.store_of(&Version::expands()).await.unwrap();
}

pub(crate) async fn contracting_waits_for_older_ones(place: &Place) {
    let older = place.store().await;
    let at_work = registered(&older).await;
    let contracting = Version::contracts();
    let refused = place.store_of(&contracting).await.unwrap_err();
    let StoreError::OlderAtWork { since, workers, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!((*since, workers.as_str()), (NEWER, "test"));
    // Nothing of it stayed.
    place
        .assert_rows("__diesel_schema_migrations WHERE version = '0900'", 0)
        .await;
    older.worker_renew(at_work).await.unwrap();
    add_hosts(&older, 1).await;

    older.worker_leave(at_work).await.unwrap();
    place.store_of(&contracting).await.unwrap();
    let refused = DieselStore::open(place.url(), StoreOptions::default())
        .await
        .unwrap_err();
    assert!(is_too_new(&refused, older.schema_known()), "{refused}");
}

/// The ways in which a program writes to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Creates,
    Resolves,
    Claims,
    TakesOver,
    Advances,
    Asks(Verb),
    Removes,
}

/// A rollout over these hosts in two stages, begun by the older program unless the newer one creates it; then the newer one
/// writes to it in this way. With what it has in flight then.
async fn written_to(
    way: Way,
    hosts: &[HostRecord],
    (newer, older): (&DieselStore, &DieselStore),
    (upper, lower): (WorkerId, WorkerId),
) -> (RolloutId, Option<HostLease>) {
    let mut new = plan(hosts);
    new.policy.stages = "50,100".parse().unwrap();
    if matches!(way, Way::Creates | Way::Resolves) {
        new.target = None;
    }
    if way == Way::Creates {
        return (newer.rollout_create(new, None).await.unwrap(), None);
    }
    let id = older.rollout_create(new, None).await.unwrap();
    assert_eq!(
        older.rollout_get(id).await.unwrap().unwrap().schema,
        older.schema_known()
    );
    let mut in_flight = None;
    match way {
        Way::Creates => unreachable!("above"),
        Way::Resolves => {
            let target = Resolution::Commit(commit('b'));
            newer.rollout_resolve(id, target).await.unwrap();
        }
        Way::Claims => in_flight = Some(claim(newer, id, upper).await.lease),
        Way::TakesOver => {
            let gone = older.worker_register(worker(false)).await.unwrap();
            claim(older, id, gone).await;
            older.worker_leave(gone).await.unwrap();
            let taken = newer.attempt_take_over(upper, &[]).await.unwrap();
            in_flight = Some(taken.unwrap().lease);
        }
        Way::Advances => {
            for _ in 0..2 {
                update(older, &claim(older, id, lower).await.lease).await;
            }
            assert_eq!(newer.rollout_advance(id).await.unwrap().stage, 2);
        }
        Way::Asks(verb) => newer.rollout_verb(id, verb, &actor()).await.unwrap(),
        Way::Removes => newer.host_remove(&hosts[3].name, &actor()).await.unwrap(),
    }
    (id, in_flight)
}

pub(crate) async fn what_a_newer_one_wrote_to_is_left_to_it(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&newer, 4).await;
    let (upper, lower) = (registered(&newer).await, registered(&older).await);
    for way in [
        Way::Creates,
        Way::Resolves,
        Way::Claims,
        Way::TakesOver,
        Way::Advances,
        Way::Asks(Verb::Pause),
        Way::Asks(Verb::Abort),
        Way::Removes,
    ] {
        let (id, in_flight) = written_to(way, &hosts, (&newer, &older), (upper, lower)).await;
        let before = older.rollout_get(id).await.unwrap().unwrap();
        assert_eq!(before.schema, NEWER, "{way:?}");
        let seq = older.last_seq().await.unwrap();

        let claimed = older.attempt_claim(id, lower, &[]).await.unwrap();
        let expected = if before.state == RolloutState::Running {
            Idle::LeftToNewer
        } else {
            Idle::NotRunning
        };
        assert!(
            matches!(claimed, Claim::Nothing(idle) if idle == expected),
            "{way:?}: {claimed:?}"
        );
        let target = Resolution::Impossible("nobody knows it".to_owned());
        assert_eq!(
            older.rollout_resolve(id, target).await.unwrap(),
            before,
            "{way:?}"
        );
        assert_eq!(older.rollout_advance(id).await.unwrap(), before, "{way:?}");
        assert!(
            older.attempt_take_over(lower, &[]).await.unwrap().is_none(),
            "{way:?}"
        );
        assert_eq!(
            older.last_seq().await.unwrap(),
            seq,
            "{way:?}: a trace of the older one"
        );
        // Its place is taken all the same, for every version.
        let refused = older.rollout_create(plan(&hosts), None).await.unwrap_err();
        assert!(
            matches!(refused, TriggerError::Active { id: it, .. } if it == id),
            "{refused}"
        );

        // What people ask for is taken by every version, and carried out by the newer one.
        if before.state != RolloutState::Aborting {
            older.rollout_verb(id, Verb::Abort, &actor()).await.unwrap();
        }
        assert_eq!(
            older.rollout_advance(id).await.unwrap().state,
            RolloutState::Aborting
        );
        if let Some(lease) = in_flight {
            update(&newer, &lease).await;
        }
        let ended = newer.rollout_advance(id).await.unwrap();
        assert_eq!(
            (ended.state, ended.schema),
            (RolloutState::Aborted, NEWER),
            "{way:?}"
        );
        assert_consistent(&newer).await;
    }
}

/// A newer version that is put in place and taken away again has done no harm before it wrote.
pub(crate) async fn looking_is_not_writing(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 1).await;
    let (id, lower) = start(&older, one_stage(&hosts)).await;
    let upper = registered(&newer).await;
    newer.rollout_attend(id, upper).await.unwrap();
    newer.rollout_advance(id).await.unwrap();
    newer
        .rollout_verb(id, Verb::Resume, &actor())
        .await
        .unwrap();
    assert!(newer.attempt_take_over(upper, &[]).await.unwrap().is_none());
    newer.rollout_view(id).await.unwrap();
    let claimed = claim(&older, id, lower).await;
    assert_eq!(idle(&newer, id, upper).await, Idle::StageTaken);
    update(&older, &claimed.lease).await;
    let ended = older.rollout_advance(id).await.unwrap();
    assert_eq!(
        (ended.state, ended.schema),
        (RolloutState::Completed, older.schema_known())
    );
}

pub(crate) async fn hosts_in_flight_of_an_older_one_end(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 3).await;
    let (id, lower) = start(&older, one_stage(&hosts)).await;
    let (one, two) = (
        claim(&older, id, lower).await,
        claim(&older, id, lower).await,
    );
    older
        .attempt_record(&one.lease, &started(StepId::Inspect))
        .await
        .unwrap();
    let upper = registered(&newer).await;
    let three = claim(&newer, id, upper).await;
    // It lives, so its hosts are its own.
    assert!(newer.attempt_take_over(upper, &[]).await.unwrap().is_none());
    older
        .attempt_record(&one.lease, &finished(StepId::Inspect))
        .await
        .unwrap();
    update(&older, &one.lease).await;
    let raised = older
        .attempt_raise(&two.lease, fleet_types::Epoch(7))
        .await
        .unwrap();
    update(&older, &raised).await;
    update(&newer, &three.lease).await;
    assert!(older.rollout_advance(id).await.unwrap().state.is_active());
    assert_eq!(
        newer.rollout_advance(id).await.unwrap().state,
        RolloutState::Completed
    );
    assert_consistent(&newer).await;
}

pub(crate) async fn the_gate_is_judged_by_newer_ones(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 3).await;
    let (id, lower) = start(&older, one_stage(&hosts)).await;
    let bad = claim(&older, id, lower).await;
    let upper = registered(&newer).await;
    let good = claim(&newer, id, upper).await;
    roll_back(&older, &bad.lease).await;
    let state = |store: RolloutRecord| store.state;
    assert_eq!(
        state(older.rollout_get(id).await.unwrap().unwrap()),
        RolloutState::Running
    );
    // Nobody starts a host all the same.
    assert_eq!(idle(&newer, id, upper).await, Idle::NotRunning);
    assert_eq!(
        state(newer.rollout_advance(id).await.unwrap()),
        RolloutState::Halting
    );
    update(&newer, &good.lease).await;
    assert_eq!(
        state(newer.rollout_advance(id).await.unwrap()),
        RolloutState::Halted
    );
    let view = newer.rollout_view(id).await.unwrap().unwrap();
    assert_eq!(view.stages[0].state, StageState::Failed);
    assert_consistent(&newer).await;
}

pub(crate) async fn an_older_one_takes_nothing_over_from_a_newer_one(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 3).await;
    let (id, lower) = start(&older, one_stage(&hosts)).await;
    let dead = newer.worker_register(worker(false)).await.unwrap();
    let left = newer.worker_register(worker(false)).await.unwrap();
    for upper in [dead, left] {
        claim(&newer, id, upper).await;
    }
    newer.worker_leave(left).await.unwrap();
    newer.worker_leave(left).await.unwrap();
    place.clock.advance(newer.lease_times().lease);
    let heir = registered(&older).await;
    assert!(older.attempt_take_over(heir, &[]).await.unwrap().is_none());
    // Neither for the rollout's sake, nor for that of whoever held them.
    place
        .execute("UPDATE rollouts SET schema = 0")
        .await
        .unwrap();
    assert!(older.attempt_take_over(heir, &[]).await.unwrap().is_none());

    // The older one's own are anybody's who may carry the rollout on.
    claim(&older, id, heir).await;
    older.worker_leave(heir).await.unwrap();
    for verb in [Verb::Pause, Verb::Resume] {
        newer.rollout_verb(id, verb, &actor()).await.unwrap();
    }
    let late = registered(&older).await;
    assert!(older.attempt_take_over(late, &[]).await.unwrap().is_none());
    let successor = registered(&newer).await;
    for _ in 0..3 {
        let taken = newer
            .attempt_take_over(successor, &[])
            .await
            .unwrap()
            .unwrap();
        update(&newer, &taken.lease).await;
    }
    assert_eq!(
        newer.rollout_advance(id).await.unwrap().state,
        RolloutState::Completed
    );
    assert!(older.worker_renew(lower).await.is_err());
    assert_consistent(&newer).await;
}

/// What a checker leaves has not to be understood by anybody.
pub(crate) async fn a_newer_checker_is_succeeded_by_all(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 2).await;
    let hold = async |store: &DieselStore, worker, host: usize| {
        store
            .health_claim(worker, hosts[host].id, None)
            .await
            .unwrap()
    };
    let (dead, left) = (registered(&newer).await, registered(&newer).await);
    hold(&newer, dead, 0).await.unwrap();
    hold(&newer, left, 1).await.unwrap();
    newer.worker_leave(left).await.unwrap();
    place.clock.advance(newer.lease_times().lease);

    let (id, lower) = start(&older, one_stage(&hosts)).await;
    claim(&older, id, lower).await;
    claim(&older, id, lower).await;
}

pub(crate) async fn only_newer_ones_attend(place: &Place) {
    let (newer, older) = both(place).await;
    let hosts = add_hosts(&older, 1).await;
    let lower = registered(&older).await;
    let id = newer.rollout_create(one_stage(&hosts), None).await.unwrap();
    older.rollout_attend(id, lower).await.unwrap();
    let attended = async || {
        let view = older.rollout_view(id).await.unwrap().unwrap().attended;
        match older.rollout_create(plan(&hosts), None).await.unwrap_err() {
            TriggerError::Active { attended, .. } => assert_eq!(attended, view),
            other => panic!("{other}"),
        }
        view
    };
    assert!(!attended().await, "whoever lives leaves it to others");
    let driver = newer.worker_register(worker(false)).await.unwrap();
    assert!(!attended().await, "it does not drive this one");
    newer.rollout_attend(id, driver).await.unwrap();
    assert!(attended().await);
    newer.worker_leave(driver).await.unwrap();
    assert!(!attended().await);
    registered(&newer).await;
    assert!(attended().await, "a server serves every rollout");
}

pub(crate) async fn what_it_does_not_know_is_not_exported(place: &Place) {
    let (newer, older) = both(place).await;
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    add_hosts(&older, 2).await;
    let is_newer = |refused: &MoveError| {
        matches!(refused, MoveError::Newer { found, known, .. }
            if (*found, *known) == (NEWER, older.schema_known()))
    };
    let refused = older.export(&new).await.unwrap_err();
    assert!(is_newer(&refused) && !new.exists(), "{refused}");
    newer.export(&new).await.unwrap();

    // A file of the newer one is not for the older one, whatever the database.
    let empty = Place::file();
    let refused = empty.store().await.import(&new).await.unwrap_err();
    assert!(is_newer(&refused), "{refused}");
    empty.assert_rows("hosts", 0).await;
    let before = empty.store().await;
    add_hosts(&before, 3).await;
    before.export(&old).await.unwrap();
    // One of the older one is for both, also on a database that the newer one made.
    let version = Version::expands();
    for of_newer in [true, false] {
        let there = Place::file();
        let first = there.store_of(&version).await.unwrap();
        let store = if of_newer { first } else { there.store().await };
        assert_eq!(store.import(&old).await.unwrap().hosts, 3);
        assert_consistent(&store).await;
    }
    if !place.is_postgres() {
        // A copy is a copy, whoever makes it.
        let copy = folder.path().join("copy.db");
        DieselStore::backup(place.url(), &copy).unwrap();
        let url = format!("sqlite://{}", copy.display());
        let copied = DieselStore::open(&url, place.options_of(&version))
            .await
            .unwrap();
        assert_eq!(copied.schema(), (Some(NEWER), NEWER));
    }
}
