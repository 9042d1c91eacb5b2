//! One process of a test: it can die, freeze, or lose the database, all of it at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_store::StoreError;
use fleet_types::{HostEvent, HostId, Timestamp};
use ssh_exec::{Endpoint, Identity, IdentityError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Instead of its n-th write to the journal.
    BeforeRecord(usize),
    /// After that was durable, before it is told so.
    AfterRecord(usize),
    /// Instead of sending its n-th command.
    BeforeCommand(usize),
    /// After the host has done it, before the answer comes.
    AfterCommand(usize),
}

/// What happens to one call of the store, its database connection cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The n-th call never arrives.
    Before(usize),
    /// The n-th call takes effect, but its answer is lost.
    After(usize),
}

/// What happens to one process. Clones are the same process.
#[derive(Clone, Default)]
pub(crate) struct Process {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    death: Mutex<Option<Death>>,
    cut: Mutex<Option<Cut>>,
    dead: AtomicBool,
    died: Notify,
    away: AtomicBool,
    unanswered: AtomicBool,
    unheard: AtomicBool,
    records: AtomicUsize,
    commands: AtomicUsize,
    /// Journal events, in the order in which they were durable.
    kept: Mutex<Vec<(HostId, HostEvent)>>,
    panic_at: Mutex<Option<(String, usize)>>,
    /// Key files that it cannot read.
    unreadable: Mutex<Vec<PathBuf>>,
    /// Key files that it can read, and that serve for no connection.
    useless: Mutex<Vec<PathBuf>>,
    /// How long it takes to see whether a key can be loaded.
    looks: Mutex<Duration>,
    checked: AtomicUsize,
    /// Calls of the store.
    asked: AtomicUsize,
    frozen: watch::Sender<bool>,
    /// When it sent each of its commands.
    sent: Mutex<Vec<Instant>>,
    goodbye: Mutex<Duration>,
    stall: Mutex<Duration>,
    /// Hosts that it was given to look at, and when.
    turns: Mutex<Vec<(HostId, Timestamp)>>,
}

