//! Whose turn it is to be looked at, who may restart, and what is written about it.

use std::time::Duration;

use fleet_store::*;
use fleet_types::{AttemptStatus, EventKind, HealthState, HostId, Reason, Seq, WorkerId};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

const EVERY: Duration = Duration::from_secs(60);
/// For so long a restart keeps its machine when who sent it is dead.
const RESTART_TAKES: Duration = Duration::from_secs(350);

async fn checker(store: &DieselStore) -> WorkerId {
    store.worker_register(worker(true)).await.unwrap()
}

async fn due(store: &DieselStore, checker: WorkerId, limit: u32) -> Vec<Due> {
    store
        .health_due(checker, EVERY, limit, Turns::Due)
        .await
        .unwrap()
}

/// Takes the host's lease to restart its service, if that can be had.
async fn hold(store: &DieselStore, checker: WorkerId, host: HostId) -> Option<HealthLease> {
    store.health_claim(checker, host, None).await.unwrap()
}

fn names(due: &[Due]) -> Vec<&str> {
    due.iter().map(|due| due.host.name.as_str()).collect()
}

fn seen(due: &Due, health: HealthState) -> HealthSeen {
    HealthSeen {
        health,
        message: format!("it is {health}\u{1b}"),
        key_changed: false,
        epoch: due.epoch,
        since: due.since,
    }
}

async fn health_of(store: &DieselStore, name: &str) -> HealthState {
    let name = name.parse().unwrap();
    store.host_get(&name).await.unwrap().unwrap().health
}

async fn told(store: &DieselStore) -> Vec<String> {
    let events = store.events_after(Seq(0), None, 1000).await.unwrap();
    events
        .into_iter()
        .filter(|event| event.kind == EventKind::HostHealth)
        .map(|event| event.status.unwrap())
        .collect()
}

pub(crate) async fn turns_are_taken_once(place: &Place) {
    let store = place.store().await;
    add_hosts(&store, 3).await;
    let (one, two) = (checker(&store).await, checker(&store).await);
    assert_eq!(names(&due(&store, one, 2).await), ["h001", "h002"]);
    assert_eq!(names(&due(&store, two, 9).await), ["h003"]);
    assert!(due(&store, one, 9).await.is_empty());
    for _ in 0..4 {
        assert!(due(&store, one, 9).await.is_empty());
        place.clock.advance(Duration::from_secs(17));
        for worker in [one, two] {
            store.worker_renew(worker).await.unwrap();
        }
    }
    assert_eq!(due(&store, two, 9).await.len(), 3);
    assert_eq!(
        store
            .health_due(one, EVERY, 9, Turns::All)
            .await
            .unwrap()
            .len(),
        3
    );
    // Who asks for a host, however often, takes no turn: the sweep comes to it as it would have.
    for _ in 0..8 {
        place.clock.advance(Duration::from_secs(17));
        for worker in [one, two] {
            store.worker_renew(worker).await.unwrap();
        }
    }
    let only = store.host_get(&"h002".parse().unwrap()).await.unwrap();
    let only = Turns::Of(vec![only.unwrap().id]);
    for _ in 0..2 {
        let asked = store.health_due(one, EVERY, 9, only.clone()).await.unwrap();
        assert_eq!(names(&asked), ["h002"]);
    }
    let mut all = due(&store, two, 9).await;
    all.sort_by(|a, b| a.host.name.cmp(&b.host.name));
    assert_eq!(names(&all), ["h001", "h002", "h003"]);
    // Who lost its lease gets no turns.
    store.worker_leave(one).await.unwrap();
    assert!(store.health_due(one, EVERY, 9, Turns::All).await.is_err());
}

