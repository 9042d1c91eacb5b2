//! Where cells are tried: hosts behind taps, and one fleet over many cells.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use fleet_testkit::until;
use fleet_types::view::Status;
use fleet_types::{EventKind, RolloutId, RolloutState};
use local_fleet::{InstallBehaviour, ReleaseSpec, ServiceBehaviour};

use crate::program::{Over, Running};
use crate::site::Site;
use crate::tap::{Gauge, Tap};

use super::cell::{Cell, Database, Fault, Way};
use super::proof::{Before, Expected, violations};
use super::two::{self, Met, Shared};

/// How many hosts. All are in one stage, so that one has its fault while the other is under way.
const HOSTS: usize = 2;
const CONFIGURATION: &str = "[rollout]\nsettle = 0.3\nstages = [100]\n\
    [lease]\nlease = 2\nrenew = 0.4\nfence = 1.3\nslot_grace = 0.2\n";
/// How long the database cannot be written to: past the 5 s that a write waits, and past the lease.
const OUTAGE: Duration = Duration::from_secs(7);
/// For the program to come to its moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// `SIGKILL`, as the one who waits sees it.
const KILLED: i32 = 9;
/// The exit code of one that was told that it cannot be.
const REFUSED: i32 = 8;
/// How often a cell is begun anew when neither server came to its moment, such as when each of them began one of two
/// stages, or when one did before there was a rollout.
const TRIES: usize = 12;

/// Hosts and a program with its fleet.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) site: Site,
    /// Where two servers share the work.
    pub(super) shared: Option<Shared>,
    gauge: Arc<Gauge>,
    _taps: Vec<Tap>,
    /// Where all hosts are.
    commit: String,
}

