use fleet_store::*;
use fleet_types::{AttemptStatus, HealthState, view};

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
            needs_attention: true,
            ..all.clone()
        };
        assert_eq!(of(attention).await, "");
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
        ..all
    };
    assert_eq!(of(stage).await, "");
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
    // The history of a host that was removed and of one that never was: none, and no error.
    store.host_remove(name, &actor()).await.unwrap();
    assert_eq!(store.host_history(name, None, 10).await.unwrap(), []);
    assert!(store.host_view(name, Some(first)).await.unwrap().is_some());
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
