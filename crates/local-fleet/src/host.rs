//! One host of a fleet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::FleetError;
use crate::fault::Fault;
use crate::folder::{LogEntry, ServiceState};
use crate::host_core::{HostCore, ShellFaults};
use crate::keys;
use crate::processes;
use crate::server::{self, SetListening};
use crate::wire::lock;

/// One host: an SSH server on a port of its own on 127.0.0.1, in front of a folder.
///
/// Cheap to clone; all clones are the same host. It serves for as long as its fleet does.
#[derive(Clone, Debug)]
pub struct LocalHost {
    core: Arc<HostCore>,
}

impl LocalHost {
    pub(crate) fn new(core: Arc<HostCore>) -> Self {
        Self { core }
    }

    /// The name; in the file system and in `broken_hosts` of a release as well.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Always `127.0.0.1`.
    #[must_use]
    pub fn address(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.core.port
    }

    /// The only user who may sign in.
    #[must_use]
    pub fn user(&self) -> &str {
        self.core.fleet.user()
    }

    /// The private key file that opens every host of this fleet, mode 0600.
    #[must_use]
    pub fn client_key(&self) -> &Path {
        self.core.fleet.client_key_file()
    }

    /// The host's own public key, one line as in `known_hosts` after the name: `ssh-ed25519 AAAA...`.
    #[must_use]
    pub fn host_key(&self) -> String {
        keys::line(&self.core.public_key)
    }

