//! The fleet that a command is about: kept in a database that this program works on itself, or behind a server that is
//! asked over HTTP. Commands that only look, or change what is on record, know no difference; those that work on hosts
//! ask which [`Place`] it is, for that says who does the work.

mod database;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use fleet_store::{AuditQuery, NewHost};
use fleet_types::view::{
    AuditEntry, EnrolledHost, HealthCheck, Host, HostCheck, HostEntry, HostKey, NewToken, Rollout,
    Status, StepOutput, Token, User,
};
use fleet_types::{Event, HostName, LoginName, Role, RolloutId, Seq, Timestamp, TokenId};
use rollout_settings::{HostDefaults, RolloutLayer};

pub(crate) use database::{DatabaseFleet, new_worker};
pub(crate) use server::{Asked, Login, ServerFleet, TokenSource};

use crate::cli::{Global, Which};
use crate::environment;
use crate::failure::Failure;
use crate::output::Output;

/// Where the fleet is kept, and with that who works on its hosts.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a database; this program works on the hosts.
    Database(Box<DatabaseFleet>),
    /// Behind a server, which works on the hosts.
    Server(ServerFleet),
}

impl Place {
    /// Opens the fleet that the settings name, with what the command says about the policy over them.
    pub(crate) async fn open(
        global: &Global,
        out: Output,
        policy: RolloutLayer,
    ) -> Result<Self, Failure> {
        Ok(match environment::server(global)? {
            Some(login) => Self::Server(ServerFleet::new(login, out)?),
            None => Self::Database(Box::new(DatabaseFleet::open(global, out, policy).await?)),
        })
    }

    /// The fleet, wherever it is kept.
    pub(crate) fn fleet(&self) -> Arc<dyn Fleet> {
        match self {
            Self::Database(database) => database.fleet(),
            Self::Server(server) => server.fleet(),
        }
    }
}

/// A fleet, wherever it is kept.
pub(crate) trait Fleet: Rollouts + Inventory + People {}

impl<T: Rollouts + Inventory + People> Fleet for T {}

/// Rollouts: looked at and steered.
#[async_trait]
pub(crate) trait Rollouts: Send + Sync {
    /// The fleet in numbers, and the active rollout, else the latest.
    async fn status(&self) -> Result<Status, Failure>;
    /// The rollouts, the newest first.
    async fn rollouts(&self, limit: u32) -> Result<Vec<Rollout>, Failure>;
    /// The rollout whose id this is, or begins with this.
    async fn find(&self, text: &str) -> Result<RolloutId, Failure>;
    /// A rollout that must be there.
    async fn rollout(&self, id: RolloutId) -> Result<Rollout, Failure>;
    /// The hosts that have a part in the rollout, each with it.
    async fn rollout_hosts(&self, id: RolloutId) -> Result<Vec<Host>, Failure>;
    /// What the steps of one host printed; none when it has no part in the rollout.
    async fn steps(
        &self,
        id: RolloutId,
        host: &HostName,
    ) -> Result<Option<Vec<StepOutput>>, Failure>;
    /// The next events of a rollout that there are by now.
    async fn events(&self, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure>;
    /// The next events of a rollout, waiting for them.
    async fn next_events(&self, id: RolloutId, after: Seq) -> Result<Vec<Event>, Failure>;
    /// Starts no further hosts.
    async fn pause(&self, id: RolloutId) -> Result<(), Failure>;
    /// Goes on after a pause.
    async fn resume(&self, id: RolloutId) -> Result<(), Failure>;
    /// Ends the rollout; done stays done.
    async fn abort(&self, id: RolloutId) -> Result<(), Failure>;
}

/// The hosts: entries, keys, and how they are.
#[async_trait]
pub(crate) trait Inventory: Send + Sync {
    /// All hosts as they stand, by name.
    async fn hosts(&self) -> Result<Vec<Host>, Failure>;
    /// All entries with their pinned keys, by name.
    async fn enrolled(&self) -> Result<Vec<EnrolledHost>, Failure>;
    /// One host; none when there is no such host.
    async fn host(&self, name: &HostName) -> Result<Option<ShownHost>, Failure>;
    /// What a host gets that says nothing else.
    async fn defaults(&self) -> Result<HostDefaults, Failure>;
    /// Where the path of a key that is named here has to lead to. None: to a file of the server, whose folders nobody
    /// here knows.
    fn key_folder(&self) -> Option<PathBuf>;
    /// Refuses a host that could never be signed in to; says why its key cannot be used here now, if that is so.
    async fn judge(&self, host: &NewHost) -> Result<Option<String>, Failure>;
    /// Adds hosts.
    async fn add(&self, hosts: Vec<NewHost>) -> Result<(), Failure>;
    /// Replaces an entry.
    async fn edit(&self, name: &HostName, host: NewHost) -> Result<(), Failure>;
    /// Takes a host out of the fleet.
    async fn remove(&self, name: &HostName) -> Result<(), Failure>;
    /// Clears the mark that a person must look.
    async fn clear_attention(&self, name: &HostName) -> Result<(), Failure>;
    /// Pins these host keys in place of those pinned before.
    async fn pin(&self, name: &HostName, keys: Vec<String>) -> Result<(), Failure>;
    /// Asks hosts for their keys. Each answers for itself, in any order.
    async fn scan(&self, hosts: Vec<HostName>) -> Result<Vec<Scanned>, Failure>;
    /// Looks whether hosts could be updated, by name.
    async fn check(&self, hosts: Vec<HostName>) -> Result<Vec<HostCheck>, Failure>;
    /// Looks whether services are active, by name. Hosts that a rollout is working on are left out.
    async fn check_health(
        &self,
        hosts: Vec<HostName>,
        fix: bool,
    ) -> Result<Vec<HealthCheck>, Failure>;
}

/// One host with what is known of it.
#[derive(Debug)]
pub(crate) struct ShownHost {
    /// How it stands.
    pub host: Host,
    /// Its pinned keys.
    pub host_keys: Vec<String>,
    /// Its entry; none when whoever asks may not see it.
    pub entry: Option<HostEntry>,
}

/// The keys that a host showed, or why it did not.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The host.
    pub host: HostName,
    /// Its keys.
    pub keys: Result<Vec<HostKey>, String>,
}

