use fleet_store::*;
use fleet_types::{
    AttemptStatus, EventKind, HealthState, HostName, Outcome, Reason, RolloutState, Seq,
};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn duplicates_are_refused_and_nothing_is_added(place: &Place) {
    let store = place.store().await;
    add_hosts(&store, 2).await;
    let same_place = |name| host_at(name, "H001.Example.org", "/srv//app/");
    for (new, name, place) in [
        (vec![host("x"), host("h001")], Some("h001"), None),
        (vec![host("x"), host("x")], Some("x"), None),
        (vec![host("x"), same_place("y")], None, Some(("y", "h001"))),
        (
            vec![host_at("x", "::1", "/a"), host_at("y", "0:0::1", "/a")],
            None,
            Some(("y", "x")),
        ),
    ] {
        match store.host_add(new, &actor()).await.unwrap_err() {
            HostError::DuplicateName { name: found } => assert_eq!(Some(found.as_str()), name),
            HostError::DuplicateRepository { name, other } => {
                assert_eq!(Some((name.as_str(), other.as_str())), place);
            }
            error => panic!("{error}"),
        }
        assert_eq!(store.host_list().await.unwrap().len(), 2);
    }
    let mut other_port = same_place("port");
    other_port.spec.port = 2222;
    let other_repo = host_at("repo", "h001.example.org", "/srv/other");
    let fine = vec![other_port, other_repo];
    store.host_add(fine, &actor()).await.unwrap();
    let names: Vec<String> = store
        .host_list()
        .await
        .unwrap()
        .iter()
        .map(|host| host.name.to_string())
        .collect();
    assert_eq!(names, ["h001", "h002", "port", "repo"], "by name");
    assert_consistent(&store).await;
}

pub(crate) async fn bad_values_are_refused(place: &Place) {
    let store = place.store().await;
    for change in [
        (|host: &mut NewHost| host.spec.port = 0) as fn(&mut NewHost),
        |host| host.owner = Some("a\0b".to_owned()),
        |host| host.owner = Some(String::new()),
        |host| host.spec.key = Some("keys/\n".to_owned()),
        |host| host.spec.jump = vec!["\u{1b}[2J".to_owned()],
        |host| host.spec.app.install = String::new(),
        |host| host.spec.app.timeouts.pull = 0,
        |host| {
            host.labels.insert("a b".to_owned(), "c".to_owned());
        },
    ] {
        let mut bad = host("x");
        change(&mut bad);
        let refused = store.host_add(vec![bad], &actor()).await.unwrap_err();
        assert!(matches!(refused, HostError::Invalid(_)), "{refused}");
    }
    assert!(store.host_list().await.unwrap().is_empty());
    let mut full = host("x");
    full.owner = Some("Zoë".to_owned());
    full.spec.key = Some("/home/zoë/.ssh/id".to_owned());
    full.spec.jump = vec!["ops@jump:22".to_owned()];
    full.labels.insert("canary".to_owned(), String::new());
    full.labels.insert("zone".to_owned(), "eu".to_owned());
    let added = store.host_add(vec![full.clone()], &actor()).await.unwrap();
    let found = store.host_get(&full.name).await.unwrap().unwrap();
    assert_eq!(found, added[0]);
    assert_eq!((found.spec, found.labels), (full.spec, full.labels));
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

pub(crate) async fn edit_in_each_state(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let unknown = store.host_edit(&name("no"), host("no"), &actor()).await;
    assert!(matches!(unknown, Err(HostError::Unknown { .. })));
    let taken = store.host_edit(&name("h001"), host("h002"), &actor()).await;
    assert!(matches!(taken, Err(HostError::DuplicateName { .. })));
    let place_taken = host_at("h001", "h002.example.org", "/srv/app");
    let refused = store.host_edit(&name("h001"), place_taken, &actor()).await;
    assert!(matches!(
        refused,
        Err(HostError::DuplicateRepository { .. })
    ));

    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    let updating = store.host_edit(&name("h001"), host("h001"), &actor()).await;
    assert!(matches!(updating, Err(HostError::Updating { rollout, .. }) if rollout == id));

    // Pending: the entry changes, the frozen plan does not.
    let moved = host_at("renamed", "elsewhere.example.org", "/srv/app");
    let edited = store.host_edit(&name("h002"), moved, &actor()).await;
    let edited = edited.unwrap();
    assert_eq!(edited.id, hosts[1].id);
    assert_eq!(edited.update_status, Some(AttemptStatus::Pending));
    let next = claim(&store, id, worker).await;
    assert_eq!(next.attempt.host, hosts[1].id);
    assert_eq!(next.attempt.name, name("h002"));
    assert_eq!(next.attempt.spec, hosts[1].spec);

    update(&store, &claimed.lease).await;
    store
        .host_edit(&name("h001"), host("h001"), &actor())
        .await
        .unwrap();
    let events = store.events_after(Seq(0), None, 100).await.unwrap();
    let edits: Vec<_> = events
        .iter()
        .filter(|event| event.kind == EventKind::HostEdited)
        .map(|event| (event.host.as_deref(), event.message.as_deref()))
        .collect();
    assert_eq!(
        edits,
        [
            (Some("renamed"), Some("h002 is now renamed")),
            (Some("h001"), None)
        ]
    );
    assert_consistent(&store).await;
}

pub(crate) async fn what_changed_since_it_was_seen_stays(place: &Place) {
    let store = place.store().await;
    let seen = add_hosts(&store, 2).await;
    let by = actor();
    let stale = |error: HostError| assert!(matches!(error, HostError::Stale { .. }), "{error}");
    let mut owned = host("h001");
    owned.owner = Some("acme".to_owned());
    let edited = store.host_edit_seen(&seen[0], owned, &by).await.unwrap();
    let edit = async |seen: &HostRecord| store.host_edit_seen(seen, host("h001"), &by).await;
    stale(edit(&seen[0]).await.unwrap_err());
    stale(store.host_remove_seen(&seen[0], &by).await.unwrap_err());
    let found = store.host_get(&seen[0].name).await.unwrap().unwrap();
    assert_eq!(found, edited);
    // What a program saw or does is no change of it.
    let id = start(&store, one_stage(&seen[1..])).await.0;
    let mut other = seen[1].clone();
    other.health = HealthState::Active;
    store.host_remove_seen(&other, &by).await.unwrap();
    assert!(store.rollout_get(id).await.unwrap().is_some());
    // Pinned keys are.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Yq1wU2lqEw2yB0oT1r0m9nXk3n3m1g0l8m1e6bQ2q";
    store
        .host_pin(&edited.name, vec![key.to_owned()], &by)
        .await
        .unwrap();
    stale(edit(&edited).await.unwrap_err());
    let pin = async |seen: &HostRecord| {
        let keys = vec![key.to_owned()];
        store.host_pin_seen(seen, keys, &by).await
    };
    stale(pin(&edited).await.unwrap_err());
    let pinned = store.host_get(&edited.name).await.unwrap().unwrap();
    pin(&pinned).await.unwrap();
    // Another host by that name is another one.
    let pinned = store.host_get(&edited.name).await.unwrap().unwrap();
    store.host_remove_seen(&pinned, &by).await.unwrap();
    let mut again = host("h001");
    again.owner.clone_from(&pinned.owner);
    store.host_add(vec![again], &by).await.unwrap();
    store
        .host_pin(&edited.name, vec![key.to_owned()], &by)
        .await
        .unwrap();
    stale(edit(&pinned).await.unwrap_err());
    assert_consistent(&store).await;
}

pub(crate) async fn remove_in_each_state(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 5).await;
    let remove = async |host: &str| store.host_remove(&name(host), &actor()).await;
    assert!(matches!(remove("no").await, Err(HostError::Unknown { .. })));
    let (id, worker) = start(&store, one_stage(&hosts[..4])).await;
    remove("h005").await.unwrap();
    let claimed = claim(&store, id, worker).await;
    assert!(matches!(
        remove("h001").await,
        Err(HostError::Updating { .. })
    ));
    remove("h002").await.unwrap();
    assert!(matches!(
        remove("h002").await,
        Err(HostError::Unknown { .. })
    ));
    update(&store, &claimed.lease).await;
    remove("h001").await.unwrap();
    for expected in ["h003", "h004"] {
        let claimed = claim(&store, id, worker).await;
        assert_eq!(claimed.attempt.name, name(expected));
        update(&store, &claimed.lease).await;
    }
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Completed);
    let attempts = store.attempt_list(id).await.unwrap();
    let removed = &attempts[1];
    assert_eq!(removed.status, AttemptStatus::Skipped);
    assert_eq!(removed.reason, Some(Reason::Removed));
    assert_eq!(attempts.len(), 4, "the history stays");
    let views = store.host_views(Some(id)).await.unwrap();
    assert_eq!(views.len(), 4, "of the removed too");
    assert_eq!(store.host_views(None).await.unwrap().len(), 2);

    let again = store.host_add(vec![host("h001")], &actor()).await.unwrap();
    assert_ne!(again[0].id, hosts[0].id);
    assert_eq!(again[0].current_version, None);
    assert_consistent(&store).await;
}

