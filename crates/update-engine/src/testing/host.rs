use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_types::CommitHash;
use tokio::time::Instant;

/// What a commit does on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SimRelease {
    /// Installs, starts, stays up.
    #[default]
    Good,
    /// The install command fails.
    InstallFails,
    /// `systemctl restart` fails.
    StartFails,
    /// Is active whenever one looks, in another life each time.
    CrashLoops,
    /// Dies soon after it was started.
    Dies,
    /// Runs, but the verify command fails.
    VerifyFails,
}

/// The commits and branches that hosts fetch from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimOrigin {
    pub(super) commits: BTreeMap<CommitHash, (Option<CommitHash>, SimRelease)>,
    /// Branches and their tips.
    pub branches: BTreeMap<String, CommitHash>,
    /// Whether the remote answers.
    pub down: bool,
}

impl SimOrigin {
    /// Adds a commit after `parent` and returns its hash, which tells the commits of one origin apart by their number.
    pub fn commit(&mut self, parent: Option<&CommitHash>, release: SimRelease) -> CommitHash {
        let number = self.commits.len() + 1;
        let hash: CommitHash = format!("{number:08x}{:032x}", 0xfeed_beef_u64)
            .parse()
            .expect("forty hexadecimal digits are a commit hash");
        self.commits
            .insert(hash.clone(), (parent.cloned(), release));
        hash
    }

    /// Commits `release` on top of a branch, which begins with it if need be.
    pub fn push(&mut self, branch: &str, release: SimRelease) -> CommitHash {
        let parent = self.branches.get(branch).cloned();
        let hash = self.commit(parent.as_ref(), release);
        self.branches.insert(branch.to_owned(), hash.clone());
        hash
    }

    /// What a commit does.
    #[must_use]
    pub fn release(&self, commit: &CommitHash) -> SimRelease {
        self.commits
            .get(commit)
            .map(|(_, release)| *release)
            .unwrap_or_default()
    }

    /// The commit and all before it.
    pub(super) fn history(&self, commit: &CommitHash) -> Vec<CommitHash> {
        let mut all = Vec::new();
        let mut next = self.commits.contains_key(commit).then(|| commit.clone());
        while let Some(commit) = next {
            next = self
                .commits
                .get(&commit)
                .and_then(|(parent, _)| parent.clone());
            all.push(commit);
        }
        all
    }
}

/// One host, as it really is. Everything may be looked at and changed between commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimHost {
    /// HEAD.
    pub head: CommitHash,
    /// The branch HEAD is attached to.
    pub branch: Option<String>,
    /// The commit that the tracked files are exactly; none for a mixture that a killed move left.
    pub tree: Option<CommitHash>,
    /// Tracked files that a person changed.
    pub edited: Vec<String>,
    /// An untracked file lies where a later commit brings one.
    pub untracked_in_the_way: bool,
    /// The mark of a move under way.
    pub moving: bool,
    /// What `refs/rollout/previous` keeps.
    pub kept: Option<CommitHash>,
    /// The commits whose objects are here.
    pub known: BTreeSet<CommitHash>,
    /// The commit that dependencies are completely installed for.
    pub installed: Option<CommitHash>,
    /// The commit whose code the service runs.
    pub running: Option<CommitHash>,
    /// How often the service was started; tells one life from another.
    pub lives: u64,
    /// How often systemd restarted it by itself.
    pub restarts: u64,
    /// How often the machine was started.
    pub boots: u64,
    /// Commits that behave otherwise on this host.
    pub releases: BTreeMap<CommitHash, SimRelease>,
    /// Free space in MiB.
    pub free_mib: u64,
    /// Whether `sudo -n` may restart the service.
    pub sudo: bool,
    /// Whether the unit is loaded.
    pub unit_loaded: bool,
    /// A command that never ends holds the lock.
    pub locked: bool,
    /// A command that takes its time holds the lock until then, whatever has become of who sent it.
    pub locked_until: Option<Instant>,
    /// The record of who spoke last: store and epoch.
    pub fence: Option<(String, i64)>,
    /// Connections are refused while this is more than 0; each try takes one off.
    pub refuses_connections: u32,
    /// How long each command takes, by name; others take no time.
    pub takes: BTreeMap<String, Duration>,
    /// What goes wrong, and when.
    pub faults: Vec<SimFault>,
    /// Every command that came, in order.
    pub received: Vec<SimCommand>,
}

