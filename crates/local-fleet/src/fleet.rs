//! A fleet as a whole.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::FleetBuilder;
use crate::description::{FleetDescription, HostDescription};
use crate::error::FleetError;
use crate::folder::{HOSTS, HostFolder};
use crate::git::{CONFIGURATION, Git};
use crate::host::LocalHost;
use crate::host_core::HostCore;
use crate::keys;
use crate::origin::{BRANCH, Origin};
use crate::processes;
use crate::programs;
use crate::release::{Release, ReleaseSpec};
use crate::server;
use crate::wire::{Gauge, lock};

/// SSH hosts on loopback, each with a folder, a clone of one origin, a shell, and stand-ins for sudo, systemd and bun.
///
/// One process at a time may have a fleet folder open. Dropping the fleet stops it like [`LocalFleet::stop`], without
/// waiting for it.
#[derive(Debug)]
pub struct LocalFleet {
    core: Arc<FleetCore>,
    origin: Origin,
    hosts: Vec<LocalHost>,
    numbers: HashMap<String, usize>,
    releases: Mutex<Vec<Release>>,
    /// Held while a commit is made.
    commits: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    listeners: TaskTracker,
}

/// What all hosts of a fleet share.
#[derive(Debug)]
pub(crate) struct FleetCore {
    root: PathBuf,
    settings: Settings,
    authorized: Mutex<Vec<PublicKey>>,
    client_key_file: PathBuf,
    programs: PathBuf,
    git: Git,
    gauge: Arc<Gauge>,
    ports: Mutex<BTreeSet<u16>>,
}

/// What is the same on every host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) user: String,
    pub(crate) service: String,
    pub(crate) log_git: bool,
}

/// The fleet as written in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    settings: Settings,
    hosts: Vec<ManifestHost>,
    releases: Vec<Release>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestHost {
    name: String,
    port: u16,
}

impl FleetCore {
    /// Reads what the folder's hosts share.
    pub(crate) fn read(root: PathBuf, settings: Settings) -> Result<Arc<Self>, FleetError> {
        let client_key_file = root.join("client_key");
        let git = Git::find(root.join("gitconfig"))?;
        let programs = root.join("programs");
        programs::write(&programs, git.program())?;
        let configuration = root.join("gitconfig");
        fs::write(&configuration, CONFIGURATION).map_err(FleetError::folder(&configuration))?;
        Ok(Arc::new(Self {
            settings,
            authorized: Mutex::new(vec![keys::read(&client_key_file)?.public_key().clone()]),
            client_key_file,
            programs,
            git,
            gauge: Arc::default(),
            ports: Mutex::default(),
            root,
        }))
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::at(self.root.join("origin.git"), self.git.clone())
    }

    pub(crate) fn host_folder(&self, name: &str) -> HostFolder {
        HostFolder::new(&self.root, name, self.git.program(), &self.settings.user)
    }

    pub(crate) fn hosts_folder(&self) -> PathBuf {
        self.root.join(HOSTS)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn user(&self) -> &str {
        &self.settings.user
    }

    pub(crate) fn service(&self) -> &str {
        &self.settings.service
    }

    pub(crate) fn logs_git(&self) -> bool {
        self.settings.log_git
    }

    /// Whether a key opens the hosts.
    pub(crate) fn authorizes(&self, key: &KeyData) -> bool {
        lock(&self.authorized)
            .iter()
            .any(|known| known.key_data() == key)
    }

    pub(crate) fn client_key_file(&self) -> &Path {
        &self.client_key_file
    }

    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    pub(crate) fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        lock(&self.ports).contains(&port)
    }
}

impl LocalFleet {
    /// A fleet to be made.
    #[must_use]
    pub fn builder() -> FleetBuilder {
        FleetBuilder::default()
    }

