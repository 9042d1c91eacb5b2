//! Everything that can be made to go wrong on a host.

use std::time::Duration;

use crate::release::seconds;

/// One thing that goes wrong on one host from the moment it is set.
///
/// Faults add up, except that a later one at the same point of the same command replaces the earlier. They stay until
/// [`LocalHost::clear_faults`](crate::LocalHost::clear_faults), those with a [`Turn`] that is used up do nothing more.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// A command goes wrong.
    Command {
        /// Which command.
        point: CommandPoint,
        /// How it goes wrong.
        failure: CommandFailure,
        /// At which of its calls, counted from now.
        turn: Turn,
    },
    /// The connection is reset around a command. What the command started goes on, as under sshd without a terminal.
    Cut {
        /// When, in the life of the command.
        at: CutAt,
        /// Only for commands whose standard input has this text; `None` for all.
        script: Option<String>,
        /// At which of them, counted from now.
        turn: Turn,
    },
    /// Connections that are open now, and those opened later, carry nothing more in either direction.
    Stalled,
    /// Nothing listens; open connections are reset.
    Down,
    /// Connections are accepted, and not a byte is sent.
    Mute,
    /// Connections are accepted and closed at once, as by an sshd that has too many; at which, counted from now.
    HangsUp(Turn),
    /// The client's key is not accepted.
    AuthRefused,
    /// The host shows a key of its own making that nobody has seen before.
    HostKeyChanged,
    /// The shell runs this text before each command, as it would a start-up file: `echo hello`, `exit 0`.
    StartupFile(String),
    /// This command runs in place of whatever the client asked for, and signals are refused.
    ForcedCommand(String),
    /// git finds no space for anything that it would write. `df` still shows plenty.
    DiskFull,
    /// `df` says that this little space is left, in KiB. Nothing else fails.
    LowSpace(u64),
    /// git may write nothing.
    ReadOnlyRepository,
    /// A tracked file has an edit that is in no commit.
    DirtyTree,
    /// A dead git has left `.git/index.lock`.
    StaleIndexLock,
    /// A dead git has left the lock of the branch that is checked out, or of `HEAD` when it is detached.
    StaleRefLock,
    /// `HEAD` names its commit directly. [`LocalHost::clear_faults`](crate::LocalHost::clear_faults) leaves it so.
    DetachedHead,
    /// systemd knows no such unit.
    UnitMissing,
    /// The unit is masked.
    UnitMasked,
    /// The service is stopped now. A later restart brings it up.
    UnitDown,
    /// The service takes this long to stop. The restart job goes on when the client that asked for it is killed.
    SlowStop(Duration),
    /// There is no `bun` on the PATH of the host (unless the machine has one in `/usr/local/bin`, `/usr/bin` or `/bin`).
    NoBun,
    /// sudo wants a password.
    NoSudo,
}

/// A command that can be made to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandPoint {
    /// A git subcommand: `fetch`, `merge`, `checkout`, `reset`, `rev-parse`, ...
    Git(&'static str),
    /// `bun install`.
    Install,
    /// `systemctl` with this verb: `restart`, `show`, `is-active`, ...
    Systemctl(&'static str),
    /// `sudo`, before it runs anything.
    Sudo,
    /// `verify-app`.
    Verify,
}

/// How a command goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandFailure {
    /// It does nothing, says this on standard error and ends with this status.
    Exit(u8, String),
    /// It does nothing for this long, and then what it should.
    Hang(Duration),
    /// It is killed (`SIGKILL`) before it did anything.
    Killed,
    /// It does what it should, and ends with this status nevertheless.
    DoneBut(u8),
}

/// At which calls a fault acts, counted from when it was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// At every one.
    #[default]
    Every,
    /// At this one alone; the first is 1.
    Only(u32),
    /// At the first so many.
    First(u32),
}

/// When a connection is reset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutAt {
    /// Before the command runs: nothing of it ever does. (With a `script` text: before the shell gets that text.)
    Before,
    /// This long after the command started.
    During(Duration),
    /// As soon as the host's log gains a line with this text: `begin bun install`, `end systemctl 0`, ...
    WhenLogged(String),
    /// When the command has ended, and before anything that it wrote has been sent.
    After,
}

impl Fault {
    /// A command that fails at every call with this status and a message that says so.
    #[must_use]
    pub fn fails(point: CommandPoint, status: u8) -> Self {
        Self::command(
            point,
            CommandFailure::Exit(status, format!("fatal: fault injected, status {status}")),
        )
    }

    /// A command that goes wrong at every call.
    #[must_use]
    pub fn command(point: CommandPoint, failure: CommandFailure) -> Self {
        Self::Command {
            point,
            failure,
            turn: Turn::Every,
        }
    }

    /// A connection reset at every command.
    #[must_use]
    pub fn cut(at: CutAt) -> Self {
        Self::Cut {
            at,
            script: None,
            turn: Turn::Every,
        }
    }

    /// The same at other calls. Only faults that hold a [`Turn`] have turns.
    #[must_use]
    pub fn turn(mut self, new: Turn) -> Self {
        if let Self::Command { turn, .. } | Self::Cut { turn, .. } | Self::HangsUp(turn) = &mut self
        {
            *turn = new;
        }
        self
    }

    /// The same, only for commands whose standard input has this text, with bytes written as for `printf %b` (`\0040`) read as
    /// what they stand for. Only a [`Fault::Cut`] looks at it.
    #[must_use]
    pub fn in_script(mut self, text: impl Into<String>) -> Self {
        if let Self::Cut { script, .. } = &mut self {
            *script = Some(text.into());
        }
        self
    }
}

impl CommandPoint {
    /// The file that sets a fault here.
    pub(crate) fn file(&self) -> String {
        match self {
            Self::Git(sub) => format!("git-{sub}"),
            Self::Install => "bun-install".into(),
            Self::Systemctl(verb) => format!("systemctl-{verb}"),
            Self::Sudo => "sudo".into(),
            Self::Verify => "verify-app".into(),
        }
    }
}

impl CommandFailure {
    /// The line that the stand-ins read: what, its value, the turn, its number, a message.
    pub(crate) fn line(&self, turn: Turn) -> String {
        let (turn, number) = match turn {
            Turn::Every => ("every", 0),
            Turn::Only(number) => ("only", number),
            Turn::First(number) => ("first", number),
        };
        match self {
            Self::Exit(status, message) => {
                format!(
                    "exit {status} {turn} {number} {}\n",
                    message.replace('\n', " ")
                )
            }
            Self::Hang(time) => format!("hang {} {turn} {number}\n", seconds(*time)),
            Self::Killed => format!("kill 0 {turn} {number}\n"),
            Self::DoneBut(status) => format!("late {status} {turn} {number}\n"),
        }
    }
}

impl Turn {
    /// Whether the call that makes it `seen` calls is one to act at.
    pub(crate) fn is_due(self, seen: u32) -> bool {
        match self {
            Self::Every => true,
            Self::Only(number) => seen == number,
            Self::First(number) => seen <= number,
        }
    }
}