/// A command as the host saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimCommand {
    /// Its name.
    pub name: String,
    /// The epoch that it was sent under, if under a guard.
    pub epoch: Option<i64>,
    /// Whether its body ran, in whole or in part.
    pub ran: bool,
    /// Whether HEAD, tree, dependencies or service were changed by it.
    pub changed: bool,
}

/// Something that goes wrong once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFault {
    /// With which command.
    pub command: String,
    /// With which of that name, from 1.
    pub nth: usize,
    /// What.
    pub what: SimWhat,
}

/// What goes wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimWhat {
    /// It fails before it changed anything.
    Fails,
    /// It fails halfway.
    FailsHalfway,
    /// Its limit on the host ends it halfway.
    TimesOut,
    /// The connection is lost before it arrives.
    LostBefore,
    /// The connection is lost while it runs; it comes to its end.
    LostAfter,
    /// The machine dies halfway through it and is back at once: files as they are, the service started on them.
    Crashes,
    /// The connection is lost, and this many tries to open another fail.
    Gone(u32),
    /// It comes to its end, but no answer arrives within the deadline.
    NoAnswer,
    /// Another command holds the lock for now.
    Busy,
    /// Another command holds the lock from now on.
    Locked,
    /// The host's record is this from now on, until it is replaced.
    Fenced(String, i64),
    /// The login shell does not run it.
    ShellBroken,
}

impl SimHost {
    /// A healthy host on `head` of branch `main`.
    #[must_use]
    pub fn on(head: &CommitHash, origin: &SimOrigin) -> Self {
        Self {
            head: head.clone(),
            branch: Some("main".to_owned()),
            tree: Some(head.clone()),
            edited: Vec::new(),
            untracked_in_the_way: false,
            moving: false,
            kept: None,
            known: origin.history(head).into_iter().collect(),
            installed: Some(head.clone()),
            running: Some(head.clone()),
            lives: 1,
            restarts: 0,
            boots: 1,
            releases: BTreeMap::new(),
            free_mib: 10_000,
            sudo: true,
            unit_loaded: true,
            locked: false,
            locked_until: None,
            fence: None,
            refuses_connections: 0,
            takes: BTreeMap::new(),
            faults: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Lets the `nth` command of this name go wrong.
    #[must_use]
    pub fn with_fault(mut self, command: &str, nth: usize, what: SimWhat) -> Self {
        self.faults.push(SimFault {
            command: command.to_owned(),
            nth,
            what,
        });
        self
    }

    /// The truth behind "proven": HEAD, files, dependencies and the running code are this commit.
    #[must_use]
    pub fn is_wholly_on(&self, commit: &CommitHash) -> bool {
        let all = [
            Some(&self.head),
            self.tree.as_ref(),
            self.installed.as_ref(),
            self.running.as_ref(),
        ];
        all.iter().all(|part| *part == Some(commit)) && self.edited.is_empty()
    }

    /// How long the lock is held from now on.
    pub(super) fn is_locked_for(&self) -> Duration {
        self.locked_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Whether any command has changed anything.
    #[must_use]
    pub fn was_changed(&self) -> bool {
        self.received.iter().any(|command| command.changed)
    }

    pub(super) fn release(&self, commit: &CommitHash, origin: &SimOrigin) -> SimRelease {
        self.releases
            .get(commit)
            .copied()
            .unwrap_or_else(|| origin.release(commit))
    }
}
