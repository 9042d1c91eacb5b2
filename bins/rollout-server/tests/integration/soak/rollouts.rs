//! Rollouts, one after another, as somebody would start and steer them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use local_fleet::{InstallBehaviour, ReleaseSpec, ServiceBehaviour};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::checks::{Before, Wanted, between, check};
use super::evil::World;
use super::{Dice, Shared};
use crate::support::{Site, client};

/// A server that is stopped takes connections and answers nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// With faults all the time a rollout may take long, but it has to end.
const LONGEST: Duration = Duration::from_secs(300);

/// What every run begins with, however short it is.
const FIRST: [Course; 2] = [Course::Straight, Course::Bad];
/// So many more rollouts of good releases may follow when none was completed in time.
const LAST_TRIES: usize = 5;

/// Who asks the servers.
pub(super) struct Caller<'a> {
    site: &'a Site,
    world: &'a World<'a>,
    tokens: Vec<String>,
    asked: usize,
    /// The last event that was read.
    seen: i64,
    /// How the hosts were when the last rollout had ended.
    ended: Option<Before>,
    /// Commits on which no service stays up.
    bad: HashSet<String>,
    client: Client,
    book: Shared,
}

/// What is done with one rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Straight,
    Bad,
    Paused,
    Aborted,
    RolledBack,
}

impl<'a> Caller<'a> {
    pub(super) fn new(
        site: &'a Site,
        world: &'a World<'a>,
        tokens: Vec<String>,
        book: Shared,
    ) -> Self {
        Self {
            site,
            world,
            tokens,
            asked: 0,
            seen: 0,
            ended: None,
            bad: HashSet::new(),
            client: client(),
            book,
        }
    }

    /// One rollout after another until the time is over, two at least; the last one still comes to its end. If by then none
    /// of a good release was completed, a few more follow.
    #[expect(clippy::print_stdout, reason = "what it is run for")]
    pub(super) async fn rollouts(&mut self, mut dice: Dice, until: Instant) {
        let (mut number, mut late) = (0, 0);
        loop {
            let is_over = Instant::now() >= until && number >= FIRST.len();
            let completed = self.book.lock().unwrap().completed;
            if is_over && (completed > 0 || late == LAST_TRIES) {
                return;
            }
            late += usize::from(is_over);
            let drawn = match dice.roll(12) {
                _ if is_over => Course::Straight,
                0..=5 => Course::Straight,
                6..=7 => Course::Bad,
                8..=9 => Course::Paused,
                10 => Course::Aborted,
                _ => Course::RolledBack,
            };
            let course = FIRST.get(number).copied().unwrap_or(drawn);
            number += 1;
            let began = Instant::now();
            let line = match timeout(LONGEST, self.one(number, course, &mut dice)).await {
                Ok(line) => line,
                Err(_) => {
                    let why = format!("rollout {number} ({course:?}) did not end in {LONGEST:?}");
                    self.book.lock().unwrap().violations.push(why);
                    return;
                }
            };
            let seconds = began.elapsed().as_secs_f64();
            let mut book = self.book.lock().unwrap();
            let line = format!(
                "rollout {number} {course:?}: {line} in {seconds:.1} s; {} faults, {} violations so far",
                book.faults.len(),
                book.violations.len()
            );
            println!("{line}");
            book.ended.push(line);
        }
    }

    /// Makes a release, rolls it out, steers, waits for the end and checks.
    async fn one(&mut self, number: usize, course: Course, dice: &mut Dice) -> String {
        let install = InstallBehaviour::Slow(dice.millis(100, 700));
        let beat = Duration::from_millis(50);
        let spec = ReleaseSpec::good(format!("Release {number}")).install(install);
        let spec = match course {
            Course::Bad => spec.service(ServiceBehaviour::CrashLoop {
                up: beat,
                down: beat,
            }),
            _ => spec,
        };
        let fleet = self.site.fleet.as_ref().unwrap();
        let target = fleet.add_release(spec).await.unwrap().commit;
        if course == Course::Bad {
            self.bad.insert(target.clone());
        }
        let before = self.before().await;
        let wanted = Wanted {
            targets: before.all_to(&target),
            bad: self.bad.clone(),
            aborted: course == Course::Aborted,
        };
        let id = self
            .start("/api/updates/trigger", json!({ "all": true }))
            .await;
        let (pause, between) = (dice.millis(500, 6000), dice.millis(500, 8000));
        match course {
            Course::Paused => {
                sleep(pause).await;
                self.verb(&id, "pause").await;
                sleep(between).await;
                self.verb(&id, "resume").await;
            }
            Course::Aborted => {
                sleep(pause).await;
                self.verb(&id, "abort").await;
            }
            _ => {}
        }
        let (line, hosts) = self.end(&id, &before, &wanted).await;
        if course != Course::RolledBack {
            return line;
        }
        let wanted = Wanted {
            targets: before.back(&hosts),
            aborted: false,
            ..wanted
        };
        let before = self.before().await;
        let path = format!("/api/updates/rollouts/{id}/rollback");
        let back = self.start(&path, json!({})).await;
        if back.is_empty() {
            if !wanted.targets.is_empty() {
                let why = format!("{id}: nothing is said to be left to take back");
                self.book.lock().unwrap().violations.push(why);
            }
            return line;
        }
        let (back, _) = self.end(&back, &before, &wanted).await;
        format!("{line}, then back: {back}")
    }

