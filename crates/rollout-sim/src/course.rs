//! The course of one run: things happen at random moments, then faults stop and everything has to come to its end.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::{Inventory, RolloutRecord, Rollouts};
use fleet_types::Timestamp;
use tokio::time::{Instant, sleep};
use update_engine::testing::{SimHost, SimRelease};

use crate::people::{actor, ask, edit, entry, name_of, resume_all, trigger};
use crate::process::Process;
use crate::schedule::RELEASES;
use crate::world::World;

/// One run under way.
pub(crate) struct Course {
    world: Arc<World>,
    processes: Vec<Process>,
    /// Entries that were ever made.
    entries: usize,
    jumps: bool,
}

impl Course {
    pub(crate) async fn new(world: &Arc<World>, jumps: bool) -> Self {
        let mut course = Self {
            world: Arc::clone(world),
            processes: Vec::new(),
            entries: 0,
            jumps,
        };
        course.build().await;
        course
    }

    async fn build(&mut self) {
        let world = Arc::clone(&self.world);
        let mut all = Vec::new();
        let mut twin = false;
        for number in 1..=world.schedule.hosts {
            twin = number > 1 && !twin && world.dice(|dice| dice.below(100) < world.schedule.twins);
            let origin = world.fleet.change_origin(|origin| origin.clone());
            if let Some(tip) = origin.branches.get("main") {
                world.fleet.add(&name_of(number), SimHost::on(tip, &origin));
            }
            all.push(entry(number, twin));
        }
        self.entries = all.len();
        if !all.is_empty() {
            match world.store.host_add(all, &actor()).await {
                Ok(entries) => world.check(|checker| checker.entered(&entries)),
                Err(error) => world.check(|checker| checker.violate("store", error.to_string())),
            }
        }
        self.release();
    }

    /// `main` goes on by a commit, good or bad, on some hosts otherwise than on others.
    fn release(&self) {
        let world = &self.world;
        let roll = |share| {
            world.dice(|dice| match dice.below(100) < share {
                true => dice.pick(&RELEASES).unwrap_or_default(),
                false => SimRelease::Good,
            })
        };
        let release = roll(world.schedule.bad);
        let commit = world
            .fleet
            .change_origin(|origin| origin.push("main", release));
        world.note(format_args!("main is at {commit}, {release:?}"));
        for number in 1..=self.entries {
            let own = roll(world.schedule.odd);
            if own != SimRelease::Good {
                world.fleet.change(&name_of(number), |host| {
                    host.releases.insert(commit.clone(), own);
                });
            }
        }
    }

    /// Everything that goes wrong.
    pub(crate) async fn happen(&mut self) {
        let world = Arc::clone(&self.world);
        for _ in 0..world.schedule.processes {
            self.start();
        }
        self.begin(false, None);
        for _ in 0..world.schedule.happenings {
            sleep(world.dice(|dice| dice.millis(world.schedule.apart))).await;
            self.processes.retain_mut(|process| !process.is_over());
            let infrastructure = !world.schedule.people || world.dice(|dice| dice.below(2) == 0);
            let what = match infrastructure {
                true => self.trouble(),
                false => self.interfere(),
            };
            *world.coverage().happenings.entry(what).or_default() += 1;
        }
        // What is under way comes to its end, or not.
        sleep(world.dice(|dice| dice.millis(120_000))).await;
    }

    fn start(&mut self) {
        let mut process = Process::new(&self.world);
        process.serve();
        self.processes.push(process);
    }