/// People, tokens, and who did what.
#[async_trait]
pub(crate) trait People: Send + Sync {
    /// Everybody, by name.
    async fn users(&self) -> Result<Vec<User>, Failure>;
    /// Adds a person.
    async fn add_user(
        &self,
        name: LoginName,
        role: Role,
        password: String,
    ) -> Result<User, Failure>;
    /// Sets a new password and ends all sessions of that person.
    async fn set_password(&self, name: &LoginName, password: String) -> Result<(), Failure>;
    /// Locks a person out, or lets them in again.
    async fn disable(&self, name: &LoginName, disabled: bool) -> Result<(), Failure>;
    /// Every token, the latest first.
    async fn tokens(&self) -> Result<Vec<Token>, Failure>;
    /// Makes a token.
    async fn create_token(
        &self,
        name: LoginName,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Failure>;
    /// Ends a token at once.
    async fn revoke_token(&self, id: TokenId) -> Result<(), Failure>;
    /// The audit trail, the newest first.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, Failure>;
}

/// The rollout that was named, by its id or by the beginning of it, or the latest.
pub(crate) async fn which(fleet: &dyn Fleet, which: &Which) -> Result<RolloutId, Failure> {
    if let Some(text) = &which.rollout {
        return fleet.find(text).await;
    }
    let latest = fleet.rollouts(1).await?;
    latest.first().map(|rollout| rollout.id).ok_or_else(|| {
        Failure::refused("there was no rollout yet").help("rollout-cli update --all starts one")
    })
}

/// A host that must be there.
pub(crate) async fn known_host(fleet: &dyn Fleet, name: &HostName) -> Result<ShownHost, Failure> {
    fleet.host(name).await?.ok_or_else(|| {
        Failure::refused(format!("there is no host {name}"))
            .help("rollout-cli hosts list shows the names")
    })
}

/// The whole entry of a host that must be there.
pub(crate) async fn known_entry(fleet: &dyn Fleet, name: &HostName) -> Result<NewHost, Failure> {
    let entry = known_host(fleet, name).await?.entry;
    entry.map(NewHost::from).ok_or_else(|| {
        Failure::refused(format!("the entry of {name} is not shown to this token"))
            .help("it takes a token with the role admin")
    })
}
