//! What the server, the commands and the public handle of one host share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::Config;
use tokio::sync::mpsc;

use crate::cutting::Cuts;
use crate::fault::{CutAt, Turn};
use crate::fleet::FleetCore;
use crate::folder::HostFolder;
use crate::server::{self, SetListening};
use crate::wire::{Counted, Line, lock};

/// What the server, the commands and the public handle share.
#[derive(Debug)]
pub(crate) struct HostCore {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) folder: HostFolder,
    pub(crate) fleet: Arc<FleetCore>,
    pub(crate) public_key: PublicKey,
    pub(crate) config: Mutex<Arc<Config>>,
    pub(crate) listening: mpsc::Sender<SetListening>,
    pub(crate) lines: Mutex<Vec<Weak<Line>>>,
    pub(crate) commands: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) cuts: Cuts,
    pub(crate) mute: AtomicBool,
    /// The turn, and the connections since it was set.
    pub(crate) hangs_up: Mutex<Option<(Turn, u32)>>,
    pub(crate) stalled: AtomicBool,
    pub(crate) auth_refused: AtomicBool,
    pub(crate) shell: Mutex<ShellFaults>,
}

/// What the host's shell does besides what it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShellFaults {
    pub(crate) startup: Option<String>,
    pub(crate) forced: Option<String>,
}

impl HostCore {
    pub(crate) fn new(
        name: String,
        port: u16,
        folder: HostFolder,
        fleet: Arc<FleetCore>,
        key: PrivateKey,
        listening: mpsc::Sender<SetListening>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            port,
            folder,
            fleet,
            public_key: key.public_key().clone(),
            config: Mutex::new(server::config(key)),
            listening,
            lines: Mutex::default(),
            commands: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cuts: Cuts::default(),
            mute: AtomicBool::new(false),
            hangs_up: Mutex::default(),
            stalled: AtomicBool::new(false),
            auth_refused: AtomicBool::new(false),
            shell: Mutex::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &HostFolder {
        &self.folder
    }

    pub(crate) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    pub(crate) fn is_mute(&self) -> bool {
        self.mute.load(Ordering::SeqCst)
    }

    /// Counts a connection that may be one to close at once.
    pub(crate) fn hangs_up(&self) -> bool {
        let mut fault = lock(&self.hangs_up);
        let Some((turn, seen)) = fault.as_mut() else {
            return false;
        };
        *seen += 1;
        turn.is_due(*seen)
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::SeqCst)
    }

    pub(crate) fn shell_faults(&self) -> ShellFaults {
        lock(&self.shell).clone()
    }

    pub(crate) fn forces_command(&self) -> bool {
        lock(&self.shell).forced.is_some()
    }

    /// Whether this user may come in with this key.
    pub(crate) fn accepts(&self, user: &str, key: &KeyData) -> bool {
        !self.auth_refused.load(Ordering::SeqCst)
            && user == self.fleet.user()
            && self.fleet.authorizes(key)
    }

    /// The port to forward to, when that is a host of this fleet.
    pub(crate) fn forward_port(&self, address: &str, port: u32) -> Option<u16> {
        let port = u16::try_from(port).ok()?;
        (matches!(address, "127.0.0.1" | "localhost") && self.fleet.has_port(port)).then_some(port)
    }

    /// Counts a connection for as long as the answer lives.
    pub(crate) fn count(&self, line: &Arc<Line>) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut lines = lock(&self.lines);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
        drop(lines);
        self.fleet.gauge().count(line)
    }

    /// Counts a command; the cuts that are due for it.
    pub(crate) fn command_begins(&self) -> Vec<CutAt> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.cuts.command_begins()
    }

    pub(crate) fn open_lines(&self) -> Vec<Arc<Line>> {
        lock(&self.lines).iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn cut_connections(&self) {
        self.open_lines().iter().for_each(|line| line.cut());
    }
}
