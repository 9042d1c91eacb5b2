//! How many durable state changes a second one process makes: claims, steps and outcomes with their events, by 64 callers
//! at once.
//!
//! `cargo run --release -p fleet-store --example bench_transitions [-- URL [HOSTS [CALLERS]]]`; without a URL on an SQLite
//! file in a temporary folder.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use fleet_store::*;
use fleet_types::{
    AppSettings, AttemptStatus, HostEvent, Outcome, Policy, Previous, Reason, RolloutId,
    RolloutKind, StepId, StepOutput, StepTimeouts, WorkerId,
};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = tempfile::tempdir()?;
    let url = arguments
        .next()
        .unwrap_or_else(|| format!("sqlite://{}/store.db", folder.path().display()));
    let hosts: u32 = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let callers: u32 = arguments.next().map_or(Ok(64), |text| text.parse())?;

    let store = Arc::new(DieselStore::open(&url, StoreOptions::default()).await?);
    let began = Instant::now();
    let new = (0..hosts).map(host).collect::<Fallible<Vec<_>>>()?;
    let added = store.host_add(new, &Actor::local("bench")).await?;
    println!("{hosts} hosts added in {:?}", began.elapsed());

    let began = Instant::now();
    let worker = WorkerId(uuid::Uuid::now_v7());
    let rollout = store
        .rollout_create(plan(&added, callers)?, Some(new_worker(worker)))
        .await?;
    println!("rollout created in {:?}", began.elapsed());

    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(work(store, rollout, worker)));
    }
    let renewing = Arc::clone(&store);
    let renewals = tokio::spawn(async move {
        while renewing.worker_renew(worker).await.is_ok() {
            tokio::time::sleep(renewing.lease_times().renew).await;
        }
    });
    let mut transitions = 0_u64;
    for task in tasks {
        transitions += task.await??;
    }
    let took = began.elapsed();
    renewals.abort();
    let rate = f64::from(u32::try_from(transitions)?) / took.as_secs_f64();
    println!("{transitions} transitions by {callers} callers in {took:?}: {rate:.0} a second");

    let began = Instant::now();
    let status = store.status().await?;
    println!(
        "status of {} hosts in {:?}",
        status.fleet.hosts,
        began.elapsed()
    );
    let began = Instant::now();
    let views = store.host_views(None).await?.len();
    println!("{views} hosts read in {:?}", began.elapsed());
    let began = Instant::now();
    let state = store.rollout_advance(rollout).await?.state;
    println!("rollout {state} in {:?}", began.elapsed());
    Ok(())
}

/// Takes hosts through their whole update until none is left; answers how many changes that were.
async fn work(store: Arc<DieselStore>, rollout: RolloutId, worker: WorkerId) -> Fallible<u64> {
    let mut transitions = 0;
    loop {
        let claimed = match store.attempt_claim(rollout, worker, &[]).await? {
            Claim::Claimed(claimed) => claimed,
            Claim::Nothing(Idle::Full) => continue,
            Claim::Nothing(_) => return Ok(transitions),
        };
        transitions += 1;
        for event in events()? {
            store.attempt_record(&claimed.lease, &event).await?;
            transitions += 1;
        }
    }
}

fn events() -> Fallible<Vec<HostEvent>> {
    let mut events = vec![];
    let mut step = |step| {
        events.push(HostEvent::StepStarted {
            step,
            limit_seconds: 60,
        });
        events.push(HostEvent::StepFinished {
            step,
            duration_ms: 900,
            output: StepOutput {
                exit: Some(0),
                stdout: "From example.org:app\n * branch main -> FETCH_HEAD\n".repeat(4),
                stderr: String::new(),
                total_bytes: 200,
            },
        });
    };
    step(StepId::Inspect);
    step(StepId::Pull);
    step(StepId::Install);
    step(StepId::Restart);
    step(StepId::Verify);
    let previous = Previous {
        version: "a".repeat(40).parse()?,
        branch: Some("main".to_owned()),
        was_active: true,
    };
    events.insert(2, HostEvent::PreviousKnown { previous });
    events.push(HostEvent::Settled {
        outcome: Outcome {
            status: AttemptStatus::Success,
            reason: Reason::Updated,
            step: None,
            touched: true,
            needs_attention: false,
            message: String::new(),
            version: Some("b".repeat(40).parse()?),
        },
    });
    Ok(events)
}

fn host(number: u32) -> Fallible<NewHost> {
    Ok(NewHost {
        name: format!("host-{number:05}").parse()?,
        spec: HostSpec {
            address: format!("host-{number:05}.example.org").parse()?,
            port: 22,
            user: "deploy".parse()?,
            key: None,
            jump: Vec::new(),
            app: AppSettings {
                repo: "/srv/app".parse()?,
                remote: "origin".parse()?,
                branch: "main".parse()?,
                install: "bun install".to_owned(),
                service: "app".parse()?,
                verify: None,
                generated: vec!["bun.lock".to_owned(), "bun.lockb".to_owned()],
                min_free_mib: 200,
                timeouts: StepTimeouts::default(),
            },
        },
        labels: BTreeMap::new(),
        owner: None,
    })
}

fn plan(hosts: &[HostRecord], callers: u32) -> Fallible<NewRollout> {
    let planned = hosts.iter().map(|host| PlannedHost {
        host: host.id,
        from: None,
        to: None,
    });
    Ok(NewRollout {
        kind: RolloutKind::Update,
        hosts: planned.collect(),
        target: Some("b".repeat(40).parse()?),
        target_ref: "main".to_owned(),
        policy: Policy {
            stages: "100".parse()?,
            max_in_flight: callers,
            ..Policy::default()
        },
        source: None,
        actor: Actor::local("bench"),
        message: None,
        force: true,
        request: None,
    })
}

fn new_worker(id: WorkerId) -> NewWorker {
    NewWorker {
        id,
        label: "bench".to_owned(),
        serves: false,
        process: ProcessId::current(),
    }
}
