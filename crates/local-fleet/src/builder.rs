//! How a fleet is made.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::clones::Template;
use crate::error::FleetError;
use crate::fleet::{FleetCore, LocalFleet, Settings, manifest_file};
use crate::keys;
use crate::origin::BRANCH;
use crate::release::{InstallBehaviour, Release, ReleaseSpec, ServiceBehaviour};

/// A fleet to be made: one host, `demo-00`, unless told otherwise.
pub struct FleetBuilder {
    hosts: usize,
    root: Option<PathBuf>,
    name: Option<Box<dyn Fn(usize) -> String + Send>>,
    settings: Settings,
    first: ReleaseSpec,
}

impl Default for FleetBuilder {
    fn default() -> Self {
        Self {
            hosts: 1,
            root: None,
            name: None,
            settings: Settings {
                user: "demo".into(),
                service: "app.service".into(),
                log_git: false,
            },
            first: ReleaseSpec::good("First release"),
        }
    }
}

impl fmt::Debug for FleetBuilder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FleetBuilder")
            .field("hosts", &self.hosts)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl FleetBuilder {
    /// How many hosts.
    #[must_use]
    pub fn hosts(mut self, hosts: usize) -> Self {
        self.hosts = hosts;
        self
    }

    /// The folder that everything goes into. It is made, or has to be empty; nobody removes it afterwards.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// The name of host number 0, 1, 2, ... Letters, digits, `.`, `_` and `-`, each name once. By default
    /// `demo-00`, `demo-01`, ..., with as many digits as the last one needs.
    #[must_use]
    pub fn names(mut self, name: impl Fn(usize) -> String + Send + 'static) -> Self {
        self.name = Some(Box::new(name));
        self
    }

    /// The user who may sign in; `demo` by default.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.user = user.into();
        self
    }

    /// The systemd unit of every host; `app.service` by default. `.service` is added to a name without a suffix.
    #[must_use]
    pub fn service(mut self, service: &str) -> Self {
        let suffix = if service.contains('.') {
            ""
        } else {
            ".service"
        };
        self.settings.service = format!("{service}{suffix}");
        self
    }

    /// The release that the hosts begin on; a good one by default. It is installed and started before they answer.
    #[must_use]
    pub fn first_release(mut self, spec: ReleaseSpec) -> Self {
        self.first = spec;
        self
    }

    /// Logs git commands as well. It costs each of them a second process.
    #[must_use]
    pub fn log_git(mut self) -> Self {
        self.settings.log_git = true;
        self
    }

    /// Makes origin, keys and hosts, and starts the servers. Dropping the future leaves a half-made folder behind.
    pub async fn start(self) -> Result<LocalFleet, FleetError> {
        let names = self.checked_names()?;
        let root = self
            .root
            .ok_or_else(|| FleetError::Invalid("a fleet needs a root folder".into()))?;
        fs::create_dir_all(&root).map_err(FleetError::folder(&root))?;
        // The hosts name it in their environment and their remotes.
        let root = fs::canonicalize(&root).map_err(FleetError::folder(&root))?;
        if manifest_file(&root).exists() {
            return Err(FleetError::Invalid(format!(
                "{} has a fleet already: open it",
                root.display()
            )));
        }
        keys::write(&keys::generate(), &root.join("client_key"))?;
        let core = FleetCore::read(root, self.settings)?;
        let origin = core.origin();
        origin.create().await?;
        let first = origin.commit(&self.first, 1, BRANCH, None).await?;
        let template =
            Template::clone(core.git(), origin.folder(), core.root().join("template")).await?;
        let maker = Arc::new(HostMaker {
            core: Arc::clone(&core),
            template,
            first: first.clone(),
            plain: self.first.service == ServiceBehaviour::Ok
                && self.first.install == InstallBehaviour::Ok,
        });
        maker.make_all(&names).await?;
        LocalFleet::serve(
            core,
            names.into_iter().map(|name| (name, 0)).collect(),
            vec![first],
        )
    }

    fn checked_names(&self) -> Result<Vec<String>, FleetError> {
        let digits = self.hosts.saturating_sub(1).to_string().len().max(2);
        let name = |number| match &self.name {
            Some(name) => name(number),
            None => format!("demo-{number:0digits$}"),
        };
        let names: Vec<_> = (0..self.hosts).map(name).collect();
        let mut seen = HashSet::new();
        for name in &names {
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            let starts_well = name
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric());
            if !plain || !starts_well || name.len() > 64 {
                return Err(FleetError::Invalid(format!(
                    "{name:?} is no name for a host"
                )));
            }
            if !seen.insert(name) {
                return Err(FleetError::Invalid(format!("two hosts are named {name}")));
            }
        }
        Ok(names)
    }
}

