//! A disk that is full when the program starts, and one that fills up while it works.

use std::process::{Command, Stdio};
use std::time::Duration;

use fleet_testkit::{Disk, is_left_out};
use fleet_types::view::Status;
use local_fleet::{LogEvent, ReleaseSpec};
use rustix::process::Signal;

use crate::support::{Place, Ran, Running, Site, wait_until};

/// Short times, so that leases run out while the disk is full.
const FAST: &str =
    "[rollout]\nsettle = 0.3\n[lease]\nlease = 6\nrenew = 1\nfence = 3\nslot_grace = 1\n";

/// A fleet whose database is on a disk that can be filled.
struct Ground {
    disk: Disk,
    site: Site,
    before: String,
    target: String,
}

impl Ground {
    fn new() -> Self {
        let site = Site::gated(4, FAST);
        let before = site.heads()[0].clone();
        let target = site.release(ReleaseSpec::good("two"));
        let disk = Disk::new(64 << 20);
        std::fs::copy(site.place.path("rollout.db"), disk.outside("rollout.db")).unwrap();
        Self {
            disk,
            site,
            before,
            target,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let url = format!("sqlite://{}/rollout.db", self.disk.path().display());
        let mut all = vec!["--database-url", &url];
        all.extend(arguments);
        let mut command = self.disk.on_it(&self.site.place.command(&all));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Running::of(self.command(arguments).spawn().unwrap()).end()
    }

    /// An update whose first host is in the middle of its install; then the disk is full, and the install ends.
    fn full_in_the_midst(&self) -> Running {
        let update = Running::of(self.command(&["update", "--all", "-y"]).spawn().unwrap());
        wait_until("the first host installs", || {
            let status = self.run(&["status", "--json"]).stdout;
            let status: Status = serde_json::from_str(&status).unwrap();
            let in_flight = status.rollout.map(|rollout| rollout.in_flight);
            in_flight
                .iter()
                .flatten()
                .any(|flight| flight.step.as_deref() == Some("install"))
        });
        self.disk.fill();
        self.site.open_gate();
        wait_until("its install has ended", || self.installs() == (1, 1));
        update
    }

    /// How many installs began, and how many ended.
    fn installs(&self) -> (usize, usize) {
        let (mut began, mut ended) = (0, 0);
        for host in self.site.fleet.hosts() {
            let mut open = Vec::new();
            for entry in host.log().unwrap() {
                match &entry.event {
                    LogEvent::Began(command) if command.contains("bun install") => {
                        began += usize::from(!open.contains(&entry.process));
                        open.push(entry.process);
                    }
                    LogEvent::Ended { .. } if open.contains(&entry.process) => ended += 1,
                    _ => {}
                }
            }
        }
        (began, ended)
    }

    /// Every host is on the target, and came there once.
    fn all_moved_once(&self) {
        for host in self.site.fleet.hosts() {
            let moves = self
                .site
                .wait(host.git(&["reflog", "--format=%H"]))
                .unwrap();
            assert_eq!(
                moves.matches(&self.target).count(),
                1,
                "{}: {moves}",
                host.name()
            );
        }
        assert_eq!(self.site.heads(), vec![self.target.clone(); 4]);
    }
}

/// For so long it stays full: longer than a lease.
const FULL: Duration = Duration::from_secs(8);

#[test]
fn an_update_waits_for_room_and_goes_on() {
    if is_left_out("unshare") {
        return;
    }
    let ground = Ground::new();
    let update = ground.full_in_the_midst();
    std::thread::sleep(FULL);
    // Without the outcome on record no further host is begun, and this one is not taken further.
    assert_eq!(ground.installs(), (1, 1));
    ground.disk.free();
    let ran = update.end();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stderr.contains("waiting: no space left"), "{ran:#?}");
    assert!(
        ran.stderr.contains("free some space on its disk"),
        "{ran:#?}"
    );
    // Not at every try: less than once a second.
    assert!(ran.stderr.matches("no space left").count() < 10, "{ran:#?}");
    ground.all_moved_once();
}

#[test]
fn an_update_that_is_killed_while_the_disk_is_full_is_finished_by_the_next() {
    if is_left_out("unshare") {
        return;
    }
    let ground = Ground::new();
    let update = ground.full_in_the_midst();
    update.signal(Signal::KILL);
    assert_eq!(update.end().code, 128 + 9);
    // As long as it is full, the next one says so and changes nothing.
    let ran = ground.run(&["update", "--all", "-y"]);
    assert_eq!(ran.code, 8, "{ran:#?}");
    assert!(ran.stderr.contains("no space left"), "{ran:#?}");
    assert!(ran.stderr.contains("make room"), "{ran:#?}");
    let heads = ground.site.heads();
    assert_eq!(
        heads.iter().filter(|head| **head == ground.before).count(),
        3
    );
    ground.disk.free();
    let ran = ground.run(&["update", "--all", "-y"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stderr.contains("was interrupted"), "{ran:#?}");
    ground.all_moved_once();
}

#[test]
fn a_copy_for_which_there_is_no_room_is_told_from_a_database_that_has_none() {
    if is_left_out("unshare") {
        return;
    }
    let place = Place::new();
    place.write("rollout.toml", "database_url = \"sqlite://rollout.db\"\n");
    place.expect(0, &["db", "migrate"]);
    let disk = Disk::new(1 << 20);
    let copy = disk.path().join("copy.db").display().to_string();
    let backup = || {
        let mut command = disk.on_it(&place.command(&["db", "backup", &copy]));
        Ran::of(command.stdin(Stdio::null()).output().unwrap())
    };
    disk.fill();
    let ran = backup();
    assert_eq!(ran.code, 8, "{ran:#?}");
    let told = format!("{copy} cannot be used: no storage space");
    assert!(ran.stderr.contains(&told), "{ran:#?}");
    let files = || {
        let files = std::fs::read_dir(disk.outside("")).unwrap().flatten();
        files.map(|file| file.file_name()).collect::<Vec<_>>()
    };
    assert!(
        !files()
            .iter()
            .any(|name| name.to_string_lossy().contains("copy"))
    );
    disk.free();
    let ran = backup();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(files().iter().any(|name| name == "copy.db"));
}