    /// Opens the folder of a fleet made before: same keys, same clones and services, same ports as far as they are
    /// free. Faults of commands and repositories are still set, those of network and shell are gone.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, FleetError> {
        let root = root.into();
        let root = fs::canonicalize(&root).map_err(FleetError::folder(&root))?;
        let file = manifest_file(&root);
        let text = fs::read_to_string(&file).map_err(FleetError::folder(&file))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| {
            FleetError::Invalid(format!("{} is not of a fleet: {error}", file.display()))
        })?;
        let core = FleetCore::read(root, manifest.settings)?;
        let hosts = manifest
            .hosts
            .into_iter()
            .map(|host| (host.name, host.port))
            .collect();
        Self::serve(core, hosts, manifest.releases)
    }

    /// Starts the servers of hosts whose folders are complete. Port 0 takes any.
    pub(crate) fn serve(
        core: Arc<FleetCore>,
        hosts: Vec<(String, u16)>,
        releases: Vec<Release>,
    ) -> Result<Self, FleetError> {
        let mut fleet = Self {
            origin: core.origin(),
            core,
            hosts: Vec::with_capacity(hosts.len()),
            numbers: HashMap::with_capacity(hosts.len()),
            releases: Mutex::new(releases),
            commits: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            listeners: TaskTracker::new(),
        };
        raise_descriptor_limit();
        for (name, port) in hosts {
            fleet.serve_host(name, port)?;
        }
        fleet.listeners.close();
        fleet.save()?;
        Ok(fleet)
    }

    fn serve_host(&mut self, name: String, wanted: u16) -> Result<(), FleetError> {
        let folder = self.core.host_folder(&name);
        let key = keys::read(&folder.key_file())?;
        let listener = listen(&name, wanted)?;
        let port = listener
            .local_addr()
            .map_err(|source| FleetError::Listen {
                host: name.clone(),
                source,
            })?
            .port();
        lock(&self.core.ports).insert(port);
        let (changes, listening) = mpsc::channel(1);
        let host = HostCore::new(name, port, folder, Arc::clone(&self.core), key, changes);
        self.listeners.spawn(server::accept(
            Arc::clone(&host),
            listener,
            listening,
            self.stop.clone(),
        ));
        self.numbers
            .insert(host.name().to_owned(), self.hosts.len());
        self.hosts.push(LocalHost::new(host));
        Ok(())
    }

    /// The hosts, in the order of their numbers.
    #[must_use]
    pub fn hosts(&self) -> &[LocalHost] {
        &self.hosts
    }

    /// The host of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&LocalHost> {
        self.numbers.get(name).map(|number| &self.hosts[*number])
    }

    /// The commits made so far, oldest first. The hosts were cloned at the first.
    #[must_use]
    pub fn releases(&self) -> Vec<Release> {
        lock(&self.releases).clone()
    }

    /// The first release, on which the hosts began.
    #[must_use]
    pub fn first_release(&self) -> Release {
        lock(&self.releases)
            .first()
            .cloned()
            .expect("a fleet is made with one release, and releases are never removed")
    }

    /// Pushes a release on top of the branch that the hosts follow.
    pub async fn add_release(&self, spec: ReleaseSpec) -> Result<Release, FleetError> {
        let _turn = self.commits.lock().await;
        let parent = self.origin.resolve(BRANCH).await?;
        self.commit(&spec, BRANCH, &parent).await
    }

    /// Replaces the last commit of the branch that the hosts follow by another, as a forced push would: whoever has
    /// the replaced one has diverged. Fails when there is only one commit.
    pub async fn replace_release(&self, spec: ReleaseSpec) -> Result<Release, FleetError> {
        let _turn = self.commits.lock().await;
        let parent = self.origin.resolve(&format!("{BRANCH}~1")).await?;
        self.commit(&spec, BRANCH, &parent).await
    }

    /// Pushes a release to a branch of its own, on top of the branch that the hosts follow.
    pub async fn add_branch(&self, branch: &str, spec: ReleaseSpec) -> Result<Release, FleetError> {
        let _turn = self.commits.lock().await;
        let parent = self.origin.resolve(BRANCH).await?;
        self.commit(&spec, branch, &parent).await
    }

    /// A release that was there and is gone: no branch leads to it and the origin does not have it any more.
    pub async fn lost_release(&self, spec: ReleaseSpec) -> Result<Release, FleetError> {
        let release = self.add_branch("lost", spec).await?;
        let _turn = self.commits.lock().await;
        self.origin.forget("lost").await?;
        Ok(release)
    }

    async fn commit(
        &self,
        spec: &ReleaseSpec,
        branch: &str,
        parent: &str,
    ) -> Result<Release, FleetError> {
        let number = lock(&self.releases).len() + 1;
        let release = self
            .origin
            .commit(spec, number, branch, Some(parent))
            .await?;
        lock(&self.releases).push(release.clone());
        self.save()?;
        Ok(release)
    }

    /// Lets the holder of another key in, given as a line of OpenSSH's public key format. Until the fleet stops.
    pub fn authorize(&self, public_key: &str) -> Result<(), FleetError> {
        let key = PublicKey::from_openssh(public_key).map_err(|error| {
            FleetError::Invalid(format!("{public_key:?} is no public key: {error}"))
        })?;
        lock(&self.core.authorized).push(key);
        Ok(())
    }

    /// SSH connections that are open over all hosts now, counted from their acceptance.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.core.gauge.open()
    }

    /// The most SSH connections that were open at once since the start or the last reset. One that the client has
    /// closed does not count, even if this process has not come round to noticing.
    #[must_use]
    pub fn max_connections_seen(&self) -> usize {
        self.core.gauge.highest()
    }

    /// Starts [`Self::max_connections_seen`] anew from what is open now.
    pub fn reset_max_connections(&self) {
        self.core.gauge.reset();
    }

    /// Everything that another process needs to know.
    #[must_use]
    pub fn description(&self) -> FleetDescription {
        let describe = |host: &LocalHost| HostDescription {
            name: host.name().into(),
            address: host.address().into(),
            port: host.port(),
            host_key: host.host_key(),
            repository: host.repository(),
        };
        FleetDescription {
            root: self.core.root.clone(),
            user: self.core.user().into(),
            service: self.core.service().into(),
            client_key: self.core.client_key_file.clone(),
            origin: self.origin.folder().to_owned(),
            branch: BRANCH.into(),
            releases: self.releases(),
            hosts: self.hosts.iter().map(describe).collect(),
        }
    }

    /// The hosts' keys as OpenSSH's `known_hosts` has them.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let line = |host: &LocalHost| {
            format!("[{}]:{} {}\n", host.address(), host.port(), host.host_key())
        };
        self.hosts.iter().map(line).collect()
    }

    /// Stops listening, resets all connections, and kills every process that a host has started. The folder stays.
    pub async fn stop(self) {
        self.stop.cancel();
        self.listeners.wait().await;
        processes::end_all(&self.core.hosts_folder()).await;
    }

    fn save(&self) -> Result<(), FleetError> {
        let hosts = self
            .hosts
            .iter()
            .map(|host| ManifestHost {
                name: host.name().into(),
                port: host.port(),
            })
            .collect();
        let manifest = Manifest {
            settings: self.core.settings.clone(),
            hosts,
            releases: self.releases(),
        };
        let file = manifest_file(self.core.root());
        let draft = file.with_extension("draft");
        let text = serde_json::to_string(&manifest)
            .map_err(|error| FleetError::Invalid(error.to_string()))?;
        fs::write(&draft, text).map_err(FleetError::folder(&draft))?;
        fs::rename(&draft, &file).map_err(FleetError::folder(&file))
    }
}

impl Drop for LocalFleet {
    fn drop(&mut self) {
        self.stop.cancel();
        processes::end_now(&self.core.hosts_folder());
    }
}

pub(crate) fn manifest_file(root: &Path) -> PathBuf {
    root.join("fleet.json")
}

fn listen(host: &str, wanted: u16) -> Result<TcpListener, FleetError> {
    let listener = server::listen(wanted).or_else(|_| server::listen(0));
    listener.map_err(|source| FleetError::Listen {
        host: host.to_owned(),
        source,
    })
}

/// A listener and some connections for each host are more than most systems allow unasked.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused, opening fails later and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
