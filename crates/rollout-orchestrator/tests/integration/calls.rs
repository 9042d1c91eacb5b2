//! One call of the store fails, the first, the second, and on until a run ends without having come to it. Whatever the
//! database says and whenever it says it, each host ends where it should, on the real databases and in real time.
//!
//! Some of the calls are tried by default, others each day; with `all` in `ROLLOUT_TEST_CALLS` every one of them is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fleet_store::*;
use fleet_testkit::{Postgres, is_left_out};
use fleet_types::*;
use rollout_orchestrator::*;
use ssh_exec::Identity;
use tokio::task::JoinSet;
use update_engine::testing::SimRelease;

use crate::world::*;

/// By default one call in so many is tried.
const STRIDE: usize = 16;
/// A run that takes longer has no end.
const LIMIT: Duration = Duration::from_secs(60);
/// How each host ends, whatever the database says on the way.
const ENDS: [&str; 2] = ["web-01 success/updated", "web-02 rolled_back/crash_loop"];

const TIMES: LeaseTimes = LeaseTimes {
    lease: Duration::from_millis(1000),
    renew: Duration::from_millis(200),
    fence: Duration::from_millis(600),
    slot_grace: Duration::from_millis(50),
};

/// What SQLite can say, and PostgreSQL.
const OF_A_FILE: [CallFault; 7] = [
    CallFault::Busy,
    CallFault::Io,
    CallFault::Full,
    CallFault::LostAfter,
    CallFault::Twice,
    CallFault::ReadOnly,
    CallFault::Uncommitted,
];
const OF_A_SERVER: [CallFault; 9] = [
    CallFault::Busy,
    CallFault::Io,
    CallFault::Full,
    CallFault::Lost,
    CallFault::LostAfter,
    CallFault::Race,
    CallFault::Twice,
    CallFault::ReadOnly,
    CallFault::Uncommitted,
];

/// Counts the calls of one process, and lets one of them fail.
struct FailsAt {
    number: usize,
    fault: CallFault,
    calls: AtomicUsize,
}

impl FailsAt {
    fn was_met(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.number
    }
}

impl fmt::Debug for FailsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at call {}", self.fault, self.number)
    }
}

impl CallWatch for FailsAt {
    fn begins(&self, _: &str) -> Option<CallFault> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        (number == self.number).then_some(self.fault)
    }

    fn at(&self, _: &str, _: CallMoment, _: &[String]) {}
}

