//! What went wrong, in three lines at most: what, why, what to do.

use fleet_store::{AccessError, HostError, MoveError, StoreError, TriggerError, VerbError};
use fleet_types::{Invalid, RolloutId, Timestamp};
use rollout_orchestrator::{
    AgainError, EndpointError, FindError, PlanError, SettleError, TriggerRefusal, WorkError,
};
use rollout_parts::demo::DemoError;
use rollout_parts::{OpenError, PassphraseError};
use rollout_settings::{MissingSetting, SettingsError};

use ssh_exec::IdentityError;

use crate::display::words::ago;
use crate::exit::Exit;

/// What to do when it is not clear which rollout is meant.
pub(crate) const SEVERAL_HELP: &str =
    "give more of it; rollout-cli rollouts list --json shows whole ids";
/// What to do when a rollout is not there.
pub(crate) const ROLLOUTS_HELP: &str = "rollout-cli rollouts list shows them";
/// What to do about a host that a rollout is working on.
pub(crate) const UPDATING_HELP: &str =
    "wait until it is done: rollout-cli watch; or end it: rollout-cli abort";
/// What to do while the health check starts a service again.
pub(crate) const RESTARTING_HELP: &str =
    "try again in a moment; six minutes at most, should the health check have died";
/// How a jump host is written.
pub(crate) const JUMP_HELP: &str = "rollout-cli hosts edit NAME --jump user@address:port";
/// Why a commit that halted a rollout is not started again.
pub(crate) const KNOWN_BAD_WHY: &str = "it would most likely fail again; nothing was changed";
/// What to do about it.
pub(crate) const KNOWN_BAD_HELP: &str = "name another commit with --to, or say --force";

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// Whether the same may go well a little later, without anything being changed.
    pub may_pass: bool,
    what: String,
    why: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// A failure with its first line.
    pub(crate) fn new(exit: Exit, what: impl ToString) -> Self {
        Self {
            exit,
            may_pass: false,
            what: what.to_string(),
            why: None,
            help: None,
        }
    }

    /// Wrong without looking at store or hosts.
    pub(crate) fn usage(what: impl ToString) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Refused after looking.
    pub(crate) fn refused(what: impl ToString) -> Self {
        Self::new(Exit::Refused, what)
    }

    /// A fault of this program or the machine under it.
    pub(crate) fn unexpected(what: impl ToString) -> Self {
        Self::new(Exit::Unexpected, what)
    }

    /// Adds why.
    pub(crate) fn why(mut self, why: impl ToString) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds what to do.
    pub(crate) fn help(mut self, help: impl ToString) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// The same may go well a little later.
    pub(crate) fn that_may_pass(self) -> Self {
        Self {
            may_pass: true,
            ..self
        }
    }

    /// The first line, without mark.
    pub(crate) fn what(&self) -> String {
        one_line(&self.what)
    }

    /// At most three lines, each of printable text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let first = format!("error: {}", one_line(&self.what));
        let rest = [&self.why, &self.help];
        let rest = rest
            .into_iter()
            .flatten()
            .map(|line| format!("  {}", one_line(line)));
        std::iter::once(first).chain(rest).collect()
    }
}

/// The text on one line, safe for a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    fleet_types::printable(&parts.join("; "))
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let failure = Self::usage(&error);
        match error {
            SettingsError::Unreadable { .. } => {
                failure.help("rollout-cli init writes a configuration")
            }
            SettingsError::File { .. } | SettingsError::Value { .. } => {
                failure.help("correct it; rollout-cli config validate checks it")
            }
            SettingsError::NoHome => failure.help("set HOME, or say --database-url sqlite://PATH"),
            _ => failure,
        }
    }
}