pub(crate) async fn removal_can_decide_the_gate(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 4).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    roll_back(&store, &claimed.lease).await;
    let state = async || store.rollout_get(id).await.unwrap().unwrap().state;
    assert_eq!(state().await, RolloutState::Running, "1 of 4");
    store.host_remove(&hosts[3].name, &actor()).await.unwrap();
    assert_eq!(state().await, RolloutState::Halting, "1 of 3");
    let over = store.rollout_advance(id).await.unwrap();
    assert_eq!(over.state, RolloutState::Halted);
    assert_consistent(&store).await;
}

pub(crate) async fn keys_and_attention(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let who = &hosts[0].name;
    let keys = vec!["ssh-ed25519 AAAA".to_owned(), "ssh-rsa BBBB".to_owned()];
    store.host_pin(who, keys.clone(), &actor()).await.unwrap();
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    assert_eq!(claimed.host_keys, keys);
    let lost = Outcome {
        needs_attention: true,
        ..outcome(AttemptStatus::Failed, Reason::RollbackFailed, true)
    };
    let event = fleet_types::HostEvent::Settled { outcome: lost };
    store.attempt_record(&claimed.lease, &event).await.unwrap();
    store.rollout_advance(id).await.unwrap();
    let marked = async || {
        let host = store.host_get(who).await.unwrap().unwrap();
        assert_eq!(host.host_keys, keys);
        host.needs_attention
    };
    assert!(marked().await);
    assert_eq!(store.status().await.unwrap().fleet.needs_attention, 1);

    let mut plan = one_stage(&hosts);
    plan.force = true;
    let (id, worker) = start(&store, plan.clone()).await;
    unreachable(&store, &claim(&store, id, worker).await.lease).await;
    assert!(marked().await, "only a success or a person clears it");
    store.rollout_advance(id).await.unwrap();
    let (id, worker) = start(&store, plan).await;
    update(&store, &claim(&store, id, worker).await.lease).await;
    assert!(!marked().await);
    let seq = store.status().await.unwrap().seq;
    store.host_clear_attention(who, &actor()).await.unwrap();
    assert_eq!(store.status().await.unwrap().seq, seq, "was clear already");
    assert_consistent(&store).await;
}