    async fn before(&self) -> Before {
        let before = Before::of(self.site).await;
        if let Some(ended) = &self.ended {
            let found = between(self.site, ended, &before);
            self.book.lock().unwrap().violations.extend(found);
        }
        before
    }

    /// Waits for the end of a rollout and checks it. Says how it ended, and what is told of its hosts.
    async fn end(&mut self, id: &str, before: &Before, wanted: &Wanted) -> (String, Vec<Value>) {
        let path = format!("/api/updates/rollouts/{id}");
        let rollout = loop {
            let (_, body) = self.ask(Method::GET, &path, None, None).await;
            let rollout = body["rollout"].clone();
            let state = rollout["state"].as_str().unwrap_or_default();
            if ["completed", "completed_with_failures", "halted", "aborted"].contains(&state) {
                break rollout;
            }
            sleep(Duration::from_millis(200)).await;
        };
        let hosts = self.all(&format!("{path}/hosts?limit=100"), "hosts").await;
        let events = self.events(id).await;
        let state = rollout["state"].as_str().unwrap_or_default();
        let (site, book) = (self.site, &self.book);
        let found = check(site, before, wanted, state, &hosts, &events, book).await;
        self.ended = Some(Before::of(self.site).await);
        let mut book = self.book.lock().unwrap();
        book.violations
            .extend(found.into_iter().map(|why| format!("{id}: {why}")));
        book.completed += usize::from(state == "completed");
        (format!("{state} {}", rollout["counts"]), hosts)
    }

    async fn all(&mut self, path: &str, name: &str) -> Vec<Value> {
        let (_, body) = self.ask(Method::GET, path, None, None).await;
        body[name].as_array().cloned().unwrap_or_default()
    }

    /// The rollout's events.
    async fn events(&mut self, id: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let path = format!("/api/updates/events?after={}&limit=1000", self.seen);
            let page = self.all(&path, "events").await;
            let Some(last) = page.last() else { break };
            self.seen = last["seq"].as_i64().unwrap();
            all.extend(page);
        }
        all.retain(|event| event["rollout"] == id);
        all
    }

    /// Starts something under a key, so that asking again starts nothing more: its id, or nothing when there is nothing to
    /// do.
    async fn start(&mut self, path: &str, body: Value) -> String {
        let key = uuid::Uuid::now_v7().to_string();
        loop {
            let (status, answer) = self
                .ask(Method::POST, path, Some(body.clone()), Some(&key))
                .await;
            let id = answer["rollout"]["id"].as_str();
            match id {
                Some(id) if status.is_success() => return id.to_owned(),
                _ if answer["code"] == "nothing_left" => return String::new(),
                _ => sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// What comes too late is refused, which is fine.
    async fn verb(&mut self, id: &str, verb: &str) {
        let path = format!("/api/updates/rollouts/{id}/{verb}");
        self.ask(Method::POST, &path, Some(json!({})), None).await;
    }

    /// Asks one server after another until one can say something.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> (StatusCode, Value) {
        loop {
            self.asked += 1;
            let addresses = self.world.addresses();
            let address = &addresses[self.asked % addresses.len()];
            let token = &self.tokens[self.asked % self.tokens.len()];
            let url = format!("http://{address}{path}");
            let mut request = self
                .client
                .request(method.clone(), url)
                .bearer_auth(token)
                .timeout(PATIENCE);
            if let Some(body) = &body {
                request = request.json(body);
            }
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Ok(response) = request.send().await {
                let status = response.status();
                let known = !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS;
                if let (true, Ok(body)) = (known, response.json().await) {
                    return (status, body);
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
