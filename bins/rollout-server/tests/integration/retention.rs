//! What steps printed goes some days after the end of their rollout; what came of them stays.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::*;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Base, Running, Site, until};

on_each_database! {
    old_outputs_go_while_the_server_runs
    for_ever_is_for_ever
}

/// The clocks of this machine so many days ago.
#[derive(Debug)]
struct Ago(SystemClock, Duration);

impl Clock for Ago {
    fn now(&self) -> Timestamp {
        let ago = i64::try_from(self.1.as_millis()).unwrap();
        Timestamp(self.0.now().0 - ago)
    }

    fn lease_moment(&self) -> LeaseMoment {
        self.0.lease_moment()
    }
}

/// A rollout of one host that ended so many days ago, and printed something.
async fn ended(site: &Site, days: u64) -> RolloutId {
    let clock = Ago(SystemClock::new(), Duration::from_secs(days * 86_400));
    let options = StoreOptions {
        clock: Arc::new(clock),
        ..StoreOptions::default()
    };
    let store = DieselStore::open(site.database_url(), options)
        .await
        .unwrap();
    let actor = Actor::local("test");
    let known = store.host_list().await.unwrap();
    let host = match known.into_iter().next() {
        Some(host) => host,
        None => add_host(&store).await,
    };
    let worker = NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: "test".to_owned(),
        serves: false,
        process: None,
    };
    let me = worker.id;
    let plan = NewRollout {
        kind: RolloutKind::Update,
        hosts: vec![PlannedHost {
            host: host.id,
            from: None,
            to: None,
        }],
        target: Some("b".repeat(40).parse().unwrap()),
        target_ref: "main".to_owned(),
        policy: Policy::default(),
        source: None,
        actor,
        message: None,
        force: true,
        request: None,
    };
    let id = store.rollout_create(plan, Some(worker)).await.unwrap();
    let Claim::Claimed(claimed) = store.attempt_claim(id, me, &[]).await.unwrap() else {
        panic!("nothing to do");
    };
    let step = StepId::Inspect;
    let output = StepOutput {
        exit: Some(3),
        stdout: format!("{days} days ago"),
        stderr: String::new(),
        total_bytes: 4711,
    };
    let outcome = Outcome {
        status: AttemptStatus::Failed,
        reason: Reason::DirtyTree,
        step: Some(step),
        touched: false,
        needs_attention: false,
        message: "somebody works there".to_owned(),
        version: None,
    };
    for event in [
        HostEvent::StepStarted {
            step,
            limit_seconds: 60,
        },
        HostEvent::StepFailed {
            step,
            reason: Reason::DirtyTree,
            message: "somebody works there".to_owned(),
            duration_ms: 12,
            output,
        },
        HostEvent::Settled { outcome },
    ] {
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    store.rollout_advance(id).await.unwrap();
    store.worker_leave(me).await.unwrap();
    id
}

async fn add_host(store: &DieselStore) -> HostRecord {
    let spec = serde_json::json!({
        "address": "127.0.0.1", "port": 9, "user": "nobody", "key": null, "jump": [],
        "app": {
            "repo": "/srv/app", "remote": "origin", "branch": "main", "install": "true", "service": "app",
            "verify": null, "generated": [], "min_free_mib": 1, "timeouts": {},
        },
    });
    let host = NewHost {
        name: "web-1".parse().unwrap(),
        spec: serde_json::from_value(spec).unwrap(),
        labels: [].into(),
        owner: None,
    };
    let added = store.host_add(vec![host], &Actor::local("test")).await;
    added.unwrap().remove(0)
}

/// The one step of that rollout.
async fn step(server: &Running, id: RolloutId) -> Value {
    let path = format!("/api/updates/rollouts/{id}/hosts/web-1/output");
    let (status, body) = server.get(&path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["steps"].as_array().unwrap().len(), 1, "{body}");
    body["steps"][0].clone()
}

fn is_removed(step: &Value) -> bool {
    let removed = !step["removed_after_days"].is_null();
    assert_eq!(step["stdout"] == "", removed, "{step}");
    removed
}

async fn old_outputs_go_while_the_server_runs(base: Base) {
    let site = Site::without_hosts_on(base).await;
    let (old, young) = (ended(&site, 31).await, ended(&site, 29).await);
    let mut server = site.serve().await;
    let gone = until("the old output is removed", async || {
        Some(step(&server, old).await).filter(is_removed)
    })
    .await;
    for (field, value) in [
        ("removed_after_days", Value::from(30)),
        ("step", "inspect".into()),
        ("exit", 3.into()),
        ("total_bytes", 4711.into()),
        ("reason", "dirty_tree".into()),
        ("message", "somebody works there".into()),
        ("stderr", "".into()),
    ] {
        assert_eq!(gone[field], value, "{gone}");
    }
    assert!(gone["finished_at"].is_string() && gone["duration_seconds"].is_number());
    let said = server
        .has_said("old outputs of steps were removed outputs=1 days=30")
        .await;
    assert_eq!(said.matches("old outputs").count(), 1, "{said}");
    let kept = step(&server, young).await;
    assert_eq!(
        (is_removed(&kept), &kept["stdout"]),
        (false, &"29 days ago".into())
    );

    let text = server.send(Method::GET, "/metrics", None).await;
    let text = text.text().await.unwrap();
    assert!(
        text.contains("rollout_server_step_outputs_removed_total 1\n"),
        "{text}"
    );
    let (status, _) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    // It waits for the next hour, which keeps nobody.
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert!(status.success(), "{}", server.said());
    assert!(took < Duration::from_secs(20), "{took:?}");
    site.end().await;
}

async fn for_ever_is_for_ever(base: Base) {
    let site = Site::without_hosts_on(base).await;
    let (oldest, old) = (ended(&site, 4000).await, ended(&site, 31).await);
    site.configure("[history]\noutput_days = 0\n");
    let mut server = site.serve().await;
    server.stop().await;
    assert!(!server.said().contains("old outputs"), "{}", server.said());
    let text = std::fs::read_to_string(site.path("rollout.toml")).unwrap();
    let text = text.replace("output_days = 0", "output_days = 100");
    std::fs::write(site.path("rollout.toml"), text).unwrap();
    let mut server = site.serve().await;
    // None went before: the oldest goes now.
    server.has_said("were removed outputs=1 days=100").await;
    let gone = step(&server, oldest).await;
    assert_eq!(gone["removed_after_days"], 100);
    assert!(!is_removed(&step(&server, old).await));
    server.stop().await;
    site.end().await;
}