pub(crate) async fn findings_are_written_with_their_event(place: &Place) {
    let store = place.store().await;
    add_hosts(&store, 1).await;
    let checker = checker(&store).await;
    let turn = due(&store, checker, 1).await.remove(0);
    for health in [
        HealthState::Active,
        HealthState::Active,
        HealthState::Inactive,
    ] {
        assert!(
            store
                .health_record(turn.host.id, seen(&turn, health))
                .await
                .unwrap()
        );
        assert_eq!(health_of(&store, "h001").await, health);
    }
    assert_eq!(told(&store).await, ["active", "inactive"]);
    let view = store
        .host_view(&turn.host.name, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(view.health_message.as_deref(), Some("it is inactive\\x1b"));
    assert!(view.checked_at.is_some());
    assert_eq!(
        store.host_views(None).await.unwrap()[0].checked_at,
        view.checked_at
    );
    assert_eq!(store.status().await.unwrap().fleet.health.inactive, 1);
}

pub(crate) async fn updates_come_first(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let checker = checker(&store).await;
    let before = due(&store, checker, 9).await;
    let (id, updater) = start(&store, one_stage(&hosts[..1])).await;
    let claimed = claim(&store, id, updater).await;
    // In `updating`: not handed out, not written about, not leased.
    let others = store
        .health_due(checker, EVERY, 9, Turns::All)
        .await
        .unwrap();
    assert_eq!(names(&others), ["h002"]);
    let old = seen(&before[0], HealthState::Inactive);
    assert!(!store.health_record(hosts[0].id, old.clone()).await.unwrap());
    assert_eq!(hold(&store, checker, hosts[0].id).await, None);
    update(&store, &claimed.lease).await;
    // What was seen before the update is no news after it, and the update's own proof counts.
    assert!(!store.health_record(hosts[0].id, old).await.unwrap());
    assert_eq!(health_of(&store, "h001").await, HealthState::Active);
    let outdated = Some(before[0].epoch);
    assert_eq!(
        store
            .health_claim(checker, hosts[0].id, outdated)
            .await
            .unwrap(),
        None,
        "what was looked at is no reason to take it any more"
    );
    assert!(hold(&store, checker, hosts[0].id).await.is_some());
}

pub(crate) async fn a_restart_keeps_the_updater_waiting(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let checker = checker(&store).await;
    let turn = due(&store, checker, 1).await.remove(0);
    let lease = hold(&store, checker, turn.host.id).await.unwrap();
    assert!(lease.epoch > turn.epoch);
    assert_eq!(
        hold(&store, checker, turn.host.id).await,
        None,
        "held already"
    );
    let (id, updater) = start(&store, one_stage(&hosts)).await;
    assert_eq!(idle(&store, id, updater).await, Idle::NoneSuitable);
    assert!(
        store
            .attempt_take_over(updater, &[])
            .await
            .unwrap()
            .is_none()
    );
    let end = HealthSeen {
        epoch: lease.epoch,
        ..seen(&turn, HealthState::Active)
    };
    let sent = RestartSent::Perhaps;
    store
        .health_settle(&lease, end.clone(), sent)
        .await
        .unwrap();
    assert!(matches!(
        store.health_settle(&lease, end, sent).await,
        Err(LeaseError::Lost { .. })
    ));
    claim(&store, id, updater).await;
    assert_eq!(
        store.consistency_check().await.unwrap(),
        Vec::<String>::new()
    );
}

/// A restart that may be under way holds the machine, and is put on record, under the lease that a change would void.
pub(crate) async fn a_restart_keeps_the_entry_as_it_is(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let checker = checker(&store).await;
    let turns = due(&store, checker, 2).await;
    let turn = turns.iter().find(|turn| turn.host.id == hosts[0].id);
    let edit = async || {
        store
            .host_edit(&hosts[0].name, host("h001"), &actor())
            .await
    };
    let lease = hold(&store, checker, hosts[0].id).await.unwrap();
    let limit = RestartLimit::default();
    store.health_restart(&lease, limit).await.unwrap();
    let refused = edit().await;
    assert!(matches!(refused, Err(HostError::Restarting { .. })));
    let refused = store.host_remove(&hosts[0].name, &actor()).await;
    assert!(matches!(refused, Err(HostError::Restarting { .. })));
    store
        .host_edit(&hosts[1].name, host("h002"), &actor())
        .await
        .unwrap();
    // However long it takes, as long as who does it lives.
    for _ in 0..40 {
        place.clock.advance(Duration::from_secs(10));
        store.worker_renew(checker).await.unwrap();
    }
    assert!(matches!(edit().await, Err(HostError::Restarting { .. })));
    let end = HealthSeen {
        epoch: lease.epoch,
        ..seen(turn.unwrap(), HealthState::Active)
    };
    store
        .health_settle(&lease, end, RestartSent::Perhaps)
        .await
        .unwrap();
    edit().await.unwrap();

    // A look that restarts nothing keeps nobody waiting, and of a dead checker only for so long.
    hold(&store, checker, hosts[0].id).await.unwrap();
    edit().await.unwrap();
    let lease = hold(&store, checker, hosts[0].id).await.unwrap();
    store.health_restart(&lease, limit).await.unwrap();
    store.worker_leave(checker).await.unwrap();
    assert!(matches!(edit().await, Err(HostError::Restarting { .. })));
    place.clock.advance(RESTART_TAKES);
    edit().await.unwrap();
    assert_consistent(&store).await;
}

pub(crate) async fn a_dead_checker_is_no_obstacle(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let dead = checker(&store).await;
    let lease = hold(&store, dead, hosts[0].id).await.unwrap();
    let (id, updater) = start(&store, one_stage(&hosts)).await;
    store.worker_leave(dead).await.unwrap();
    assert!(
        store
            .attempt_take_over(updater, &[])
            .await
            .unwrap()
            .is_none()
    );
    let claimed = claim(&store, id, updater).await;
    assert!(claimed.lease.epoch > lease.epoch);
    let limit = RestartLimit::default();
    assert!(matches!(
        store.health_restart(&lease, limit).await,
        Err(LeaseError::Lost { .. })
    ));
    // And one that was dead is none for the next checker.
    unreachable(&store, &claimed.lease).await;
    let (first, second) = (checker(&store).await, checker(&store).await);
    hold(&store, first, hosts[0].id).await.unwrap();
    store.worker_leave(first).await.unwrap();
    assert!(hold(&store, second, hosts[0].id).await.is_some());
}

/// Two repositories on one machine; a checker died while it restarted the service of the first.
async fn restarted_by_one_who_died(store: &DieselStore) -> Vec<HostRecord> {
    let new = vec![
        host_at("one", "a.example.org", "/srv/one"),
        host_at("two", "a.example.org", "/srv/two"),
    ];
    let hosts = store.host_add(new, &actor()).await.unwrap();
    let dead = checker(store).await;
    let lease = hold(store, dead, hosts[0].id).await.unwrap();
    let limit = RestartLimit::default();
    store.health_restart(&lease, limit).await.unwrap();
    store.worker_leave(dead).await.unwrap();
    hosts
}

/// The lock on a host is one repository's: it keeps nobody from another one on the same machine.
pub(crate) async fn a_restart_of_a_dead_checker_keeps_its_machine(place: &Place) {
    let store = place.store().await;
    let hosts = restarted_by_one_who_died(&store).await;
    let other = checker(&store).await;
    assert!(hold(&store, other, hosts[1].id).await.is_none());
    // Who comes for the host itself waits under its lock.
    let order = [hosts[1].clone(), hosts[0].clone()];
    let (id, updater) = start(&store, one_stage(&order)).await;
    let own = claim(&store, id, updater).await;
    assert_eq!(own.attempt.name, hosts[0].name);
    assert_eq!(idle(&store, id, updater).await, Idle::NoneSuitable);
    update(&store, &own.lease).await;
    claim(&store, id, updater).await;
}

pub(crate) async fn a_restart_of_a_dead_checker_is_over_some_day(place: &Place) {
    let store = place.store().await;
    let hosts = restarted_by_one_who_died(&store).await;
    let (id, updater) = start(&store, one_stage(&hosts[1..])).await;
    assert_eq!(idle(&store, id, updater).await, Idle::NoneSuitable);
    place.clock.advance(RESTART_TAKES);
    let later = store.worker_register(worker(true)).await.unwrap();
    claim(&store, id, later).await;
}

pub(crate) async fn restarts_are_counted(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let checker = checker(&store).await;
    let limit = RestartLimit::default();
    for nth in 1..=4 {
        let turn = store
            .health_due(checker, EVERY, 1, Turns::All)
            .await
            .unwrap()
            .remove(0);
        let lease = hold(&store, checker, hosts[0].id).await.unwrap();
        let expected = if nth <= 3 {
            RestartTurn::Go(nth)
        } else {
            RestartTurn::UsedUp
        };
        assert_eq!(store.health_restart(&lease, limit).await.unwrap(), expected);
        let end = HealthSeen {
            epoch: lease.epoch,
            ..seen(&turn, HealthState::Unhealthy)
        };
        let sent = RestartSent::Perhaps;
        store.health_settle(&lease, end, sent).await.unwrap();
    }
    // The window is longer than any lease.
    place.clock.advance(limit.window);
    let checker = self::checker(&store).await;
    let lease = hold(&store, checker, hosts[0].id).await.unwrap();
    assert_eq!(
        store.health_restart(&lease, limit).await.unwrap(),
        RestartTurn::Go(1)
    );
}

/// Takes the host, counts a restart, and gives the host back.
async fn restart(
    store: &DieselStore,
    checker: WorkerId,
    host: HostId,
    sent: RestartSent,
) -> RestartTurn {
    let mut turns = store
        .health_due(checker, EVERY, 1, Turns::Of(vec![host]))
        .await
        .unwrap();
    let turn = turns.remove(0);
    let lease = hold(store, checker, turn.host.id).await.unwrap();
    let limit = RestartLimit::default();
    let nth = store.health_restart(&lease, limit).await.unwrap();
    let end = HealthSeen {
        epoch: lease.epoch,
        ..seen(&turn, HealthState::Inactive)
    };
    store.health_settle(&lease, end, sent).await.unwrap();
    nth
}

/// The audit trail from its beginning: who, from where, what, on what, with what result and detail.
async fn trail(store: &DieselStore) -> Vec<[String; 5]> {
    let query = AuditQuery {
        limit: 1000,
        ..AuditQuery::default()
    };
    let rows = store.audit_list(query).await.unwrap().into_iter().rev();
    rows.filter(|row| row.action != "host.add" && row.action != "rollout.update")
        .map(|row| {
            [
                row.actor.name,
                row.actor.source,
                row.action,
                row.result.to_string(),
                row.detail.unwrap_or_default(),
            ]
        })
        .collect()
}

pub(crate) async fn every_restart_is_on_record(place: &Place) {
    let store = place.store().await;
    let host = add_hosts(&store, 1).await[0].id;
    let first = checker(&store).await;
    restart(&store, first, host, RestartSent::No).await;
    assert_eq!(trail(&store).await, Vec::<[String; 5]>::new());
    let label = store.worker_alive().await.unwrap().remove(0).label;
    let row = |source: &str, detail: &str| {
        ["health check", source, "host.restart", "done", detail].map(ToOwned::to_owned)
    };
    let known = row(&label, "it is inactive\\x1b");
    for nth in 1..=2 {
        restart(&store, first, host, RestartSent::Perhaps).await;
        assert_eq!(trail(&store).await, vec![known.clone(); nth]);
        assert_eq!(told(&store).await, ["inactive"]);
    }
    // One that comes up each time is told of each time.
    let turn = due(&store, first, 1).await.remove(0);
    for nth in 1..=2 {
        let lease = hold(&store, first, host).await.unwrap();
        let end = HealthSeen {
            epoch: lease.epoch,
            ..seen(&turn, HealthState::Active)
        };
        let sent = RestartSent::Perhaps;
        store.health_settle(&lease, end, sent).await.unwrap();
        assert_eq!(told(&store).await[1..], vec!["active"; nth]);
    }

    // One that died in the middle of it may have done it.
    let limit = RestartLimit::default();
    let lease = hold(&store, first, host).await.unwrap();
    store.health_restart(&lease, limit).await.unwrap();
    store.worker_leave(first).await.unwrap();
    let second = checker(&store).await;
    assert!(hold(&store, second, host).await.is_some());
    let rows = trail(&store).await;
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert_eq!(rows[4][2..], row("", "perhaps: who was to do it died")[2..]);
}

pub(crate) async fn a_changed_key_is_on_record_once(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let worker = checker(&store).await;
    let find = async |message: &str, key_changed: bool| {
        let turns = Turns::Of(vec![hosts[0].id]);
        let mut due = store.health_due(worker, EVERY, 1, turns).await.unwrap();
        let seen = HealthSeen {
            message: message.to_owned(),
            key_changed,
            ..seen(&due.remove(0), HealthState::Unreachable)
        };
        assert!(store.health_record(hosts[0].id, seen).await.unwrap());
    };
    let machine = format!("{}:{}", hosts[0].spec.address, hosts[0].spec.port);
    let row = |finder: &str, detail: &str| {
        [finder, &machine, "host.key_changed", "denied", detail].map(ToOwned::to_owned)
    };
    find("no route", false).await;
    assert_eq!(trail(&store).await, Vec::<[String; 5]>::new());
    let mut rows = vec![row("health check", "key A")];
    for _sweep in 0..2 {
        find("key A", true).await;
        assert_eq!(trail(&store).await, rows);
    }
    find("key B", true).await;
    rows.push(row("health check", "key B"));
    assert_eq!(trail(&store).await, rows);

    let (id, updater) = start(&store, one_stage(&hosts)).await;
    let lease = claim(&store, id, updater).await.lease;
    let end = settled(AttemptStatus::Failed, Reason::HostKeyChanged, false);
    store.attempt_record(&lease, &end).await.unwrap();
    rows.push(row(&format!("rollout {id}"), ""));
    assert_eq!(trail(&store).await, rows);
}

pub(crate) async fn restarts_that_were_not_sent_do_not_count(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let checker = checker(&store).await;
    for (sent, nth) in [
        (RestartSent::No, 1),
        (RestartSent::No, 1),
        (RestartSent::Perhaps, 1),
        (RestartSent::No, 2),
        (RestartSent::Perhaps, 2),
        (RestartSent::Perhaps, 3),
    ] {
        assert_eq!(
            restart(&store, checker, hosts[0].id, sent).await,
            RestartTurn::Go(nth),
            "{sent:?}"
        );
    }
    let used_up = restart(&store, checker, hosts[0].id, RestartSent::No).await;
    assert_eq!(used_up, RestartTurn::UsedUp);
}

pub(crate) async fn a_checker_can_outrank_what_the_host_has_on_record(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let checker = checker(&store).await;
    let turn = due(&store, checker, 1).await.remove(0);
    let claim = async || hold(&store, checker, hosts[0].id).await.unwrap();
    let lease = claim().await;
    let limit = RestartLimit::default();
    assert_eq!(
        store.health_restart(&lease, limit).await.unwrap(),
        RestartTurn::Go(1)
    );
    let on_record = |above| {
        Some(FenceSeen {
            store: "other\u{1b}".to_owned(),
            epoch: 40,
            above: fleet_types::Epoch(above),
        })
    };
    assert!(
        store
            .health_raise(&lease, on_record(i64::MAX))
            .await
            .is_err()
    );
    let raised = store.health_raise(&lease, on_record(40)).await.unwrap();
    assert_eq!(raised.epoch.0, 41);
    assert_eq!(told(&store).await, ["unknown"]);
    // Above one of our own that may be on its way: nothing is on record, and nothing is told.
    let raised = store.health_raise(&raised, None).await.unwrap();
    assert_eq!(raised.epoch.0, 42);
    assert_eq!(told(&store).await, ["unknown"]);
    // Who holds the old one holds nothing.
    let end = HealthSeen {
        epoch: raised.epoch,
        ..seen(&turn, HealthState::Inactive)
    };
    for refused in [
        store.health_raise(&lease, on_record(40)).await.map(drop),
        store
            .health_settle(&lease, end.clone(), RestartSent::No)
            .await,
    ] {
        assert!(matches!(refused, Err(LeaseError::Lost { .. })));
    }
    // The restart that was counted before is the same one.
    store
        .health_settle(&raised, end, RestartSent::No)
        .await
        .unwrap();
    let again = claim().await;
    assert_eq!(again.epoch.0, 43);
    assert_eq!(
        store.health_restart(&again, limit).await.unwrap(),
        RestartTurn::Go(1)
    );
}

pub(crate) async fn an_update_is_told_of_a_restart_just_before(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 4).await;
    let checker = checker(&store).await;
    let sent = [
        RestartSent::Perhaps,
        RestartSent::No,
        RestartSent::Perhaps,
        RestartSent::Perhaps,
    ];
    for (host, sent) in hosts.iter().zip(sent) {
        restart(&store, checker, host.id, sent).await;
    }
    let (id, _) = start(&store, one_stage(&hosts)).await;
    for (name, minutes, expected) in [
        ("h001", 0, true),
        ("h002", 0, false),
        ("h003", 19, true),
        ("h004", 2, false),
    ] {
        place.clock.advance(Duration::from_secs(60 * minutes));
        let updater = self::checker(&store).await;
        let claimed = claim(&store, id, updater).await;
        assert_eq!(claimed.attempt.name.as_str(), name);
        assert_eq!(claimed.left_behind, expected, "{name}");
    }
}

pub(crate) async fn who_needs_a_person_is_only_looked_at(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let (id, updater) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, updater).await;
    let mut end = outcome(AttemptStatus::Failed, Reason::RollbackFailed, true);
    end.needs_attention = true;
    for event in [
        previous('a'),
        started(fleet_types::StepId::Pull),
        fleet_types::HostEvent::Settled { outcome: end },
    ] {
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    let checker = checker(&store).await;
    let turn = due(&store, checker, 1).await.remove(0);
    assert!(
        store
            .health_record(hosts[0].id, seen(&turn, HealthState::Inactive))
            .await
            .unwrap()
    );
    assert_eq!(hold(&store, checker, hosts[0].id).await, None);
    store
        .host_clear_attention(&hosts[0].name, &actor())
        .await
        .unwrap();
    assert!(hold(&store, checker, hosts[0].id).await.is_some());
}
