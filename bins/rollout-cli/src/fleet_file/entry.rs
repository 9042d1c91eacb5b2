use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fleet_store::{HostSpec, NewHost};
use fleet_types::{
    Address, AppSettings, BranchName, HostName, Label, RemoteName, RepoPath, ServiceName,
    StepTimeouts, UserName,
};
use rollout_settings::{AppDefaults, AppOverrides, HostDefaults, MissingSetting};
use serde::{Deserialize, Deserializer};

/// What a file says about one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said<T> {
    /// There is no such column or key: a known host keeps what it has.
    #[default]
    No,
    /// The cell is empty or null: the default, or none.
    Nothing,
    /// This.
    Value(T),
}

impl<T> Said<T> {
    /// The value in force, for one that has a default.
    fn or(self, known: Option<T>, default: impl FnOnce() -> T) -> T {
        match self {
            Self::Value(value) => value,
            Self::Nothing => default(),
            Self::No => known.unwrap_or_else(default),
        }
    }

    /// The value in force, for one that may be absent.
    fn or_none(self, known: Option<T>) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
            Self::No => known,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Self::Nothing, Self::Value))
    }
}

/// One host as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: HostName,
    /// `None` where the file says none: that of a known host, else the name.
    pub address: Option<Address>,
    pub port: Said<u16>,
    pub user: Said<UserName>,
    pub key: Said<String>,
    pub jump: Said<Vec<String>>,
    pub labels: Said<BTreeMap<String, String>>,
    /// The labels without a value; those with one stay as they are.
    pub groups: Option<BTreeSet<String>>,
    pub owner: Said<String>,
    pub repo: Said<RepoPath>,
    pub remote: Said<RemoteName>,
    pub branch: Said<BranchName>,
    pub service: Said<ServiceName>,
    pub install: Said<String>,
    pub verify: Said<String>,
    pub generated: Said<Vec<String>>,
    pub min_free_mib: Said<u32>,
    pub timeouts: Said<StepTimeouts>,
}

impl Entry {
    /// An entry that says only who and where.
    pub(crate) fn new(name: HostName, address: Option<Address>) -> Self {
        Self {
            name,
            address,
            port: Said::No,
            user: Said::No,
            key: Said::No,
            jump: Said::No,
            labels: Said::No,
            groups: None,
            owner: Said::No,
            repo: Said::No,
            remote: Said::No,
            branch: Said::No,
            service: Said::No,
            install: Said::No,
            verify: Said::No,
            generated: Said::No,
            min_free_mib: Said::No,
            timeouts: Said::No,
        }
    }

    /// The host that this entry means, for a fleet that has `known` under that name. A key's path is relative to `base`.
    pub(crate) fn host(
        self,
        known: Option<&NewHost>,
        defaults: &HostDefaults,
        base: Option<&Path>,
    ) -> Result<NewHost, MissingSetting> {
        let was = known.map(|host| &host.spec);
        let address = match self.address.or(was.map(|spec| spec.address.clone())) {
            Some(address) => address,
            None => self.name.as_str().parse()?,
        };
        let user = match self.user {
            Said::Value(user) => Some(user),
            Said::Nothing => defaults.user.clone(),
            Said::No => was
                .map(|spec| spec.user.clone())
                .or_else(|| defaults.user.clone()),
        };
        let key = self.key.or_none(was.and_then(|spec| spec.key.clone()));
        let app = AppParts {
            repo: self.repo,
            remote: self.remote,
            branch: self.branch,
            service: self.service,
            install: self.install,
            verify: self.verify,
            generated: self.generated,
            min_free_mib: self.min_free_mib,
            timeouts: self.timeouts,
        };
        Ok(NewHost {
            name: self.name,
            spec: HostSpec {
                address,
                port: self.port.or(was.map(|spec| spec.port), || defaults.port),
                user: user.ok_or(MissingSetting::Missing { what: "user" })?,
                key: key.map(|key| absolute(&key, base)),
                jump: self.jump.or(was.map(|spec| spec.jump.clone()), Vec::new),
                app: app.settings(was.map(|spec| &spec.app), &defaults.app)?,
            },
            labels: match self.groups {
                Some(groups) => grouped(known.map(|host| &host.labels), groups),
                None => self
                    .labels
                    .or(known.map(|host| host.labels.clone()), BTreeMap::new),
            },
            owner: self
                .owner
                .or_none(known.and_then(|host| host.owner.clone())),
        })
    }
}

/// Labels of a host that is in these groups: a group is a label without a value, and says nothing about one that has a value.
fn grouped(
    known: Option<&BTreeMap<String, String>>,
    groups: BTreeSet<String>,
) -> BTreeMap<String, String> {
    let known = known.into_iter().flatten();
    let valued = known.filter(|(_, value)| !value.is_empty());
    let valued = valued.map(|(key, value)| (key.clone(), value.clone()));
    let groups = groups.into_iter().map(|group| (group, String::new()));
    groups.chain(valued).collect()
}

struct AppParts {
    repo: Said<RepoPath>,
    remote: Said<RemoteName>,
    branch: Said<BranchName>,
    service: Said<ServiceName>,
    install: Said<String>,
    verify: Said<String>,
    generated: Said<Vec<String>>,
    min_free_mib: Said<u32>,
    timeouts: Said<StepTimeouts>,
}

impl AppParts {
    fn settings(
        self,
        was: Option<&AppSettings>,
        defaults: &AppDefaults,
    ) -> Result<AppSettings, MissingSetting> {
        let overrides = AppOverrides {
            repo: kept(self.repo, was.map(|app| &app.repo)),
            branch: kept(self.branch, was.map(|app| &app.branch)),
            install: kept(self.install, was.map(|app| &app.install)),
            service: kept(self.service, was.map(|app| &app.service)),
            verify: None,
        };
        let app = AppSettings {
            remote: self.remote.or(was.map(|app| app.remote.clone()), || {
                defaults.remote.clone()
            }),
            verify: match (self.verify, was) {
                (Said::Value(verify), _) => Some(verify),
                (Said::No, Some(app)) => app.verify.clone(),
                (Said::No | Said::Nothing, _) => defaults.verify.clone(),
            },
            generated: self.generated.or(was.map(|app| app.generated.clone()), || {
                defaults.generated.clone()
            }),
            min_free_mib: self
                .min_free_mib
                .or(was.map(|app| app.min_free_mib), || defaults.min_free_mib),
            timeouts: self
                .timeouts
                .or(was.map(|app| app.timeouts), || defaults.timeouts),
            ..defaults.with(overrides)?
        };
        app.check()?;
        Ok(app)
    }
}

fn kept<T: Clone>(said: Said<T>, known: Option<&T>) -> Option<T> {
    match said {
        Said::Value(value) => Some(value),
        Said::Nothing => None,
        Said::No => known.cloned(),
    }
}

/// A key's path that means the same wherever the program is run from.
pub(crate) fn absolute(key: &str, base: Option<&Path>) -> String {
    match base {
        Some(base) if !key.starts_with('/') && !key.starts_with("~/") => {
            base.join(key).display().to_string()
        }
        _ => key.to_owned(),
    }
}

/// `k=v;k2`
pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, fleet_types::Invalid> {
    let parts = text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse().map(|label: Label| (label.key, label.value)))
        .collect()
}

/// Labels as `k=v;k2`.
pub(crate) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    let shown = |(key, value): (&String, &String)| {
        if value.is_empty() {
            key.clone()
        } else {
            format!("{key}={value}")
        }
    };
    labels.iter().map(shown).collect::<Vec<_>>().join(";")
}