impl Process {
    /// How often it asked the store for anything.
    pub(crate) fn store_calls(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// It will die there.
    pub(crate) fn dies(&self, death: Death) {
        *self.shared.death.lock().unwrap() = Some(death);
    }

    /// Returns once it is dead.
    pub(crate) async fn died(&self) {
        let died = self.shared.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn kill(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        self.shared.died.notify_waiters();
        self.shared.died.notify_one();
    }

    /// The database does not answer this process from now on, or answers again.
    pub(crate) fn cut_off(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// What it says of the hosts that it leaves to others is put on record, and it does not hear so.
    pub(crate) fn notes_are_lost(&self, lost: bool) {
        self.shared.unheard.store(lost, Ordering::SeqCst);
    }

    /// What it asks its database for from now on is never answered, and never refused.
    pub(crate) fn hears_nothing(&self) {
        self.shared.unanswered.store(true, Ordering::SeqCst);
    }

    pub(crate) fn commands(&self) -> usize {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// It was given a host to look at.
    pub(crate) fn note_turn(&self, host: HostId, at: Timestamp) {
        self.shared.turns.lock().unwrap().push((host, at));
    }

    /// Hosts that it was given to look at, and when.
    pub(crate) fn turns(&self) -> Vec<(HostId, Timestamp)> {
        self.shared.turns.lock().unwrap().clone()
    }

    /// When it sent each of its commands.
    pub(crate) fn sent(&self) -> Vec<Instant> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// What it made durable in the journal.
    pub(crate) fn kept(&self) -> Vec<(HostId, HostEvent)> {
        self.shared.kept.lock().unwrap().clone()
    }

    /// The next `times` commands for this host bring the program to panic.
    pub(crate) fn panics(&self, host: &str, times: usize) {
        *self.shared.panic_at.lock().unwrap() = Some((host.to_owned(), times));
    }

    /// Closing a connection takes this long.
    pub(crate) fn closes_in(&self, time: Duration) {
        *self.shared.goodbye.lock().unwrap() = time;
    }

    /// The network lets it wait for so long before a command can be sent.
    pub(crate) fn is_stalled_for(&self, time: Duration) {
        *self.shared.stall.lock().unwrap() = time;
    }

    /// It cannot read these private keys.
    pub(crate) fn cannot_read(&self, keys: &[&str]) {
        *self.shared.unreadable.lock().unwrap() = keys.iter().map(PathBuf::from).collect();
    }

    /// These keys can be read, but connections find none in them.
    pub(crate) fn cannot_use(&self, keys: &[&str]) {
        *self.shared.useless.lock().unwrap() = keys.iter().map(PathBuf::from).collect();
    }

    /// It takes so long to see whether a key can be loaded.
    pub(crate) fn looks_at_keys_for(&self, time: Duration) {
        *self.shared.looks.lock().unwrap() = time;
    }

    pub(crate) fn looks(&self) -> Duration {
        *self.shared.looks.lock().unwrap()
    }

    /// How often it loaded a key to see whether it can.
    pub(crate) fn identities_checked(&self) -> usize {
        self.shared.checked.load(Ordering::SeqCst)
    }

    pub(crate) fn load(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        refuse(&self.shared.unreadable.lock().unwrap(), endpoint)
    }

    /// Loads a key for a connection.
    pub(crate) fn use_key(&self, endpoint: &Endpoint) -> Result<(), IdentityError> {
        self.load(endpoint)?;
        refuse(&self.shared.useless.lock().unwrap(), endpoint)
    }

    /// It stands still from now on, in the middle of whatever it does, or goes on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        *self.shared.frozen.borrow()
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.shared.away.load(Ordering::SeqCst)
    }

    /// A dead process does nothing any more, and is told nothing; a frozen one nothing for now.
    pub(crate) async fn alive(&self) {
        let mut frozen = self.shared.frozen.subscribe();
        frozen.wait_for(|frozen| !frozen).await.unwrap();
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// A call of the store begins: its number.
    pub(crate) async fn call_begins(&self) -> Result<usize, StoreError> {
        let number = self.shared.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.alive().await;
        if self.shared.unanswered.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let away = self.shared.away.load(Ordering::SeqCst);
        self.answers(!away && *self.shared.cut.lock().unwrap() != Some(Cut::Before(number)))?;
        Ok(number)
    }

    /// It has taken effect.
    pub(crate) async fn call_ends(&self, number: usize) -> Result<(), StoreError> {
        self.alive().await;
        self.answers(*self.shared.cut.lock().unwrap() != Some(Cut::After(number)))
    }

    /// A note was put on record.
    pub(crate) fn note_ends(&self) -> Result<(), StoreError> {
        self.answers(!self.shared.unheard.load(Ordering::SeqCst))
    }

    fn answers(&self, yes: bool) -> Result<(), StoreError> {
        if yes {
            return Ok(());
        }
        Err(StoreError::Unavailable {
            cause: "cut off by the test".into(),
        })
    }

    /// The connection to its database is cut there, once.
    pub(crate) fn is_cut(&self, cut: Cut) {
        *self.shared.cut.lock().unwrap() = Some(cut);
    }

    pub(crate) async fn point(&self, death: Death) {
        if *self.shared.death.lock().unwrap() == Some(death) {
            self.kill();
        }
        self.alive().await;
    }

    pub(crate) fn panic_if_due(&self, host: &str) {
        let due = {
            let mut panic_at = self.shared.panic_at.lock().unwrap();
            match &mut *panic_at {
                Some((name, times)) if name == host && *times > 0 => {
                    *times -= 1;
                    true
                }
                _ => false,
            }
        };
        assert!(!due, "a panic that the test asked for");
    }

    /// One more write to the journal is asked for: its number.
    pub(crate) fn next_record(&self) -> usize {
        self.shared.records.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn keep(&self, host: HostId, event: &HostEvent) {
        self.shared.kept.lock().unwrap().push((host, event.clone()));
    }

    /// One more command is to be sent: its number.
    pub(crate) fn next_command(&self) -> usize {
        self.shared.commands.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn note_sent(&self) {
        self.shared.sent.lock().unwrap().push(Instant::now());
    }

    pub(crate) fn goodbye(&self) -> Duration {
        *self.shared.goodbye.lock().unwrap()
    }

    pub(crate) fn stall(&self) -> Duration {
        *self.shared.stall.lock().unwrap()
    }

    pub(crate) fn note_identity_check(&self) {
        self.shared.checked.fetch_add(1, Ordering::SeqCst);
    }
}

fn refuse(keys: &[PathBuf], endpoint: &Endpoint) -> Result<(), IdentityError> {
    match &endpoint.identity {
        Identity::File(path) if keys.contains(path) => Err(IdentityError::Unreadable {
            path: path.display().to_string(),
            cause: "permission denied".into(),
        }),
        _ => Ok(()),
    }
}
