use fleet_store::*;
use fleet_types::{AttemptStatus, HealthState, HostName, Reason, Selection, view};

use crate::fleet::*;
use crate::place::Place;

fn names(page: &Page<view::Host>) -> Vec<&str> {
    page.items.iter().map(|host| host.name.as_str()).collect()
}

/// Every page from the first to the last, which together are what matches, each entry once.
async fn walk(store: &DieselStore, mut query: HostQuery) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let page = store.host_page(query.clone()).await.unwrap();
        assert!(page.items.len() <= query.limit as usize);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page.next {
            Some(next) => query.after = Some(next),
            None => {
                assert_eq!(seen.len(), page.total as usize);
                return seen;
            }
        }
    }
}

/// Ten hosts; in the rollout six are updated, one went back, one could not be reached, two wait.
async fn half_way(store: &DieselStore) -> fleet_types::RolloutId {
    let mut new: Vec<NewHost> = (1..=10).map(|n| host(&format!("web_{n:02}"))).collect();
    new[2].owner = Some("carla".to_owned());
    let hosts = store.host_add(new, &actor()).await.unwrap();
    let mut plan = one_stage(&hosts);
    plan.policy.max_failure_percent = "100".parse().unwrap();
    let (id, worker) = start(store, plan).await;
    for _ in 0..6 {
        update(store, &claim(store, id, worker).await.lease).await;
    }
    roll_back(store, &claim(store, id, worker).await.lease).await;
    unreachable(store, &claim(store, id, worker).await.lease).await;
    id
}

pub(crate) async fn pages_hold_each_host_once(place: &Place) {
    let store = place.store().await;
    let id = half_way(&store).await;
    let fleet = HostQuery {
        limit: 3,
        ..HostQuery::default()
    };
    let all: Vec<String> = (1..=10).map(|n| format!("web_{n:02}")).collect();
    assert_eq!(walk(&store, fleet.clone()).await, all);
    let rollout = HostQuery {
        rollout: Some(id),
        ..fleet.clone()
    };
    assert_eq!(walk(&store, rollout.clone()).await, all);
    for nonsense in ["-1x", "99999999999999999999", "\0"] {
        let query = HostQuery {
            after: Some(nonsense.to_owned()),
            ..rollout.clone()
        };
        assert!(store.host_page(query).await.unwrap().items.is_empty());
    }
    let nonsense = HostQuery {
        after: Some("\0".to_owned()),
        ..fleet.clone()
    };
    assert!(store.host_page(nonsense).await.unwrap().items.is_empty());
    let unlimited = HostQuery {
        limit: u32::MAX,
        ..fleet
    };
    assert_eq!(store.host_page(unlimited).await.unwrap().items.len(), 10);
}

