//! Questions, on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use fleet_types::RolloutState;
use local_fleet::ReleaseSpec;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Place, Running, Site, wait_until};

/// A person's side of a terminal.
struct Terminal {
    keyboard: File,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn shows(&self, text: &str) -> bool {
        self.seen.lock().unwrap().contains(text)
    }

    fn wait_for(&self, text: &str) {
        wait_until(text, || self.shows(text));
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }
}

fn on_terminal(place: &Place, arguments: &[&str]) -> (Running, Terminal) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = place.command(arguments);
    command
        // Plain lines instead of the live display.
        .env("TERM", "dumb")
        .stdin(slave.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(slave);
    let running = Running::of(command.spawn().unwrap());
    let keyboard = File::from(master);
    let mut screen = keyboard.try_clone().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        // The other end is closed when the program has ended.
        while let Ok(read @ 1..) = screen.read(&mut some) {
            shown
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&some[..read]));
        }
    });
    (running, Terminal { keyboard, seen })
}

/// A site whose rollout lost its process with a host in flight, and a release after that.
fn interrupted() -> Site {
    let site = Site::gated(3, "[rollout]\nsettle = 0\n[lease]\nslot_grace = 0.2\n");
    let first = site.release(ReleaseSpec::good("two"));
    let running = site.place.start(&["update", "--to", &first, "--all", "-y"]);
    wait_until("a host is in flight", || {
        site.status()
            .rollout
            .is_some_and(|rollout| rollout.counts.updating > 0)
    });
    running.signal(Signal::KILL);
    running.end();
    site.release(ReleaseSpec::good("three"));
    site
}

fn number_of_rollouts(site: &Site) -> usize {
    let list = site.place.json(&["rollouts", "list"]);
    list["rollouts"].as_array().unwrap().len()
}

#[test]
fn ctrl_c_or_no_after_another_rollout_was_settled_starts_nothing() {
    for (interrupt, code) in [(true, 130), (false, 8)] {
        let site = interrupted();
        let id = site.status().rollout.unwrap().id;
        let (running, mut terminal) = on_terminal(&site.place, &["update", "--all"]);
        terminal.wait_for("End rollout");
        site.open_gate();
        terminal.types("y\n");
        terminal.wait_for("Update 3 hosts to");
        if interrupt {
            running.signal(Signal::INT);
        } else {
            terminal.types("n\n");
        }
        let ran = running.end();
        let settled = format!("rollout {} is aborted", id.short());
        terminal.wait_for("nothing new was started");
        let screen = terminal.seen.lock().unwrap().clone();
        assert_eq!(ran.code, code, "{screen}");
        // Once when it was settled, once in the last words.
        assert_eq!(screen.matches(&settled).count(), 2, "{screen}");
        assert!(!screen.contains("nothing was changed"), "{screen}");
        assert_eq!(number_of_rollouts(&site), 1);
        assert_eq!(site.status().rollout.unwrap().state, RolloutState::Aborted);
    }
}

#[test]
fn ctrl_c_at_the_first_question_changes_nothing() {
    let site = interrupted();
    let (running, terminal) = on_terminal(&site.place, &["update", "--all"]);
    terminal.wait_for("End rollout");
    running.signal(Signal::INT);
    let ran = running.end();
    terminal.wait_for("interrupted: nothing was changed");
    assert_eq!(ran.code, 130);
    assert!(site.status().rollout.unwrap().state.is_active());
}

#[test]
fn ctrl_c_while_another_rollout_is_settled_starts_nothing() {
    let site = interrupted();
    // Said yes beforehand: nothing else would keep the next rollout from its start.
    let (running, terminal) = on_terminal(&site.place, &["update", "--all", "-y"]);
    // What shows this listens to signals, and the gate is still closed.
    terminal.wait_for("taken-over");
    running.signal(Signal::INT);
    site.open_gate();
    let ran = running.end();
    terminal.wait_for("nothing new was started");
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert_eq!(number_of_rollouts(&site), 1);
}

#[test]
fn the_whole_fleet_takes_its_number_typed() {
    let site = Site::new(2, "[rollout]\nsettle = 0\n");
    site.release(ReleaseSpec::good("two"));
    let some = ["update", "--on", "*"];
    for (arguments, asks, answer, code, rollouts) in [
        (
            &["update", "--all"][..],
            "Type the number of hosts, 2: ",
            "y\n",
            8,
            0,
        ),
        (
            &["update", "--all"],
            "Type the number of hosts, 2: ",
            "3\n",
            8,
            0,
        ),
        (
            &["update", "--all"],
            "Type the number of hosts, 2: ",
            "2\n",
            0,
            1,
        ),
        (&some, "? [y/N] ", "y\n", 0, 2),
    ] {
        let (running, mut terminal) = on_terminal(&site.place, arguments);
        terminal.wait_for(asks);
        terminal.types(answer);
        let ran = running.end();
        assert_eq!(ran.code, code, "{arguments:?} {answer:?}: {ran:#?}");
        assert_eq!(number_of_rollouts(&site), rollouts);
    }
}