/// Makes the folders of hosts.
struct HostMaker {
    core: Arc<FleetCore>,
    template: Template,
    first: Release,
    /// The first release needs no program to be run for its state to be known.
    plain: bool,
}

impl HostMaker {
    /// Makes them all, some at once; the first error ends it.
    async fn make_all(self: Arc<Self>, names: &[String]) -> Result<(), FleetError> {
        let at_once = std::thread::available_parallelism().map_or(2, |cores| cores.get() * 2);
        let mut tasks = JoinSet::new();
        for (number, name) in names.iter().enumerate() {
            if tasks.len() >= at_once {
                joined(tasks.join_next().await)?;
            }
            tasks.spawn(Arc::clone(&self).make(name.clone(), number));
        }
        while let Some(done) = tasks.join_next().await {
            joined(Some(done))?;
        }
        Ok(())
    }

    async fn make(self: Arc<Self>, name: String, number: usize) -> Result<(), FleetError> {
        let this = Arc::clone(&self);
        let write = tokio::task::spawn_blocking(move || this.write(&name).map(|()| name));
        let name = joined(Some(write.await))?;
        let folder = self.core.host_folder(&name);
        // The index names each file's inode and time, which differ in each copy.
        self.core
            .git()
            .run(
                &folder.repository(),
                &["update-index", "-q", "--refresh"],
                None,
            )
            .await?;
        if self.plain {
            let Release { commit, id, .. } = &self.first;
            let (since, process) = (clock(), 1000 + number);
            folder.write(
                "state/service",
                &format!(
                    "ok 0 0 {since} {:024x} {process} {commit} {id} {id} {commit}\n",
                    rand::random::<u64>()
                ),
            )?;
            folder.write("app/node_modules/.installed", &format!("{id} {commit}\n"))?;
        } else {
            folder.write("state/service", "stopped 0 0 0 - 0 - - -\n")?;
            folder.run_in_repository("bun", &["install"]).await?;
            folder
                .run("systemctl", &["start", "--no-block", self.core.service()])
                .await?;
        }
        Ok(())
    }

    fn write(&self, name: &str) -> Result<(), FleetError> {
        let folder = self.core.host_folder(name);
        folder.create(self.core.service(), self.core.programs())?;
        if self.core.logs_git() {
            folder.install("git", self.core.programs())?;
        }
        keys::write(&keys::generate(), &folder.key_file())?;
        self.template.write(&folder.repository())?;
        let modules = folder.repository().join("node_modules");
        fs::create_dir(&modules).map_err(FleetError::folder(&modules))
    }
}

/// The result of a task; a task that panicked or was dropped is an error like any other.
fn joined<T>(
    done: Option<Result<Result<T, FleetError>, tokio::task::JoinError>>,
) -> Result<T, FleetError> {
    match done {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(FleetError::Invalid(format!("a host was not made: {error}"))),
        None => Err(FleetError::Invalid("a host was not made".into())),
    }
}

/// Centiseconds since boot, as the stand-ins read the time.
fn clock() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let seconds = uptime
        .as_deref()
        .and_then(|text| text.split_whitespace().next())
        .and_then(|word| word.parse::<f64>().ok());
    match seconds {
        Some(seconds) => (seconds * 100.0) as u64,
        None => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_secs() * 100),
    }
}