    /// The host's home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.core.folder.path()
    }

    /// The clone that the host's service runs from.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.core.folder.repository()
    }

    /// The systemd unit, with its suffix.
    #[must_use]
    pub fn service(&self) -> &str {
        self.core.fleet.service()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.core.connections.load(Ordering::Relaxed)
    }

    /// Commands begun so far, those that a fault kept from running included.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.core.commands.load(Ordering::Relaxed)
    }

    /// What the host's programs did, oldest first. git is in it only while a git fault is set, or when the fleet was
    /// told to log git.
    pub fn log(&self) -> Result<Vec<LogEntry>, FleetError> {
        self.core.folder.log()
    }

    /// What the service does now and what it was started on. Not logged, and past [`Fault::Command`].
    pub async fn service_state(&self) -> Result<ServiceState, FleetError> {
        self.core.folder.service(self.service()).await
    }

    /// The commit that was checked out when `bun install` last completed; none while one runs and after one that did
    /// not.
    pub fn installed(&self) -> Result<Option<String>, FleetError> {
        self.core.folder.installed()
    }

    /// The commit that `HEAD` names.
    pub async fn head(&self) -> Result<String, FleetError> {
        self.git(&["rev-parse", "--verify", "HEAD"]).await
    }

    /// Tracked files that differ from `HEAD`, as `git status --porcelain` shows them; empty when there are none.
    pub async fn changes(&self) -> Result<String, FleetError> {
        self.git(&["status", "--porcelain", "--untracked-files=no"])
            .await
    }

    /// Runs the real git in the host's repository, past all faults; its standard output without the last line end.
    pub async fn git(&self, arguments: &[&str]) -> Result<String, FleetError> {
        self.core
            .fleet
            .git()
            .run(&self.repository(), arguments, None)
            .await
    }

    /// Makes something go wrong from now on. It holds when this returns.
    pub async fn set_fault(&self, fault: Fault) -> Result<(), FleetError> {
        let (core, folder) = (&self.core, &self.core.folder);
        match fault {
            Fault::Command {
                point,
                failure,
                turn,
            } => {
                folder.set_fault(&point.file(), &failure.line(turn))?;
                if point.file().starts_with("git-") {
                    self.install("git")?;
                }
            }
            Fault::Cut { at, script, turn } => core.cuts.add(at, script, turn),
            Fault::Stalled => {
                core.stalled.store(true, Ordering::SeqCst);
                core.open_lines().iter().for_each(|line| line.silence());
            }
            Fault::Down => self.set_down(true).await?,
            Fault::Mute => core.mute.store(true, Ordering::SeqCst),
            Fault::HangsUp(turn) => *lock(&core.hangs_up) = Some((turn, 0)),
            Fault::AuthRefused => core.auth_refused.store(true, Ordering::SeqCst),
            Fault::HostKeyChanged => *lock(&core.config) = server::config(keys::generate()),
            Fault::StartupFile(text) => lock(&core.shell).startup = Some(text),
            Fault::ForcedCommand(text) => lock(&core.shell).forced = Some(text),
            Fault::DiskFull => self.set_git_fault("disk_full")?,
            Fault::ReadOnlyRepository => self.set_git_fault("read_only_repo")?,
            Fault::LowSpace(kibibytes) => {
                folder.set_fault("low_space", &format!("{kibibytes}\n"))?;
                self.install("df")?;
            }
            Fault::UnitMissing => folder.set_fault("unit_missing", "")?,
            Fault::UnitMasked => folder.set_fault("unit_masked", "")?,
            Fault::SlowStop(time) => {
                folder.set_fault("slow_stop", &format!("{}\n", crate::release::seconds(time)))?
            }
            Fault::UnitDown => drop(folder.run("systemctl", &["stop", self.service()]).await?),
            Fault::NoBun => folder.uninstall("bun")?,
            Fault::NoSudo => folder.set_fault("no_sudo", "")?,
            Fault::DirtyTree => self.edit()?,
            Fault::StaleIndexLock => self.leave_lock("index.lock")?,
            Fault::StaleRefLock => {
                let held = self
                    .git(&["rev-parse", "--symbolic-full-name", "HEAD"])
                    .await?;
                self.leave_lock(&format!("{held}.lock"))?;
            }
            Fault::DetachedHead => drop(self.git(&["checkout", "--quiet", "--detach"]).await?),
        }
        Ok(())
    }

    /// Takes back every fault: what was set for commands, network and shell is gone, locks and edits that were left in
    /// the repository are removed, and a host that was down listens again. Connections that were stalled are reset.
    /// A service that was stopped stays so, a detached `HEAD` as well.
    pub async fn clear_faults(&self) -> Result<(), FleetError> {
        let (core, folder) = (&self.core, &self.core.folder);
        core.cuts.clear();
        core.auth_refused.store(false, Ordering::SeqCst);
        *lock(&core.shell) = ShellFaults::default();
        *lock(&core.hangs_up) = None;
        *lock(&core.config) = server::config(keys::read(&folder.key_file())?);
        let was_mute = core.mute.swap(false, Ordering::SeqCst);
        let was_stalled = core.stalled.swap(false, Ordering::SeqCst);
        if was_mute || was_stalled {
            core.cut_connections();
        }
        self.undo_marks()?;
        for name in folder.faults()? {
            folder.clear_fault(&name)?;
        }
        if !core.fleet.logs_git() {
            folder.uninstall("git")?;
        }
        folder.uninstall("df")?;
        self.install("bun")?;
        self.set_down(false).await
    }

    /// How long the unit may take to start and to stop, as `systemctl show` tells it; 90 s each unless set. Nothing
    /// here enforces it.
    pub fn set_unit_limits(&self, start: Duration, stop: Duration) -> Result<(), FleetError> {
        self.core.folder.set_unit(self.service(), start, stop)
    }

    /// Stops or starts listening; stopping resets the open connections too. The port stays ours.
    pub async fn set_down(&self, down: bool) -> Result<(), FleetError> {
        let (done, answer) = oneshot::channel();
        let change = SetListening {
            listening: !down,
            done,
        };
        // A stopped fleet has no listener left: it is down, and stays so.
        if self.core.listening.send(change).await.is_ok()
            && let Ok(result) = answer.await
        {
            result.map_err(|source| FleetError::Listen {
                host: self.name().into(),
                source,
            })?;
        }
        if down {
            self.cut_connections();
        }
        Ok(())
    }

    /// Resets all open connections. What runs goes on running.
    pub fn cut_connections(&self) {
        self.core.cut_connections();
    }

    /// Turns the host off and on: connections are reset, every process of the host is killed, and the service starts
    /// on what is checked out. Listens when this returns, unless [`Fault::Down`] is set.
    pub async fn reboot(&self) -> Result<(), FleetError> {
        self.cut_connections();
        let folder = self.core.folder.clone();
        processes::end_all(folder.path()).await;
        folder
            .run("systemctl", &["restart", "--no-block", self.service()])
            .await?;
        Ok(())
    }

    /// Processes of the host that run now.
    pub async fn processes(&self) -> Vec<u32> {
        processes::list(self.home()).await
    }

    fn install(&self, program: &str) -> Result<(), FleetError> {
        self.core
            .folder
            .install(program, self.core.fleet.programs())
    }

    fn set_git_fault(&self, name: &str) -> Result<(), FleetError> {
        self.core.folder.set_fault(name, "")?;
        self.install("git")
    }

    /// Leaves a lock file as a git that died would, and a mark to find it by.
    fn leave_lock(&self, name: &str) -> Result<(), FleetError> {
        let file = self.repository().join(".git").join(name);
        std::fs::write(&file, "").map_err(FleetError::folder(&file))?;
        self.core
            .folder
            .set_fault(&format!("left-{}", name.replace('/', "%")), "")
    }

    /// Edits a tracked file, and leaves a mark.
    fn edit(&self) -> Result<(), FleetError> {
        let file = self.repository().join(EDITED);
        let text = std::fs::read_to_string(&file).map_err(FleetError::folder(&file))?;
        std::fs::write(&file, text + EDIT).map_err(FleetError::folder(&file))?;
        self.core.folder.set_fault("left-edit", "")
    }

    /// Takes away what [`Self::leave_lock`] and [`Self::edit`] left, as far as it is still there.
    fn undo_marks(&self) -> Result<(), FleetError> {
        for name in self.core.folder.faults()? {
            let Some(mark) = name.strip_prefix("left-") else {
                continue;
            };
            if mark == "edit" {
                let file = self.repository().join(EDITED);
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                if let Some(text) = text.strip_suffix(EDIT) {
                    std::fs::write(&file, text).map_err(FleetError::folder(&file))?;
                }
            } else {
                crate::folder::remove(
                    &self.repository().join(".git").join(mark.replace('%', "/")),
                )?;
            }
        }
        Ok(())
    }
}

/// The file that [`Fault::DirtyTree`] edits.
const EDITED: &str = "src/server.ts";

/// What it adds.
const EDIT: &str = "// edited by hand on the host\n";
