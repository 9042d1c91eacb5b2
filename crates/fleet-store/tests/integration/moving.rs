//! A fleet that moves from one database to another.

use std::path::Path;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{Role, TokenId};
use serde_json::Value;

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

/// More than are in memory at once.
const HOSTS: usize = 210;

/// A rollout over so many hosts to its end, one of them bad, with a person, a token and a host that was removed.
async fn live(store: &DieselStore, number: usize) {
    let hosts = add_hosts(store, number).await;
    let (id, worker) = start(store, one_stage(&hosts)).await;
    loop {
        match store.attempt_claim(id, worker, &[]).await.unwrap() {
            Claim::Claimed(claimed) if claimed.attempt.name.as_str() == "h002" => {
                unreachable(store, &claimed.lease).await;
            }
            Claim::Claimed(claimed) => update(store, &claimed.lease).await,
            Claim::Nothing(_) => {
                if !store.rollout_advance(id).await.unwrap().state.is_active() {
                    break;
                }
            }
        }
    }
    store.worker_leave(worker).await.unwrap();
    let name = hosts[2].name.clone();
    store.host_remove(&name, &actor()).await.unwrap();
    let token = NewToken {
        id: TokenId(uuid::Uuid::now_v7()),
        name: "robot".parse().unwrap(),
        role: Role::Viewer,
        secret: SecretHash([7; 32]),
        expires_at: None,
    };
    store.token_create(token, &actor()).await.unwrap();
}

async fn trail(store: &DieselStore) -> Vec<i64> {
    let query = AuditQuery {
        before: None,
        actor: None,
        action: None,
        since: None,
        limit: 1000,
    };
    let entries = store.audit_list(query).await.unwrap();
    entries.iter().map(|entry| entry.id.0).collect()
}

/// The rows of an exported file.
fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines
        .into_iter()
        .filter(|line| line["row"] != Value::Null)
        .collect()
}

