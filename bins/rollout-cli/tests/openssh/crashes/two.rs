//! Two servers on one PostgreSQL share the rollout. The one that comes to the moment first meets the fault, the other one
//! takes over.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fleet_testkit::{Door, Postgres};
use fleet_types::RolloutId;
use serde_json::{Value, json};

use super::cell::{Cell, Fault, Way};
use super::ground::Ground;
use super::server::{ANSWER, PATIENCE, Server};

/// Three hosts of which two are under way at once: whoever begins has two, and there is one more for the other server.
pub(super) const HOSTS: usize = 3;
/// The checks are kept out: this is about rollouts.
pub(super) const MORE: &str =
    "max_in_flight = 2\nmax_failures = 100\n[health]\nevery = 3600\nfix = false\n";
/// How long one server has no database: past its lease of 2 s.
const OUTAGE: Duration = Duration::from_secs(4);
/// For a rollout to be over, with a server that is stopped in the midst of it.
const LIMIT: Duration = Duration::from_secs(240);
/// How often a server is asked how the rollout stands. Every answer costs the work of the store, for the other cells too.
const ASKED_AGAIN: Duration = Duration::from_millis(500);
/// A server looks this often whether it is alive on the store.
const BEAT: Duration = Duration::from_millis(1200);

/// The database that both servers are on.
#[derive(Debug)]
pub(super) struct Shared {
    database: String,
    token: String,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Fault,
    /// All is over, and neither server came to that moment.
    Nothing,
    /// It stood still before it heard of the rollout: there is none.
    TooEarly,
}

/// What one server came to.
#[derive(Debug)]
struct Sprung {
    /// The number of its process.
    by: u32,
    /// The host that brought it there, or the call.
    host: String,
}

impl Shared {
    /// A new database.
    pub(super) fn new() -> Self {
        Self {
            database: Postgres::shared().new_database(),
            token: String::new(),
        }
    }

    pub(super) fn url(&self) -> String {
        Postgres::shared().url(&self.database)
    }

    /// Lets the test in over HTTP.
    pub(super) fn sign_in(&mut self, ground: &Ground) {
        let made: Value = ground
            .site
            .program
            .ask(&["tokens", "create", "robot", "--role", "admin"]);
        made["token"].as_str().unwrap().clone_into(&mut self.token);
    }

    fn takeovers(&self) -> String {
        let asked = "SELECT count(*) FROM events WHERE kind = 'host.taken_over'";
        Postgres::shared().sql(&self.database, asked)
    }
}

impl Ground {
    /// Lets one of two servers meet its fault, and sees that the rollout comes to its end; otherwise what is wrong.
    pub(super) fn meet_with_two(&self, cell: Cell, target: &str) -> Result<Met, String> {
        let shared = self.shared.as_ref().unwrap();
        let (point, flag) = (cell.point(), self.flag());
        let variables = [
            ("ROLLOUT_CRASH_POINT", point.as_str()),
            ("ROLLOUT_CRASH_FLAG", flag.to_str().unwrap()),
        ];
        let start = |name| {
            let door = Door::to(Postgres::shared().port());
            let through = shared.url().replace(
                &format!(":{}/", Postgres::shared().port()),
                &format!(":{}/", door.port()),
            );
            Server::start(&self.site, name, &through, &variables).map(|server| (server, door))
        };
        let mut asked = start("asked")?;
        let mut other = start("other")?;
        let before = shared.takeovers();
        let body = body(cell, target);
        let latest = self.latest();
        // One that is killed or stopped early on owes no answer, nor one that waits at the very call that was asked for.
        let creates = point.contains("rollout_create");
        let owes = !creates && !matches!(cell.fault, Fault::Kill | Fault::Stop | Fault::Sleep);
        let patience = if owes { PATIENCE } else { ANSWER };
        let (site, token) = (&self.site, &shared.token);
        let answer = asked.0.trigger(site, token, &body, patience);
        if cell.way() == Way::Aborts {
            self.abort(&other.0)?;
        }
        if owes {
            answer?;
        }
        let Some(sprung) = self.sprung_in([&mut asked.0, &mut other.0], latest)? else {
            other.0.stop()?;
            asked.0.stop()?;
            return Ok(Met::Nothing);
        };
        let ((mut first, door), (mut second, _open)) = match sprung.by == asked.0.id() {
            true => (asked, other),
            false => (other, asked),
        };
        let stands = matches!(cell.fault, Fault::Stop | Fault::Sleep);
        if stands && !creates && self.latest() == latest {
            // What it was asked for would come later, by itself and unasked.
            drop(first);
            fs::remove_file(&flag).unwrap();
            let met = match self.latest() == latest {
                true => Met::TooEarly,
                false => Met::Nothing,
            };
            self.comes_to_an_end(&mut second)?;
            second.stop()?;
            return Ok(met);
        }
        match cell.fault {
            Fault::Kill => {
                first.is_killed()?;
                fs::remove_file(&flag).unwrap();
                if self.latest() == latest {
                    second.trigger(site, token, &body, PATIENCE)?;
                }
            }
            Fault::Ssh => {
                self.cut(cell, &sprung.host)?;
                fs::remove_file(&flag).unwrap();
            }
            Fault::Database => {
                door.close();
                fs::remove_file(&flag).unwrap();
                sleep(OUTAGE);
                door.open();
                if creates && self.latest() == latest {
                    // Its caller gave up; it may still be at it.
                    match second.trigger(site, token, &body, PATIENCE) {
                        Err(refused) if !refused.starts_with("409") => return Err(refused),
                        _ => {}
                    }
                }
            }
            Fault::Stop => {
                let since = Instant::now();
                while shared.takeovers() == before && self.is_on(&second, PATIENCE)? {
                    if since.elapsed() > LIMIT {
                        return Err(format!("nothing was taken over: {}", second.said()));
                    }
                    sleep(ASKED_AGAIN);
                }
                fs::remove_file(&flag).unwrap();
                first.wake()?;
            }
            Fault::Sleep => {
                self.comes_to_an_end(&mut second)?;
                fs::remove_file(&flag).unwrap();
                first.wake()?;
            }
        }
        self.comes_to_an_end(&mut second)?;
        self.was_cut()?;
        if cell.fault != Fault::Kill {
            self.is_well(&mut first)?;
            first.stop().map_err(|why| format!("the first: {why}"))?;
        }
        self.is_well(&mut second)?;
        second.stop().map_err(|why| format!("the second: {why}"))?;
        Ok(Met::Fault)
    }