impl From<MissingSetting> for Failure {
    fn from(error: MissingSetting) -> Self {
        let failure = Self::usage(&error);
        match error {
            MissingSetting::Missing { what } => failure.help(format!(
                "say --{what}, or set {what} in the [app] section of rollout.toml"
            )),
            MissingSetting::Invalid(_) => failure,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(error: Invalid) -> Self {
        Self::usage(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, help) = match &error {
            StoreError::Url { .. } => (
                Exit::Usage,
                "say --database-url sqlite://PATH, or set database_url in rollout.toml",
            ),
            StoreError::Open { database, .. } if database.starts_with("postgres://") => (
                Exit::Refused,
                "check that PostgreSQL runs there, and that it has this database and lets this user in",
            ),
            StoreError::Open { .. } => (
                Exit::Refused,
                "check that the path exists and may be written",
            ),
            StoreError::Tls {
                database,
                cause,
                help,
            } => {
                return Self::refused(format!(
                    "the connection to the database {database} is not safe"
                ))
                .why(cause)
                .help(help);
            }
            StoreError::NotOurs { .. } => (
                Exit::Refused,
                "name another file with --database-url; this one was left as it is",
            ),
            StoreError::Replaced { .. } => (Exit::Refused, "run the command again"),
            StoreError::TooNew { .. } => (
                Exit::Refused,
                "use the newer rollout-cli; the database was left as it is",
            ),
            StoreError::OlderAtWork { .. } => (
                Exit::Refused,
                "stop those, or replace them by newer ones first; the database was left as it is",
            ),
            StoreError::ReadOnly { .. } => (
                Exit::Refused,
                "make it writable, or name another with --database-url",
            ),
            StoreError::Full { .. } => (
                Exit::Refused,
                "make room on that file system and run the command again",
            ),
            StoreError::Busy { .. } | StoreError::Unavailable { .. } => (
                Exit::Refused,
                "run the command again; rollout-cli status shows where things stand",
            ),
            _ => (
                Exit::Unexpected,
                "run rollout-cli doctor; if it finds nothing, this is a fault of the program",
            ),
        };
        Self::new(exit, &error).help(help)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Password { ref path, ref why } => Self::refused(format!(
                "the password file {} cannot be used",
                path.display()
            ))
            .why(why)
            .help("it must be readable by you alone: chmod 600; its first line is the password"),
            OpenError::Folder { ref source, .. } => Self::refused(&error)
                .why(source)
                .help("name another place with --database-url sqlite://PATH"),
        }
    }
}

impl From<PassphraseError> for Failure {
    fn from(error: PassphraseError) -> Self {
        let path = error.path.display();
        Self::refused(format!("the passphrase file {path} cannot be used"))
            .why(&error.why)
            .help("it must be readable by you alone: chmod 600; its first line is the passphrase")
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Name(ref why) => Self::unexpected(&error).why(why),
            DemoError::Settings(error) => error.into(),
            DemoError::App(error) => error.into(),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Store(error) => error.into(),
            HostError::Invalid(error) => error.into(),
            error => {
                let failure = Self::refused(&error);
                match error {
                    HostError::Unknown { .. } => {
                        failure.help("rollout-cli hosts list shows the names")
                    }
                    HostError::DuplicateName { ref name } => {
                        duplicate_host(&error.to_string(), name)
                    }
                    HostError::DuplicateRepository { ref other, .. } => {
                        duplicate_repository(&error.to_string(), other)
                    }
                    HostError::Updating { .. } => failure.help(UPDATING_HELP),
                    HostError::Restarting { .. } => failure.help(RESTARTING_HELP),
                    _ => failure,
                }
            }
        }
    }
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        let help = match error {
            MoveError::Store(error) => return error.into(),
            MoveError::Active { .. } => {
                return Self::new(Exit::Active, error)
                    .help("wait for its end, or end it with rollout-cli abort, and export then");
            }
            MoveError::NotEmpty { .. } => {
                "name a new database with --database-url; this one was left as it is"
            }
            MoveError::NotAFile => "pg_dump --format=custom --file FILE URL",
            MoveError::File { .. } => "name another file",
            MoveError::Damaged { .. } => {
                "nothing was imported; write the file anew with rollout-cli db export"
            }
            MoveError::Version { .. } => {
                "nothing was imported; use the version of rollout-cli that wrote it"
            }
            MoveError::Newer { .. } => {
                "nothing was written; rollout-cli --version says which this is"
            }
        };
        Self::refused(error).help(help)
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Invalid(error) => error.into(),
            error => {
                let failure = Self::refused(&error);
                match error {
                    AccessError::Unknown { what, .. } => {
                        failure.help(format!("rollout-cli {what}s list shows them"))
                    }
                    AccessError::Duplicate { what, .. } => failure
                        .why("nothing was changed")
                        .help(format!("rollout-cli {what}s list shows them")),
                    AccessError::LastAdmin { .. } => failure
                        .why("nothing was changed")
                        .help("rollout-cli users add NAME --role admin adds another one first"),
                    _ => failure,
                }
            }
        }
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            FindError::Several { .. } => Self::refused(&error).help(SEVERAL_HELP),
            error => Self::refused(&error).help(ROLLOUTS_HELP),
        }
    }
}

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        match error {
            VerbError::Store(error) => error.into(),
            error => Self::refused(&error).help("rollout-cli rollouts list shows them all"),
        }
    }
}

impl From<TriggerError> for Failure {
    fn from(error: TriggerError) -> Self {
        match error {
            TriggerError::Store(error) => error.into(),
            TriggerError::Invalid(error) => error.into(),
            TriggerError::Active {
                id,
                started_by,
                created_at,
                attended,
                paused,
            } => active(id, &started_by, created_at, attended, paused),
            TriggerError::KnownBad { .. } => Self::refused(&error)
                .why(KNOWN_BAD_WHY)
                .help(KNOWN_BAD_HELP),
            TriggerError::NoHosts => {
                Self::refused(&error).help("rollout-cli hosts list shows the fleet")
            }
            error => Self::refused(&error).help("run the command again"),
        }
    }
}

/// There is a host of this name.
pub(crate) fn duplicate_host(what: &str, name: &str) -> Failure {
    Failure::refused(what)
        .why("nothing was changed")
        .help(format!(
            "rollout-cli hosts edit {name} changes it, hosts import takes changes from a file"
        ))
}