fn at_one_epoch(mut row: Value) -> Value {
    if let Some(epoch) = row["row"].get_mut("lease_epoch") {
        *epoch = 0.into();
    }
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_arrives_as_it_was_and_lives_on() {
    let Some(mut second) = Place::postgres().await else {
        return;
    };
    let (first, mut third) = (Place::file(), Place::file());
    // One source of ids, or they would come twice.
    second.clock = first.clock.clone();
    third.clock = first.clock.clone();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let store = first.store().await;
    live(&store, HOSTS).await;
    let numbers = trail(&store).await;
    let moved = store.export(&one).await.unwrap();
    assert_eq!((moved.hosts, moved.rollouts, moved.tokens), (HOSTS, 1, 1));

    let store = second.store().await;
    assert_eq!(store.import(&one).await.unwrap(), moved);
    assert_consistent(&store).await;
    assert_eq!(trail(&store).await, numbers);
    assert_eq!(store.export(&two).await.unwrap(), moved);
    let store_2 = third.store().await;
    assert_eq!(store_2.import(&two).await.unwrap(), moved);
    assert_consistent(&store_2).await;
    // Nothing was lost or changed on the way, but for how far the new one is ahead.
    let (before, after) = (rows(&one), rows(&two));
    let ahead = |row: &Value| row["row"]["lease_epoch"].as_i64();
    for (before, after) in before.iter().zip(&after) {
        match (ahead(before), ahead(after)) {
            (Some(before), Some(after)) => assert!(after > before + 100_000),
            other => assert_eq!(other, (None, None)),
        }
    }
    let alike = |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().map(at_one_epoch).collect() };
    assert!(
        alike(before) == alike(after),
        "what came out is not what went in"
    );

    for place in [second, third] {
        let store = place.store().await;
        let last = store.last_seq().await.unwrap();
        store.host_add(vec![host("new")], &actor()).await.unwrap();
        assert_eq!(store.last_seq().await.unwrap().0, last.0 + 1);
        let after = trail(&store).await;
        assert_eq!(after[1..], numbers[..]);
        assert!(after[0] > numbers[0]);
        // The trail is as much protected as before.
        let told = place.execute("UPDATE audit SET actor = 'x'").await;
        assert!(told.is_err());
        if place.is_postgres() {
            let told = place.execute("INSERT INTO audit (id, at, actor, source, action, result) VALUES (99999, 0, '', '', '', '')");
            assert!(told.await.is_err());
        }
        let refused = store.import(&one).await.unwrap_err();
        assert!(matches!(refused, MoveError::NotEmpty { .. }), "{refused}");
        let refused = store.export(&two).await.unwrap_err();
        assert!(matches!(refused, MoveError::File { .. }), "{refused}");
        assert_consistent(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_whole_is_not_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    let first = Place::file();
    let store = first.store().await;
    live(&store, 3).await;
    store.export(&good).await.unwrap();
    let text = std::fs::read_to_string(&good).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |number: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != number);
        kept.map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let table = [
        (String::new(), "ends too early"),
        ("x\n".to_owned(), "does not begin as"),
        (text[..text.len() / 2].to_owned(), "ends too early"),
        (without(lines.len() - 1), "ends too early"),
        (without(lines.len() - 2), "checksum"),
        (without(0), "does not begin as"),
        (format!("{text}x\n"), "checksum"),
        (replaced("\"version\":1", "\"version\":2"), "version 2"),
        (replaced("\"hosts\"", "\"sessions\""), "\"sessions\""),
        (
            replaced("\"needs_attention\":false", "\"needs_attention\":7"),
            "invalid type",
        ),
        (
            replaced("\"removed_at\":null", "\"no_such\":null"),
            "no_such",
        ),
        (replaced("anna", "anne"), "checksum"),
    ];
    let places = [Some(Place::file()), Place::postgres().await];
    for place in places.into_iter().flatten() {
        let store = place.store().await;
        for (content, why) in &table {
            std::fs::write(&bad, content).unwrap();
            let refused = store.import(&bad).await.unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
            assert!(store.host_list().await.unwrap().is_empty(), "{why}");
            place.assert_rows("audit", 0).await;
        }
        store.import(&good).await.unwrap();
        assert_consistent(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opened_the_database_before_does_not_work_on_what_was_imported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let first = Place::file();
    let store = first.store().await;
    live(&store, 3).await;
    store.export(&file).await.unwrap();
    let places = [Some(Place::file()), Place::postgres().await];
    for mut place in places.into_iter().flatten() {
        // One source of ids, or it would be the same store.
        place.clock = first.clock.clone();
        let before = place.store().await;
        place.store().await.import(&file).await.unwrap();
        let refused = before.worker_register(worker(true)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Replaced { .. }), "{refused}");
        assert!(refused.to_string().contains("start it again"), "{refused}");
        let after = place.store().await;
        assert_eq!(after.id(), store.id());
        after.worker_register(worker(true)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    for place in [Some(Place::file()), Place::postgres().await]
        .into_iter()
        .flatten()
    {
        let store = place.store().await;
        let hosts = add_hosts(&store, 2).await;
        let (id, _) = start(&store, one_stage(&hosts)).await;
        match store.export(&path).await {
            Err(MoveError::Active { rollout }) => assert_eq!(rollout, id.to_string()),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_moves_as_removed() {
    let month = std::num::NonZeroU32::new(30).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = Place::file();
    let store = first.store().await;
    live(&store, 4).await;
    first.clock.advance(Duration::from_secs(31 * 86_400));
    // Half of it: the other half is left to whoever works on the new database.
    let removed = store.outputs_remove(month, 4).await.unwrap();
    assert!(removed.more && removed.outputs > 0, "{removed:?}");
    let id = store.rollout_latest().await.unwrap().unwrap().id;
    let (h001, h004) = ("h001".parse().unwrap(), "h004".parse().unwrap());
    let mut path = folder.path().join("half");
    store.export(&path).await.unwrap();
    for (number, place) in [Some(Place::file()), Place::postgres().await]
        .into_iter()
        .flatten()
        .enumerate()
    {
        place.clock.advance(Duration::from_secs(31 * 86_400));
        let store = place.store().await;
        store.import(&path).await.unwrap();
        let gone = async |name| {
            let steps = store.attempt_steps(id, name).await.unwrap();
            let printed = steps.iter().filter(|step| step.output.total_bytes > 0);
            let gone: Vec<bool> = printed
                .map(|step| step.removed_after_days == Some(month))
                .collect();
            assert_eq!(gone.len(), 2, "{steps:?}");
            gone
        };
        // What came with the file is not done again.
        assert_eq!(gone(&h001).await, [true, true]);
        let whole = number > 0;
        assert_eq!(gone(&h004).await, [whole, whole]);
        let rest = store.outputs_remove(month, 100).await.unwrap();
        assert_eq!((rest.outputs > 0, rest.more), (!whole, false), "{rest:?}");
        assert_eq!(gone(&h004).await, [true, true]);
        path = folder.path().join(format!("whole-{number}"));
        store.export(&path).await.unwrap();
    }
}