/// Says once, at this call, what nobody expects of a database.
#[derive(Debug)]
struct SaysOnce(&'static str, AtomicUsize);

impl CallWatch for SaysOnce {
    fn begins(&self, call: &str) -> Option<CallFault> {
        let first = call == self.0 && self.1.fetch_add(1, Ordering::SeqCst) == 0;
        first.then_some(CallFault::Twice)
    }

    fn at(&self, _: &str, _: CallMoment, _: &[String]) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_once_ends_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    for call in ["rollout_advance", "attempt_claim", "rollout_get"] {
        let url = format!("sqlite://{}/{call}.db", folder.path().display());
        prepare(&url).await;
        let says = Arc::new(SaysOnce(call, AtomicUsize::new(0)));
        let options = StoreOptions {
            lease_times: TIMES,
            watch: Some(Arc::clone(&says) as Arc<dyn CallWatch>),
            ..StoreOptions::default()
        };
        let mut world = World::new(2).await;
        world.breaks(&[2], SimRelease::CrashLoops);
        world.store = Arc::new(open(&url, None).await);
        let store = DieselStore::open(&url, options).await.unwrap();
        first(&world, store).await.unwrap();
        assert!(says.1.load(Ordering::SeqCst) > 1, "{call} was not met");
        let id = latest(&world).await.unwrap();
        assert_eq!(world.outcomes(id).await, ENDS, "{call}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_call_fails_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = |fault| format!("sqlite://{}/{fault:?}.db", folder.path().display());
    try_all("SQLite", OF_A_FILE.map(|fault| (fault, url(fault)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_call_fails_on_a_server() {
    if is_left_out("postgres") {
        return;
    }
    let server = Postgres::shared();
    let url = |_| server.url(&server.new_database());
    try_all("PostgreSQL", OF_A_SERVER.map(|fault| (fault, url(fault)))).await;
}

/// Tries every fault, each on a database of its own, side by side.
#[expect(clippy::print_stdout, reason = "figures to publish")]
async fn try_all<const N: usize>(name: &str, faults: [(CallFault, String); N]) {
    let all = std::env::var("ROLLOUT_TEST_CALLS").is_ok_and(|wish| wish == "all");
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let today = usize::try_from(days.as_secs() / (24 * 60 * 60)).unwrap();
    let (first, stride) = match all {
        true => (1, 1),
        false => (1 + today % STRIDE, STRIDE),
    };
    let mut trying = JoinSet::new();
    for (fault, url) in faults {
        trying.spawn(async move {
            let since = Instant::now();
            prepare(&url).await;
            let mut number = first;
            let mut runs = 1;
            while run_with(&url, fault, number).await {
                (number, runs) = (number + stride, runs + 1);
            }
            (fault, runs, since.elapsed())
        });
    }
    while let Some(tried) = trying.join_next().await {
        let (fault, runs, took) = tried.unwrap();
        println!(
            "| {name} | {fault:?} | {runs} | {:.0} s |",
            took.as_secs_f64()
        );
    }
}

/// A database with the fleet in it.
async fn prepare(url: &str) {
    let store = open(url, None).await;
    let hosts = [1, 2].map(|number| sample_host(&name_of(number)));
    store.host_add(hosts.to_vec(), &actor()).await.unwrap();
}

async fn open(url: &str, watch: Option<Arc<FailsAt>>) -> DieselStore {
    let options = StoreOptions {
        lease_times: TIMES,
        watch: watch.map(|watch| watch as Arc<dyn CallWatch>),
        ..StoreOptions::default()
    };
    DieselStore::open(url, options).await.unwrap()
}

/// One rollout whose process meets this at that call; another one finishes what it leaves. False when it did not get there.
async fn run_with(url: &str, fault: CallFault, number: usize) -> bool {
    let fails = Arc::new(FailsAt {
        number,
        fault,
        calls: AtomicUsize::default(),
    });
    let mut world = World::new(2).await;
    world.breaks(&[2], SimRelease::CrashLoops);
    world.store = Arc::new(open(url, None).await);
    let before = latest(&world).await;
    let case = format!("{url} {fails:?}");
    let ran = tokio::time::timeout(LIMIT, async {
        let said = match first(&world, open(url, Some(Arc::clone(&fails))).await).await {
            Ok(()) => "well".to_owned(),
            Err(error) => error,
        };
        let over = finish(&world, before).await;
        (said, over)
    });
    let (said, id) = ran.await.unwrap_or_else(|_| panic!("{case}: no end"));
    let case = format!("{case}; the first ended: {said}");
    assert_eq!(world.outcomes(id).await, ENDS, "{case}");
    assert_eq!(
        world.record(id).await.state,
        RolloutState::CompletedWithFailures,
        "{case}"
    );
    let wrong = world.store.consistency_check().await.unwrap();
    assert!(wrong.is_empty(), "{case}: {wrong:?}");
    world.check_truth(id).await;
    // A service is restarted again only where an attempt was begun again, by the same worker or by another one: then under
    // an epoch of its own.
    for name in world.names() {
        let received = world.fleet.host(&name).unwrap().received;
        let restarts = received.iter().filter(|c| c.name == "restart" && c.ran);
        let mut epochs: Vec<_> = restarts.map(|restart| restart.epoch).collect();
        let all = epochs.len();
        epochs.dedup();
        assert_eq!(epochs.len(), all, "{case}: {received:?}");
    }
    // One whose goodbye failed is alive until its lease has run out.
    until(async || world.store.worker_alive().await.unwrap().is_empty()).await;
    world.check_all_left().await;
    fails.was_met()
}

async fn latest(world: &World) -> Option<RolloutId> {
    world
        .store
        .rollout_latest()
        .await
        .unwrap()
        .map(|found| found.id)
}

fn process(world: &World, store: Arc<DieselStore>) -> Orchestrator {
    let settings = OrchestratorSettings {
        ssh: SshDefaults {
            identity: Some(Identity::Agent("/agent".into())),
            ..SshDefaults::default()
        },
        poll: Duration::from_millis(50),
        ..OrchestratorSettings::default()
    };
    Orchestrator::new(store, Arc::new(world.network.clone()), settings)
}

fn quick() -> Policy {
    Policy {
        settle: Duration::from_millis(30),
        ..in_one_go()
    }
}

/// The process that meets it: from the plan to the end of its work, or to the error with which it gives up.
async fn first(world: &World, store: DieselStore) -> Result<(), String> {
    let orchestrator = process(world, Arc::new(store));
    let plan = orchestrator.plan(&all(quick())).await;
    let plan = plan.map_err(|error| format!("plan: {error}"))?;
    let me = who("first");
    let id = orchestrator.trigger(&plan, Some(me.clone())).await;
    let id = id.map_err(|error| format!("trigger: {error}"))?;
    let worker = Worker::start_registered(&orchestrator, me, WorkMode::One(id)).await;
    let mut worker = worker.map_err(|error| format!("start: {error}"))?;
    let finished = worker.finished().await;
    finished.map(drop).map_err(|error| format!("work: {error}"))
}

/// Whoever comes next finishes what is left, or begins what was not begun.
async fn finish(world: &World, before: Option<RolloutId>) -> RolloutId {
    let orchestrator = process(world, Arc::clone(&world.store));
    let id = match latest(world).await {
        found if found == before => {
            let plan = orchestrator.plan(&all(quick())).await.unwrap();
            orchestrator.trigger(&plan, None).await.unwrap()
        }
        found => found.unwrap(),
    };
    orchestrator.drive(id, who("second")).await.unwrap();
    id
}