impl Ground {
    pub(super) fn new(database: Database) -> Self {
        let gauge = Arc::new(Gauge::default());
        let shared = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(Shared::new()),
        };
        let mut site = match &shared {
            None => Site::bare_with_git_in_logs(HOSTS, CONFIGURATION, None),
            Some(shared) => {
                let configuration =
                    CONFIGURATION.replace("[lease]", &format!("{}[lease]", two::MORE));
                Site::bare_with_git_in_logs(two::HOSTS, &configuration, Some(&shared.url()))
            }
        };
        let taps: Vec<Tap> = site
            .machines
            .iter()
            .enumerate()
            .map(|(number, machine)| Tap::start(&gauge, number, machine.port))
            .collect();
        for (machine, tap) in site.machines.iter_mut().zip(&taps) {
            machine.port = tap.port();
        }
        let site = site.enrolled();
        let mut ground = Self {
            commit: site.first(),
            site,
            shared: None,
            gauge,
            _taps: taps,
        };
        if let Some(mut shared) = shared {
            shared.sign_in(&ground);
            ground.shared = Some(shared);
        }
        ground
    }

    /// Tries a cell; everything that is wrong afterwards.
    pub(super) fn try_cell(&mut self, cell: Cell) -> Vec<String> {
        for _ in 0..TRIES {
            self.forget_who_sprung();
            let target = self.release(cell);
            let before = Before::of(&self.site, self.commit.clone());
            let met = match cell.database {
                Database::Sqlite => self.meet(cell, &target).map(|()| Met::Fault),
                Database::Postgres => self.meet_with_two(cell, &target),
            };
            let met = match met {
                Ok(Met::TooEarly) => continue,
                Ok(met) => met,
                Err(why) => return vec![why],
            };
            let status = self.status();
            let expected = Expected {
                rollout: status.rollout.unwrap().id,
                target: &target,
                way: cell.way(),
                end: match (cell.way(), cell.database) {
                    (Way::Forward, _) => RolloutState::Completed,
                    (Way::Back, Database::Postgres) => RolloutState::CompletedWithFailures,
                    (Way::Back | Way::Halts, _) => RolloutState::Halted,
                    (Way::Aborts, _) => RolloutState::Aborted,
                },
            };
            let mut wrong = violations(&self.site, &before, &expected);
            if cell.way() == Way::Aborts {
                // The others follow, so that all are on the same commit again.
                let over = self.second(cell, &target).over();
                wrong.extend(is_good("the one after it", &over, 0).err());
            }
            if matches!(cell.way(), Way::Forward | Way::Aborts) {
                self.commit = target;
            }
            if met == Met::Fault || !wrong.is_empty() {
                return wrong;
            }
        }
        vec![format!("it did not come to that moment in {TRIES} tries")]
    }

    /// Lets the program meet its fault, and sees that the rollout comes to its end; otherwise what is wrong.
    fn meet(&self, cell: Cell, target: &str) -> Result<(), String> {
        let good = match cell.way() {
            Way::Forward => 0,
            Way::Back | Way::Halts | Way::Aborts => 4,
        };
        let before = self.latest();
        let mut first = self.start(cell, target);
        if cell.way() == Way::Aborts {
            if !first.comes_to(EventKind::HostStarted) {
                return Err(format!("nothing to abort: {:#?}", first.over()));
            }
            self.site.program.expect(0, &["abort"]);
        }
        if cell.fault == Fault::Kill {
            let over = first.over();
            if over.signal != Some(KILLED) || fs::remove_file(self.flag()).is_err() {
                return Err(format!("it did not come to that moment: {over:#?}"));
            }
            return match self.latest() == before {
                true => is_good("the second", &self.second(cell, target).over(), good),
                false => self.finish(cell, target, good),
            };
        }
        let host = self.sprung(&mut first)?;
        match cell.fault {
            Fault::Kill => unreachable!("see above"),
            Fault::Ssh => {
                self.cut(cell, &host)?;
                fs::remove_file(self.flag()).unwrap();
            }
            Fault::Database => {
                let held = SqliteConnection::establish(&self.site.database());
                let mut held = held.unwrap();
                held.batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
                    .unwrap();
                fs::remove_file(self.flag()).unwrap();
                std::thread::sleep(OUTAGE);
                held.batch_execute("ROLLBACK").unwrap();
            }
            Fault::Stop | Fault::Sleep => {
                // It stops itself. To be woken up before it has would leave it with a stop that nobody wakes it up from.
                first.stands();
                self.freeze(&first);
                until("its lease has run out", || !self.is_attended());
                if cell.fault == Fault::Sleep {
                    self.finish(cell, target, good)?;
                    self.thaw(&first);
                } else if self.is_active() {
                    // Between hosts there is none to take over.
                    let holds = self.status().fleet.updating > 0;
                    let mut second = self.second(cell, target);
                    let met = second.comes_to(EventKind::HostTakenOver);
                    self.thaw(&first);
                    let over = second.over();
                    if holds && !met {
                        return Err(format!("the second took nothing over: {over:#?}"));
                    }
                    is_good("the second", &over, good)?;
                } else {
                    self.thaw(&first);
                }
            }
        }
        let over = first.over();
        self.was_cut()?;
        if cell.is_of_store() && over.code == Some(REFUSED) && self.is_active() {
            // It had not begun to work when the database was away: it says so, and whoever comes next goes on.
            return self.finish(cell, target, good);
        }
        is_good("the first", &over, good)
    }

    /// A process that is stopped in the midst of a write to SQLite holds the one lock there is, and whoever else comes
    /// can only say so. This lets it finish that write; at its moment it stays.
    fn freeze(&self, first: &Running) {
        until("it is stopped and no write is open", || {
            first.stop();
            let mut conn = SqliteConnection::establish(&self.site.database()).unwrap();
            let free = conn.batch_execute("BEGIN IMMEDIATE; ROLLBACK").is_ok();
            if !free {
                first.wake();
                std::thread::sleep(Duration::from_millis(20));
            }
            free
        });
    }

    /// Cuts the connection to this host, or sees to it that the next one is cut.
    pub(super) fn cut(&self, cell: Cell, host: &str) -> Result<(), String> {
        let machines = &mut self.site.machines.iter();
        let number = machines.position(|machine| machine.host.name() == host);
        let number = number.unwrap();
        if !cell.is_connected() {
            self.gauge.cut_next(number);
            return Ok(());
        }
        // The tap may hear of a connection a moment after the program has it.
        let since = Instant::now();
        while self.gauge.cut(number) == 0 {
            if since.elapsed() > PATIENCE {
                return Err(format!("there was no connection to {host} to cut"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// By the end, the connection that was to be cut must have come.
    pub(super) fn was_cut(&self) -> Result<(), String> {
        match self.gauge.forget_cut() {
            true => Err("there was no next connection to cut".to_owned()),
            false => Ok(()),
        }
    }

    fn thaw(&self, first: &Running) {
        fs::remove_file(self.flag()).unwrap();
        first.wake();
    }

    /// Waits until the program is at its moment; the host that brought it there.
    fn sprung(&self, first: &mut Running) -> Result<String, String> {
        let since = Instant::now();
        loop {
            if let Ok(host) = fs::read_to_string(self.flag()) {
                return Ok(host);
            }
            if first.has_ended() || since.elapsed() > PATIENCE {
                return Err(format!("it did not come to that moment: {first:#?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn status(&self) -> Status {
        self.site.program.ask(&["status"])
    }

    pub(super) fn latest(&self) -> Option<RolloutId> {
        self.status().rollout.map(|rollout| rollout.id)
    }

    fn is_attended(&self) -> bool {
        self.status().rollout.unwrap().attended
    }

    fn is_active(&self) -> bool {
        self.status().rollout.unwrap().state.is_active()
    }

    /// Makes a release whose install takes a moment, so that there is one in which it runs.
    fn release(&self, cell: Cell) -> String {
        let beat = Duration::from_millis(50);
        let spec = ReleaseSpec::good(cell.to_string())
            .install(InstallBehaviour::Slow(Duration::from_millis(300)));
        self.site.release(match cell.way() {
            Way::Forward | Way::Aborts => spec,
            Way::Back | Way::Halts => spec.service(ServiceBehaviour::CrashLoop {
                up: beat,
                down: beat,
            }),
        })
    }

    pub(super) fn flag(&self) -> PathBuf {
        self.site.path("flag")
    }

    /// The process that came to its moment first, if one did.
    pub(super) fn who_sprung(&self) -> Option<u32> {
        let by = fs::read_to_string(self.flag().with_extension("by")).ok()?;
        by.parse().ok()
    }

    fn forget_who_sprung(&self) {
        match fs::remove_file(self.flag().with_extension("by")) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    /// Starts the process that meets its fault.
    fn start(&self, cell: Cell, target: &str) -> Running {
        let (point, flag) = (cell.point(), self.flag());
        let variables = [
            ("ROLLOUT_CRASH_POINT", point.as_str()),
            ("ROLLOUT_CRASH_FLAG", flag.to_str().unwrap()),
        ];
        self.site
            .program
            .start_with(&variables, &arguments(cell, target))
    }

    /// Starts another process that finishes what is left.
    fn second(&self, cell: Cell, target: &str) -> Running {
        self.site.program.start(&arguments(cell, target))
    }

    /// Has another process finish what is left, if anything is; what is wrong with its end.
    fn finish(&self, cell: Cell, target: &str, good: i32) -> Result<(), String> {
        match self.is_active() {
            true => is_good("the second", &self.second(cell, target).over(), good),
            false => Ok(()),
        }
    }
}

/// What begins the rollout of a cell.
fn arguments(cell: Cell, target: &str) -> Vec<&str> {
    let mut arguments = vec!["update", "--all", "-y"];
    if cell.step != "store.rollout_resolve" {
        arguments.extend(["--to", target]);
    }
    if cell.is_of_store() {
        arguments.extend(["--stages", "50,100"]);
    }
    if cell.way() == Way::Halts {
        arguments.extend(["--max-failures", "0"]);
    }
    arguments
}

fn is_good(who: &str, over: &Over, good: i32) -> Result<(), String> {
    match over.code == Some(good) {
        true => Ok(()),
        false => Err(format!("{who} did not end with {good}: {over:#?}")),
    }
}