/// There is a host with this repository.
pub(crate) fn duplicate_repository(what: &str, other: &str) -> Failure {
    Failure::refused(what)
        .why(
            "two entries for one repository would be updated at the same time; nothing was changed",
        )
        .help(format!("use {other}, or give this host its own --repo"))
}

/// What a rollout is to go to is not there.
pub(crate) fn no_target(reference: &str) -> Failure {
    Failure::refused(format!("{reference} cannot be found"))
        .help("name a commit in full, or a branch of the remote, with --to")
}

/// Another rollout has the one place: which, whose, how old, and what can be done about it.
pub(crate) fn active(
    id: RolloutId,
    started_by: &str,
    created_at: Timestamp,
    attended: bool,
    paused: bool,
) -> Failure {
    let id = id.short();
    let (state, help) = match (paused, attended) {
        (true, _) => (
            "it is paused; nothing was changed",
            format!("rollout-cli resume {id}, or abort {id}"),
        ),
        (false, true) => (
            "a live process works on it; nothing was changed",
            format!("rollout-cli watch {id}, pause {id}, or abort {id}"),
        ),
        (false, false) => (
            "it was interrupted, and no live process works on it",
            format!("rollout-cli resume {id}, or abort {id}"),
        ),
    };
    Failure::new(
        Exit::Active,
        format!(
            "rollout {id} is active; {started_by} started it {}",
            ago(created_at)
        ),
    )
    .why(state)
    .help(help)
}

/// A newer version has written to a rollout, and no process of that version works on it now.
pub(crate) fn left_to_newer(exit: Exit, id: RolloutId) -> Failure {
    let id = id.short();
    Failure::new(
        exit,
        format!("rollout {id} is carried on by a newer version of rollout-cli or rollout-server"),
    )
    .why("no process of that version works on it now; this one cannot go on with it")
    .help(format!(
        "rollout-cli resume {id} with the newer version, or start a server of it"
    ))
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        let failure = Self::refused(&error);
        match error {
            EndpointError::NoIdentity { .. } => {
                failure.help("set key in the [ssh] section of rollout.toml, or start an ssh-agent")
            }
            EndpointError::Jump { .. } => failure.help(JUMP_HELP),
            _ => failure,
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Store(error) => error.into(),
            PlanError::Invalid(error) => error.into(),
            PlanError::Endpoint(error) => error.into(),
            PlanError::NotOver { .. } => {
                Self::new(Exit::Active, &error).help("rollout-cli watch follows it, abort ends it")
            }
            error => {
                let failure = Self::refused(&error);
                match error {
                    PlanError::EmptyFleet => {
                        failure.help("rollout-cli hosts add NAME --address A, or hosts import FILE")
                    }
                    PlanError::UnknownWords { .. } | PlanError::NothingSelected => failure
                        .why("nothing was changed")
                        .help("rollout-cli hosts list shows names and labels"),
                    PlanError::DifferentBranches { .. } => failure
                        .help("choose hosts that share them with --on; hosts list shows labels"),
                    PlanError::UnknownRollout { .. } => {
                        failure.help("rollout-cli rollouts list shows them")
                    }
                    _ => failure.why("nothing was changed"),
                }
            }
        }
    }
}

impl From<TriggerRefusal> for Failure {
    fn from(error: TriggerRefusal) -> Self {
        match error {
            TriggerRefusal::Refused(error) => error.into(),
            TriggerRefusal::Endpoint(error) => error.into(),
            TriggerRefusal::Identity { ref source, .. } => {
                let help = match source {
                    IdentityError::NeedsPassphrase { .. }
                    | IdentityError::WrongPassphrase { .. } => {
                        "set passphrase_file in the [ssh] section of rollout.toml, or use the ssh-agent"
                    }
                    IdentityError::TooOpen { .. } => {
                        "take the rights away and run the command again; no host was touched"
                    }
                    _ => "rollout-cli doctor looks at keys and agent; no host was touched",
                };
                Self::refused(&error).why(source).help(help)
            }
            TriggerRefusal::NobodyServes => Self::refused(&error)
                .help("leave --detach out, or start a rollout-server on this database"),
            error => Self::refused(&error),
        }
    }
}

impl From<AgainError> for Failure {
    fn from(error: AgainError) -> Self {
        match error {
            AgainError::Plan(error) => error.into(),
            AgainError::Trigger(error) => error.into(),
            error => Self::unexpected(error),
        }
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        Self::unexpected("the work on the rollout could not go on")
            .why(error)
            .help("rollout-cli status shows where things stand, rollout-cli resume goes on")
    }
}

impl From<SettleError> for Failure {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Verb(error) => error.into(),
            SettleError::Work(error) => error.into(),
            error => Self::unexpected(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_three_printable_lines_at_most() {
        let failure = Failure::refused("a\nb\x1b[31m").why("c\n\n d").help("e");
        assert_eq!(failure.lines(), ["error: a; b\\x1b[31m", "  c; d", "  e"]);
    }
}