    /// Asks for an end of the rollout as soon as a host is under way.
    fn abort(&self, server: &Server) -> Result<(), String> {
        let shared = self.shared.as_ref().unwrap();
        let since = Instant::now();
        loop {
            let status = server.status(&self.site, &shared.token, ANSWER);
            let rollout = status.ok().and_then(|status| status.rollout);
            if rollout.is_some_and(|rollout| rollout.counts.updating > 0) {
                self.site.program.expect(0, &["abort"]);
                return Ok(());
            }
            if since.elapsed() > LIMIT {
                return Err(format!("nothing to abort: {}", server.said()));
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until one of the servers is at its moment. None when all is over before.
    fn sprung_in(
        &self,
        mut servers: [&mut Server; 2],
        before: Option<RolloutId>,
    ) -> Result<Option<Sprung>, String> {
        let since = Instant::now();
        loop {
            // The other way round, one could spring between the two looks. A rollout that has not begun is not over.
            let ended = has_ended(&mut servers);
            let on = self.is_on(servers[1], ANSWER);
            let over = matches!(on, Ok(false)) && self.latest() != before;
            if let Some(sprung) = self.springs(&mut servers) {
                return Ok(Some(sprung));
            }
            if over && since.elapsed() > BEAT {
                return Ok(None);
            }
            if ended || since.elapsed() > LIMIT {
                // Whoever is at its moment gives no answer; whoever is not does.
                on?;
                let said = servers.map(|server| server.said());
                return Err(format!("none came to that moment: {}", said.join("\n")));
            }
        }
    }

    /// Looks for the flag for a while.
    fn springs(&self, servers: &mut [&mut Server; 2]) -> Option<Sprung> {
        let since = Instant::now();
        loop {
            let ended = has_ended(servers);
            if let Ok(host) = fs::read_to_string(self.flag()) {
                let by = self.who_sprung().unwrap();
                return Some(Sprung { by, host });
            }
            if ended || since.elapsed() >= ASKED_AGAIN {
                return None;
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether the rollout is under way, says this server.
    fn is_on(&self, server: &Server, patience: Duration) -> Result<bool, String> {
        let shared = self.shared.as_ref().unwrap();
        let status = server.status(&self.site, &shared.token, patience)?;
        Ok(status
            .rollout
            .is_some_and(|rollout| rollout.state.is_active()))
    }

    fn comes_to_an_end(&self, second: &mut Server) -> Result<(), String> {
        let since = Instant::now();
        while self.is_on(second, PATIENCE)? {
            if since.elapsed() > LIMIT {
                let token = &self.shared.as_ref().unwrap().token;
                let status = second.status(&self.site, token, PATIENCE);
                return Err(format!("no end: {status:#?} {}", second.said()));
            }
            sleep(ASKED_AGAIN);
        }
        Ok(())
    }

    /// It is alive on the store, and still so when it has looked again.
    fn is_well(&self, server: &mut Server) -> Result<(), String> {
        server.wait("it is ready", |server| server.is_ready(&self.site))?;
        sleep(BEAT);
        server.wait("it is ready", |server| server.is_ready(&self.site))
    }
}

fn has_ended(servers: &mut [&mut Server; 2]) -> bool {
    servers.iter_mut().any(|server| server.ended().is_some())
}

/// What begins the rollout of a cell.
fn body(cell: Cell, target: &str) -> Value {
    let mut body = json!({ "all": true });
    if cell.step != "store.rollout_resolve" {
        body["to"] = target.into();
    }
    if cell.is_of_store() {
        body["stages"] = json!([50, 100]);
    }
    if cell.way() == Way::Halts {
        body["max_failure_percent"] = 0.into();
    }
    body
}