    /// Somebody starts a rollout.
    fn begin(&mut self, force: bool, key: Option<u64>) {
        let mut process = Process::new(&self.world);
        let gate = process.gate.clone();
        // The process is its own: what it is asked for it does by itself, and then works on it.
        let mut shell = Process::new(&self.world);
        shell.gate = gate;
        let task = async move {
            if let Err(error) = trigger(&mut process, force, key).await {
                process.gate.world().note(format_args!("refused: {error}"));
            }
            while !process.is_over() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        shell.spawn(task);
        self.processes.push(shell);
    }

    fn trouble(&mut self) -> &'static str {
        let world = Arc::clone(&self.world);
        let (kind, time, host) = world.dice(|dice| {
            let host = dice.between(1, self.entries.max(1) as u64);
            (dice.below(14), dice.between(500, 120_000), host)
        });
        let time = Duration::from_millis(time);
        let victim = world.dice(|dice| dice.below(self.processes.len() as u64));
        let victim = usize::try_from(victim).unwrap_or(0);
        let host = name_of(usize::try_from(host).unwrap_or(1));
        match kind {
            0 | 1 if self.processes.len() < 4 => {
                self.start();
                "a process starts"
            }
            2 if victim < self.processes.len() => {
                self.processes.swap_remove(victim).gate.kill();
                "a process is killed"
            }
            3 | 4 if victim < self.processes.len() => {
                self.processes[victim].gate.freeze(time);
                "a process stands still"
            }
            5 if victim < self.processes.len() => {
                self.processes[victim].gate.cut_off(time);
                "a process has no database"
            }
            6 if victim < self.processes.len() => {
                self.processes[victim].stop();
                "a process is asked to stop"
            }
            7 if victim < self.processes.len() => {
                self.processes[victim].abandon();
                "a process leaves at once"
            }
            8 if world.schedule.rates.connect > 0 => {
                world.note(format_args!("{host} cannot be reached for {time:?}"));
                world.darken(&host, Instant::now() + time);
                "a host cannot be reached"
            }
            9 if world.schedule.jumps => {
                let to = world.dice(|dice| dice.below(4_000_000_000_000));
                if self.jumps {
                    world.note(format_args!("the wall clock is set"));
                    world
                        .clock
                        .set_wall(Timestamp(i64::try_from(to).unwrap_or(0)));
                }
                "the wall clock is set"
            }
            10 => {
                self.release();
                "main goes on"
            }
            11 if victim < self.processes.len() => {
                self.processes[victim].gate.lose_key(time);
                "a process has no key"
            }
            12 => {
                let key = world.dice(|dice| dice.below(3));
                // How long keys are remembered is a matter of the wall clock.
                let key = Some(key).filter(|_| !world.schedule.jumps);
                self.begin(true, key);
                "a request is made once more"
            }
            _ => {
                self.begin(true, None);
                "a rollout is asked for"
            }
        }
    }