pub(crate) async fn filters_choose(place: &Place) {
    let store = place.store().await;
    let id = half_way(&store).await;
    let all = HostQuery {
        limit: 100,
        ..HostQuery::default()
    };
    let bad = vec![AttemptStatus::Failed, AttemptStatus::RolledBack];
    let on_new = Some(commit('b').to_string());
    let of = |query: HostQuery| {
        let store = &store;
        async move {
            let page = store.host_page(query).await.unwrap();
            assert_eq!(page.total as usize, page.items.len());
            names(&page)
                .iter()
                .map(|name| name[4..].to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    for rollout in [None, Some(id)] {
        let all = HostQuery {
            rollout,
            ..all.clone()
        };
        let status = HostQuery {
            status: bad.clone(),
            ..all.clone()
        };
        assert_eq!(of(status).await, "07 08");
        let version = HostQuery {
            version: on_new.clone(),
            ..all.clone()
        };
        assert_eq!(of(version).await, "01 02 03 04 05 06");
        let owner = HostQuery {
            owner: Some("carla".to_owned()),
            ..all.clone()
        };
        assert_eq!(of(owner).await, "03");
        let health = HostQuery {
            health: Some(HealthState::Inactive),
            ..all.clone()
        };
        assert_eq!(of(health).await, "");
        let attention = HostQuery {
            needs_attention: Some(true),
            ..all.clone()
        };
        assert_eq!(of(attention).await, "");
        let others = HostQuery {
            needs_attention: Some(false),
            ..all.clone()
        };
        assert_eq!(of(others).await, "01 02 03 04 05 06 07 08 09 10");
        for (reasons, expected) in [
            (vec![Reason::Updated], "01 02 03 04 05 06"),
            (vec![Reason::Unreachable, Reason::InstallFailed], "07 08"),
            (vec![Reason::Unchanged], ""),
        ] {
            let query = HostQuery {
                reason: reasons,
                ..all.clone()
            };
            assert_eq!(of(query).await, expected);
        }
        for (search, expected) in [
            ("_03", "03"),
            ("WEB_1", "10"),
            ("eb", "01 02 03 04 05 06 07 08 09 10"),
            // `_` and `%` are no wildcards, and nothing breaks out.
            ("w_b", ""),
            ("%", ""),
            ("' OR 1=1 --", ""),
            ("\\", ""),
        ] {
            let query = HostQuery {
                search: Some(search.to_owned()),
                ..all.clone()
            };
            assert_eq!(of(query).await, expected, "{search}");
        }
    }
    let stage = HostQuery {
        rollout: Some(id),
        stage: Some(2),
        ..all.clone()
    };
    assert_eq!(of(stage).await, "");
    for rollout in [None, Some(id)] {
        let uncounted = HostQuery {
            rollout,
            uncounted: true,
            ..all.clone()
        };
        let page = store.host_page(uncounted).await.unwrap();
        assert_eq!((page.items.len(), page.total), (10, 0));
    }
    let gone = "web_08".parse().unwrap();
    store.host_remove(&gone, &actor()).await.unwrap();
    for (in_fleet, expected) in [(false, "07 08"), (true, "07")] {
        let query = HostQuery {
            rollout: Some(id),
            status: bad.clone(),
            in_fleet,
            ..all.clone()
        };
        assert_eq!(of(query).await, expected);
    }
}

pub(crate) async fn one_host_and_its_history(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let (first, worker) = start(&store, one_stage(&hosts)).await;
    update(&store, &claim(&store, first, worker).await.lease).await;
    update(&store, &claim(&store, first, worker).await.lease).await;
    store.rollout_advance(first).await.unwrap();
    let (second, worker) = start(&store, one_stage(&hosts[..1])).await;
    roll_back(&store, &claim(&store, second, worker).await.lease).await;
    store.rollout_advance(second).await.unwrap();

    let name = &hosts[0].name;
    let view = store.host_view(name, None).await.unwrap().unwrap();
    assert_eq!(view.update_status, Some(AttemptStatus::RolledBack));
    let view = store.host_view(name, Some(first)).await.unwrap().unwrap();
    assert_eq!(view.attempt.unwrap().status, AttemptStatus::Success);
    assert_eq!(
        store.host_view(&hosts[1].name, Some(second)).await.unwrap(),
        None
    );
    assert_eq!(
        store
            .host_view(&"nobody".parse().unwrap(), None)
            .await
            .unwrap(),
        None
    );

    let past = store.host_history(name, None, 10).await.unwrap();
    let seen: Vec<_> = past
        .iter()
        .map(|past| (past.attempt.rollout, past.attempt.status))
        .collect();
    assert_eq!(
        seen,
        [
            (second, AttemptStatus::RolledBack),
            (first, AttemptStatus::Success)
        ]
    );
    assert_eq!(past[0].from, Some(commit('a').to_string()));
    assert!(past.iter().all(|past| past.finished_at.is_some()));
    assert_eq!(store.host_history(name, None, 1).await.unwrap(), past[..1]);
    assert_eq!(
        store.host_history(name, Some(second), 10).await.unwrap(),
        past[1..]
    );
    assert_eq!(store.host_history(name, Some(first), 10).await.unwrap(), []);
    // Two that swap their names are still told apart by what they were called then.
    let (a, b) = (&hosts[0], &hosts[1]);
    let named = |host: &HostRecord, name: &HostName| NewHost {
        name: name.clone(),
        spec: host.spec.clone(),
        labels: host.labels.clone(),
        owner: None,
    };
    let between: HostName = "between".parse().unwrap();
    for (now, host, then) in [
        (&a.name, a, &between),
        (&b.name, b, &a.name),
        (&between, a, &b.name),
    ] {
        let edited = store.host_edit(now, named(host, then), &actor()).await;
        assert_eq!(edited.unwrap().id, host.id);
    }
    for host in [a, b] {
        let once = store.host_once(&host.name, first).await.unwrap().unwrap();
        assert_eq!(once.id, host.id);
        let now = store.host_get(&host.name).await.unwrap().unwrap();
        assert_ne!(now.id, host.id);
    }
    assert_eq!(store.host_once(&between, first).await.unwrap(), None);
    assert_eq!(store.host_once(&b.name, second).await.unwrap(), None);
    let past = store.host_history(&b.name, None, 10).await.unwrap();
    assert!(past.len() == 2 && past.iter().all(|past| past.name == a.name));
    // The history of a host that was removed and of one that never was: none, and no error.
    let name = &b.name;
    store.host_remove(name, &actor()).await.unwrap();
    assert_eq!(store.host_history(name, None, 10).await.unwrap(), []);
    assert!(
        store
            .host_view(&a.name, Some(first))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(store.host_once(&a.name, first).await.unwrap(), None);
}

pub(crate) async fn cells_are_in_plan_order(place: &Place) {
    let store = place.store().await;
    let id = half_way(&store).await;
    let cells = store.rollout_cells(id, 100).await.unwrap();
    let shown: Vec<(&str, &str, Option<&str>)> = cells
        .iter()
        .map(|cell| {
            (
                cell.host.as_str(),
                cell.status.as_str(),
                cell.reason.as_deref(),
            )
        })
        .collect();
    assert_eq!(shown.len(), 10);
    assert_eq!(shown[0], ("web_01", "success", Some("updated")));
    assert_eq!(shown[6], ("web_07", "rolled_back", Some("install_failed")));
    assert_eq!(shown[7], ("web_08", "failed", Some("unreachable")));
    assert_eq!(shown[9], ("web_10", "pending", None));
    assert_eq!(store.rollout_cells(id, 4).await.unwrap(), cells[..4]);
    let events = store
        .events_after(fleet_types::Seq(0), None, 1000)
        .await
        .unwrap();
    assert_eq!(store.last_seq().await.unwrap(), events.last().unwrap().seq);
}

pub(crate) async fn selections_choose_in_the_words_of_the_command_line(place: &Place) {
    let store = place.store().await;
    let labelled = |name: &str, labels: &[(&str, &str)]| {
        let mut host = host(name);
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        host.labels = labels.collect();
        host
    };
    let fleet = vec![
        labelled("web_1", &[("eu", ""), ("role", "web")]),
        labelled("web-2", &[("region", "eu")]),
        labelled("Web-3", &[("eu/west", ""), ("role", "Web")]),
    ];
    let records = store.host_add(fleet, &actor()).await.unwrap();
    for words in [
        "web-*",
        "web_*",
        "web?2",
        "*",
        "W*",
        "web",
        "@eu",
        "@role",
        "@role=web",
        "@role=we",
        "@region=eu",
        "@region",
        "@e",
        "!@eu",
        "* !web-2",
        "@eu @region",
        "@role !@role=web",
        "web_1 web_1",
        "nobody",
        "!nobody",
        "@role=",
        "@eu=",
    ] {
        let on = Selection::On(words.split(' ').map(|word| word.parse().unwrap()).collect());
        let mut expected: Vec<&str> = records
            .iter()
            .filter(|host| on.matches(host.name.as_str(), &host.labels))
            .map(|host| host.name.as_str())
            .collect();
        expected.sort_unstable();
        let query = HostQuery {
            on: Some(on),
            limit: 2,
            ..HostQuery::default()
        };
        assert_eq!(walk(&store, query).await, expected, "{words}");
    }
    for (on, expected) in [(Selection::All, 3), (Selection::On(Vec::new()), 0)] {
        let query = HostQuery {
            on: Some(on),
            limit: 9,
            ..HostQuery::default()
        };
        assert_eq!(store.host_page(query).await.unwrap().items.len(), expected);
    }
}

pub(crate) async fn the_fleet_in_any_order_has_each_host_once(place: &Place) {
    let store = place.store().await;
    half_way(&store).await;
    for (number, health) in [(9, HealthState::Unhealthy), (10, HealthState::Unreachable)] {
        let name = format!("web_{number:02}").parse().unwrap();
        let host = store.host_get(&name).await.unwrap().unwrap();
        let seen = HealthSeen {
            health,
            message: String::new(),
            key_changed: false,
            epoch: fleet_types::Epoch(0),
            since: fleet_types::Timestamp(0),
        };
        assert!(store.health_record(host.id, seen).await.unwrap());
    }
    let of = |order, descending, limit| {
        let query = HostQuery {
            order,
            descending,
            limit,
            ..HostQuery::default()
        };
        async { walk(&store, query).await.concat().replace("web_", " ") }
    };
    for (order, first) in [
        (HostOrder::Name, " 01 02 03 04 05 06 07 08 09 10"),
        // Those that were updated or taken back are proven active and come last; one was never looked at.
        (HostOrder::State, " 09 10 08 01 02 03 04 05 06 07"),
        // Seven have one, of which one was taken back to the first.
        (HostOrder::Version, " 08 09 10 07 01 02 03 04 05 06"),
        (HostOrder::LastUpdate, " 09 10 01 02 03 04 05 06 07 08"),
    ] {
        let mut turned: Vec<&str> = first.split(' ').skip(1).collect();
        turned.reverse();
        let turned = format!(" {}", turned.join(" "));
        for limit in [1, 3, 100] {
            assert_eq!(of(order, false, limit).await, first, "{order:?}");
            assert_eq!(of(order, true, limit).await, turned, "{order:?}");
        }
        for nonsense in ["", "/", "x/y/z", "\0", "5/"] {
            let query = HostQuery {
                order,
                after: Some(nonsense.to_owned()),
                limit: 100,
                ..HostQuery::default()
            };
            store.host_page(query).await.unwrap();
        }
    }
}

pub(crate) async fn how_fresh_the_health_is(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 3).await;
    let far = fleet_types::Timestamp(i64::MAX);
    assert_eq!(
        store.health_freshness(far).await.unwrap(),
        Freshness {
            last: None,
            older: 3
        },
        "none was ever looked at"
    );
    let early = fleet_types::Timestamp(0);
    assert_eq!(
        store.health_freshness(early).await.unwrap(),
        Freshness::default(),
        "a host that was added since is not late"
    );
    let look = |host: usize, health| {
        let seen = HealthSeen {
            health,
            message: String::new(),
            key_changed: false,
            epoch: fleet_types::Epoch(0),
            since: fleet_types::Timestamp(i64::MAX),
        };
        store.health_record(hosts[host].id, seen)
    };
    assert!(look(0, HealthState::Active).await.unwrap());
    let view = store.host_view(&hosts[0].name, None).await.unwrap();
    let first = view.unwrap();
    assert_eq!(first.health_since, first.checked_at);
    place.clock.advance(std::time::Duration::from_secs(60));
    assert!(look(1, HealthState::Inactive).await.unwrap());
    place.clock.advance(std::time::Duration::from_secs(60));
    assert!(look(0, HealthState::Active).await.unwrap());
    let view = store.host_view(&hosts[0].name, None).await.unwrap();
    let again = view.unwrap();
    assert_eq!(again.health_since, first.health_since, "nothing changed");
    assert!(again.checked_at > first.checked_at);
    let at = again.checked_at.unwrap();
    for (before, older) in [(at, 2), (fleet_types::Timestamp(at.0 + 1), 3), (far, 3)] {
        let known = store.health_freshness(before).await.unwrap();
        assert_eq!((known.last, known.older), (Some(at), older), "{before}");
    }
    store.host_remove(&hosts[1].name, &actor()).await.unwrap();
    assert_eq!(store.health_freshness(far).await.unwrap().older, 2);
}

pub(crate) async fn rollouts_are_found_by_result_and_by_who_began_them(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut plan = one_stage(&hosts[..1]);
        plan.actor = Actor::local(if number % 2 == 0 { "anna" } else { "otto" });
        plan.policy.max_failure_percent = "100".parse().unwrap();
        let (id, worker) = start(&store, plan).await;
        let claimed = claim(&store, id, worker).await;
        if number < 3 {
            update(&store, &claimed.lease).await;
        } else {
            unreachable(&store, &claimed.lease).await;
        }
        store.rollout_advance(id).await.unwrap();
        ids.push(id);
    }
    use fleet_types::RolloutState::{Completed, CompletedWithFailures, Running};
    let check = |state: &[fleet_types::RolloutState], by: Option<&str>, expected: &[usize]| {
        let query = RolloutQuery {
            state: state.to_vec(),
            started_by: by.map(str::to_owned),
            before: None,
            limit: 2,
        };
        let expected: Vec<_> = expected.iter().map(|at| ids[*at]).collect();
        let store = &store;
        async move {
            let mut found = Vec::new();
            let mut query = query;
            loop {
                let page = store.rollouts_matching(query.clone()).await.unwrap();
                let Some(last) = page.last() else { break };
                query.before = Some(last.id);
                found.extend(page.iter().map(|rollout| rollout.id));
            }
            assert_eq!(found, expected);
        }
    };
    check(&[], None, &[4, 3, 2, 1, 0]).await;
    check(&[Completed], None, &[2, 1, 0]).await;
    check(&[CompletedWithFailures], Some("anna"), &[4]).await;
    check(&[Completed, CompletedWithFailures], Some("otto"), &[3, 1]).await;
    check(&[Running], None, &[]).await;
    check(&[], Some("nobody"), &[]).await;
    check(&[], Some("\0"), &[]).await;
}
