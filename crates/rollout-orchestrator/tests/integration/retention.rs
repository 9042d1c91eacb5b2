//! What steps printed goes some days after the end of their rollout.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_store::*;
use rollout_orchestrator::*;
use tokio::time::{Instant, timeout};
use update_engine::testing::SimRelease;

use crate::world::*;

const HOUR: Duration = Duration::from_secs(3600);

fn month() -> NonZeroU32 {
    NonZeroU32::new(30).unwrap()
}

/// A store that gives these answers, and notes when it was asked.
#[derive(Debug)]
struct Scripted {
    began: Instant,
    answers: Mutex<VecDeque<Option<(u32, bool)>>>,
    asked: Mutex<Vec<Duration>>,
}

impl Scripted {
    fn new(answers: &[Option<(u32, bool)>]) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            answers: Mutex::new(answers.iter().copied().collect()),
            asked: Mutex::default(),
        })
    }
}

#[async_trait::async_trait]
impl Outputs for Scripted {
    async fn outputs_remove(
        &self,
        kept_days: NonZeroU32,
        limit: u32,
    ) -> Result<OutputsRemoved, StoreError> {
        assert_eq!((kept_days, limit), (month(), 500));
        self.asked.lock().unwrap().push(self.began.elapsed());
        let answer = self.answers.lock().unwrap().pop_front();
        match answer.unwrap_or(Some((0, false))) {
            Some((outputs, more)) => Ok(OutputsRemoved { outputs, more }),
            None => Err(StoreError::Unavailable {
                cause: "scripted".to_owned(),
            }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_every_hour_whatever_the_store_says() {
    let store = Scripted::new(&[
        Some((100, true)),
        Some((80, true)),
        Some((7, false)),
        None,
        Some((3, true)),
        None,
        Some((1, false)),
    ]);
    let told = Mutex::new(Vec::new());
    let retention = Retention::new(Arc::clone(&store) as _, month());
    let run = retention.run(|outputs| told.lock().unwrap().push(outputs));
    assert!(timeout(4 * HOUR, run).await.is_err(), "it never ends");
    let asked = store.asked.lock().unwrap().clone();
    // Others have their turn between two transactions.
    let pauses: Vec<Duration> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    let pause = Duration::from_millis(50);
    assert_eq!(pauses, [pause, pause, HOUR, HOUR, pause, HOUR]);
    assert_eq!(told.into_inner().unwrap(), [100, 80, 7, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn once_ends_when_all_is_done_or_the_store_fails() {
    for (answers, asked, ok) in [
        (vec![Some((9, true)), Some((0, false))], 2, true),
        (vec![Some((9, true)), None, Some((9, false))], 2, false),
        (vec![], 1, true),
    ] {
        let store = Scripted::new(&answers);
        let retention = Retention::new(Arc::clone(&store) as _, month());
        assert_eq!(retention.run_once().await.is_ok(), ok);
        assert_eq!(store.asked.lock().unwrap().len(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_month_after_the_end_the_text_is_gone() {
    let world = World::new(3).await;
    world.breaks(&[2], SimRelease::InstallFails);
    let orchestrator = world.orchestrator();
    let record = run(&orchestrator, in_one_go()).await;
    let printed = async || {
        let mut bytes = 0;
        for attempt in world.attempts(record.id).await {
            let steps = world.store.attempt_steps(record.id, &attempt.name);
            for step in steps.await.unwrap() {
                bytes += step.output.stdout.len() + step.output.stderr.len();
            }
        }
        bytes
    };
    let before = printed().await;
    assert!(before > 0);
    let outcomes = world.outcomes(record.id).await;
    let retention = Retention::new(Arc::clone(&world.store) as _, month());
    let run = retention.run(|_| {});
    // A little before a month, and then on: it is removed when its time has come, at the next look.
    world.freeze(30 * 24 * HOUR - HOUR / 2);
    let look = async {
        tokio::time::sleep(HOUR / 4).await;
        let early = printed().await;
        tokio::time::sleep(HOUR).await;
        (early, printed().await)
    };
    tokio::select! {
        () = run => {}
        (early, late) = look => assert_eq!((early, late), (before, 0)),
    }
    assert_eq!(world.outcomes(record.id).await, outcomes);
}
