//! `kill -9` of a process in mid-write, again and again: what it was answered is there, and the store is whole.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{RolloutState, Verb};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

const ROUNDS: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite() {
    killed(&Place::file()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres() {
    if let Some(place) = Place::postgres().await {
        killed(&place).await;
    }
}

async fn killed(place: &Place) {
    let open = async || {
        DieselStore::open(place.url(), StoreOptions::default())
            .await
            .unwrap()
    };
    let store = open().await;
    add_hosts(&store, 40).await;
    drop(store);
    let mut changes = 0;
    for round in 0..ROUNDS {
        let (mut child, mut lines) = spawn(place.url());
        let mut answered = BTreeSet::new();
        // It works from its first line on; it dies a little later each time, wherever it then is.
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "round {round}");
        if round % 4 == 3 {
            // However slow the machine is, some die in the midst of changes.
            line.clear();
            lines.read_line(&mut line).unwrap();
            answered.extend(line.trim().strip_suffix('.').map(str::to_owned));
        }
        tokio::time::sleep(Duration::from_millis(u64::from(7 * round + 1))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.lines() {
            // The last line may be cut off.
            let line = line.unwrap();
            if let Some(name) = line.strip_suffix('.') {
                answered.insert(name.to_owned());
            }
        }

        place.until_left().await;
        let store = open().await;
        assert_consistent(&store).await;
        let hosts = store.host_list().await.unwrap();
        let there: BTreeSet<String> = hosts.iter().map(|host| host.name.to_string()).collect();
        let lost: Vec<&String> = answered.difference(&there).collect();
        assert!(lost.is_empty(), "answered and lost: {lost:?}");
        changes += answered.len();
        settle(&store).await;
        assert_consistent(&store).await;
    }
    assert!(changes > 0, "no child ever got to change anything");
}

fn spawn(url: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env("STORE_TEST_URL", url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    // The test harness speaks first.
    for _ in 0..2 {
        lines.read_line(&mut String::new()).unwrap();
    }
    (child, lines)
}

/// What the next process does after a kill: the dead one's hosts can be taken over at once, and the rollout ends.
async fn settle(store: &DieselStore) {
    let Some(active) = store.rollout_active().await.unwrap() else {
        return;
    };
    let view = store.rollout_view(active.id).await.unwrap().unwrap();
    assert!(
        !view.attended,
        "its process is gone, which is known at once"
    );
    let heir = store.worker_register(worker(false)).await.unwrap();
    let mut taken = 0;
    while let Some(claimed) = store.attempt_take_over(heir, &[]).await.unwrap() {
        let progress = &claimed.attempt.progress;
        if progress.touched {
            assert!(progress.previous.is_some(), "intent before act");
        }
        if progress.previous.is_none() {
            let event = previous('a');
            store.attempt_record(&claimed.lease, &event).await.unwrap();
        }
        let end = settled(
            fleet_types::AttemptStatus::Success,
            fleet_types::Reason::Updated,
            true,
        );
        store.attempt_record(&claimed.lease, &end).await.unwrap();
        taken += 1;
    }
    assert_eq!(taken, view.counts.updating, "none is left in updating");
    if active.state != RolloutState::Halting {
        store
            .rollout_verb(active.id, Verb::Abort, &actor())
            .await
            .unwrap();
    }
    let over = store.rollout_advance(active.id).await.unwrap();
    assert!(!over.state.is_active());
    store.worker_leave(heir).await.unwrap();
}

/// Rollouts without end by eight tasks, and hosts that come with a line each once they are durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run, and killed, by the tests above"]
async fn child() {
    let Ok(url) = std::env::var("STORE_TEST_URL") else {
        return;
    };
    let store = DieselStore::open(&url, StoreOptions::default()).await;
    let store = Arc::new(store.unwrap());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(tokio::spawn(work_for_ever(Arc::clone(&store))));
    }
    let prefix = uuid::Uuid::now_v7().simple().to_string();
    tasks.push(tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            println!("ready");
            for n in 0_u64.. {
                let name = format!("x{prefix}-{n}");
                store.host_add(vec![host(&name)], &actor()).await.unwrap();
                println!("{name}.");
            }
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

async fn work_for_ever(store: Arc<DieselStore>) {
    let me = NewWorker {
        process: ProcessId::current(),
        ..worker(false)
    };
    let id = store.worker_register(me).await.unwrap();
    loop {
        let rollout = match store.rollout_active().await.unwrap() {
            Some(active) => active.id,
            None => {
                let hosts = store.host_list().await.unwrap();
                let mut plan = plan(&hosts[..40.min(hosts.len())]);
                plan.policy.max_failure_percent = "100".parse().unwrap();
                match store.rollout_create(plan, None).await {
                    Ok(id) => id,
                    Err(TriggerError::Active { id, .. }) => id,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        store.rollout_attend(rollout, id).await.unwrap();
        match store.attempt_claim(rollout, id, &[]).await.unwrap() {
            Claim::Claimed(claimed) if claimed.attempt.stage % 2 == 0 => {
                roll_back(&store, &claimed.lease).await;
            }
            Claim::Claimed(claimed) => update(&store, &claimed.lease).await,
            Claim::Nothing(_) => {
                store.rollout_advance(rollout).await.unwrap();
            }
        }
    }
}