    /// People do what people do.
    fn interfere(&mut self) -> &'static str {
        let world = Arc::clone(&self.world);
        let kind = world.dice(|dice| dice.below(20));
        let number = world.dice(|dice| dice.between(1, self.entries.max(1) as u64));
        let number = usize::try_from(number).unwrap_or(1);
        let host = name_of(number);
        if kind < 12 {
            let mut process = Process::new(&world);
            let what = match kind {
                0..8 => {
                    ask(&mut process, kind.min(5));
                    ["pause", "resume", "resume", "abort", "retry", "rollback"]
                        [usize::try_from(kind.min(5)).unwrap_or(5)]
                }
                _ => {
                    edit(&mut process, number, kind - 8);
                    ["remove", "add", "clear", "edit"][usize::try_from(kind - 8).unwrap_or(3)]
                }
            };
            self.processes.push(process);
            return what;
        }
        let what = [
            "its service stops",
            "a file is edited",
            "sudo is taken away",
            "the disk is full",
            "the unit is gone",
            "a lock stays taken",
            "it is put right",
            "a file is in the way",
        ];
        let what = what[usize::try_from(kind - 12).unwrap_or(0)];
        world.interfere(&host, what, |host| match kind {
            12 => host.running = None,
            13 => host.edited = vec!["app.js".to_owned()],
            14 => host.sudo = false,
            15 => host.free_mib = 3,
            16 => host.unit_loaded = false,
            17 => host.locked = true,
            18 => put_right(host),
            _ => host.untracked_in_the_way = true,
        });
        what
    }

    /// Faults stop, one process lives, and everything comes to its end.
    pub(crate) async fn come_to_its_end(&mut self) {
        let world = Arc::clone(&self.world);
        world.calm_down();
        self.processes.retain_mut(|process| !process.is_over());
        for process in self.processes.drain(..) {
            process.gate.recover();
            if world.dice(|dice| dice.below(2) == 0) {
                process.gate.kill();
            } else {
                process.stop();
                // It ends by itself, or is one more that works.
                tokio::spawn(async move {
                    let mut process = process;
                    while !process.is_over() {
                        sleep(Duration::from_secs(1)).await;
                    }
                });
            }
        }
        for number in 1..=self.entries {
            world.interfere(&name_of(number), "it is put right", put_right);
        }
        self.start();
        self.until_free("L2").await;
        self.compare().await;
        if self.entries == 0 || world.violation().is_some() {
            return;
        }
        self.release();
        self.one_more().await;
        self.compare().await;
    }

    /// A free slot can be used.
    async fn one_more(&mut self) {
        let world = Arc::clone(&self.world);
        if world
            .store
            .host_list()
            .await
            .is_ok_and(|all| all.is_empty())
        {
            return;
        }
        let before = world.store.rollout_latest().await.ok().flatten();
        self.begin(true, None);
        sleep(Duration::from_secs(60)).await;
        let after = world.store.rollout_latest().await.ok().flatten();
        let same = before.map(|record| record.id) == after.map(|record| record.id);
        if same
            && !world.schedule.policy.stages.percents().is_empty()
            && !self.selects_nothing().await
        {
            world.check(|checker| {
                checker.violate("L3", "after all others a rollout cannot start".to_owned());
            });
        }
        self.until_free("L3").await;
    }

    /// The one host that was asked for may have left the fleet.
    async fn selects_nothing(&self) -> bool {
        let all = self.world.store.host_list().await.unwrap_or_default();
        (1..=4).any(|number| all.iter().all(|host| host.name.as_str() != name_of(number)))
    }

    async fn until_free(&self, invariant: &str) {
        let world = &self.world;
        let patience = Duration::from_secs(3600 + 900 * self.entries as u64);
        let began = Instant::now();
        world.check(|checker| checker.nobody_waited());
        loop {
            resume_all(world).await;
            world.check(|checker| checker.nobody_is_left_alone(world.schedule.poll));
            match world.store.rollout_active().await {
                Ok(None) => break,
                Ok(Some(record)) if began.elapsed() > patience => {
                    let text = format!(
                        "a rollout is {} in stage {} after {patience:?} without faults",
                        record.state, record.stage
                    );
                    return world.check(|checker| checker.violate(invariant, text));
                }
                Ok(Some(record)) => {
                    self.hosts_are_begun(&record).await;
                    sleep(Duration::from_secs(5)).await;
                }
                Err(error) => {
                    return world.check(|checker| checker.violate("store", error.to_string()));
                }
            }
            if world.violation().is_some() {
                return;
            }
        }
        let seconds = began.elapsed().as_secs();
        let mut coverage = world.coverage();
        *coverage.totals.entry("seconds to settle").or_default() += seconds;
    }

    /// Nobody waits for others without need.
    async fn hosts_are_begun(&self, record: &RolloutRecord) {
        let world = &self.world;
        if let Ok(attempts) = world.store.attempt_list(record.id).await {
            world.check(|checker| {
                checker.hosts_are_begun(record, &attempts, world.schedule.poll);
            });
        }
    }

    /// Everything on record against everything that was seen.
    async fn compare(&self) {
        let world = &self.world;
        let Ok(all) = world.store.rollout_list(None, 1000).await else {
            return;
        };
        for record in &all {
            let attempts = world
                .store
                .attempt_list(record.id)
                .await
                .unwrap_or_default();
            world.note(format_args!(
                "rollout {} ended {}, {:?}",
                record.id.short(),
                record.state,
                record.reason
            ));
            for attempt in &attempts {
                world.note(format_args!(
                    "  {} {} {:?}",
                    attempt.name, attempt.status, attempt.reason
                ));
            }
            world.check(|checker| {
                checker.seen(record);
                checker.over(record, &attempts);
            });
            let state = record.state.to_string();
            *world.coverage().states.entry(state).or_default() += 1;
        }
        match world.store.consistency_check().await {
            Ok(wrong) if wrong.is_empty() => {}
            Ok(wrong) => world.check(|checker| checker.violate("I20", wrong.join("; "))),
            Err(error) => world.check(|checker| checker.violate("store", error.to_string())),
        }
    }
}

fn put_right(host: &mut SimHost) {
    host.sudo = true;
    host.unit_loaded = true;
    host.locked = false;
    host.free_mib = 10_000;
    host.edited.clear();
    host.untracked_in_the_way = false;
}
