//! The commands of an attempt: which script, which parameters, and how long it may take.

use std::time::Duration;

use fleet_types::{AppSettings, BranchName, CommitHash, Previous, StepId};
use ssh_exec::{HostGuard, RemoteCommand};

use crate::facts::Unit;

/// Seconds that we wait beyond what the host may take: for killed commands to die, and for a slow network.
const GRACE: u32 = 20;
/// The longest start or stop limit of a unit that is waited out, in seconds; `infinity` counts as this.
const LONGEST_UNIT_LIMIT: u64 = 600;
/// The longest wait for systemd to allow another start, in seconds.
const LONGEST_START_LIMIT_WAIT: u64 = 60;

macro_rules! body {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("scripts/", $file)), "\n"),+)
    };
}

const INSPECT: &str = body!("common.sh", "inspect.sh");
const PULL: &str = body!("common.sh", "moving.sh", "pull.sh");
const CHECKOUT: &str = body!("common.sh", "moving.sh", "checkout.sh");
const INSTALL: &str = body!("common.sh", "install.sh");
const RESTART: &str = body!("common.sh", "restart.sh");
const VERIFY: &str = body!("common.sh", "verify.sh");
const RESOLVE: &str = body!("common.sh", "resolve.sh");

/// One command, not yet addressed: the guard is added when it is sent, for the epoch may have grown.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    body: &'static str,
    params: Vec<(&'static str, String)>,
    /// What the command's own limits on the host come to.
    host_seconds: u32,
    /// Whether it runs under the host's lock.
    pub(crate) guarded: bool,
}

impl Work {
    fn new(name: &'static str, body: &'static str, host_seconds: u32) -> Self {
        Self {
            name,
            body,
            params: Vec::new(),
            host_seconds,
            guarded: true,
        }
    }

    fn unguarded(mut self) -> Self {
        self.guarded = false;
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// How long one that was left behind may keep the lock.
    pub(crate) fn host_seconds(&self) -> u32 {
        self.host_seconds
    }

    /// How long an answer may take in all, with this wait for the lock.
    pub(crate) fn limit_seconds(&self, lock_wait: u32) -> u32 {
        self.host_seconds
            .saturating_add(lock_wait)
            .saturating_add(GRACE)
    }

    /// The command for one sending. `again`: it may have run before, in whole or in part.
    pub(crate) fn command(&self, guard: Option<HostGuard>, again: bool) -> RemoteCommand {
        let lock_wait = guard.as_ref().map_or(0, |guard| guard.wait_seconds);
        let deadline = Duration::from_secs(u64::from(self.limit_seconds(lock_wait)));
        let mut command = RemoteCommand::new(self.name, self.body, deadline);
        for (name, value) in &self.params {
            let value = if again && *name == "resume" {
                "1"
            } else {
                value
            };
            command = command.param(name, value);
        }
        match guard {
            Some(guard) => command.guarded(guard),
            None => command,
        }
    }
}

pub(crate) fn inspect(app: &AppSettings, target: Option<&CommitHash>) -> Work {
    // The look at the tree and the question to sudo have limits of their own on the host; the rest is quick.
    Work::new(
        StepId::Inspect.as_str(),
        INSPECT,
        app.timeouts.inspect.saturating_add(20),
    )
    .unguarded()
    .with("repo", app.repo.as_str())
    .with("service", app.service.as_str())
    .with("generated", app.generated.join("\n"))
    .with("patience", app.timeouts.inspect.to_string())
    .with("target", target.map(CommitHash::as_str).unwrap_or_default())
    .with("install_word", first_word(&app.install).unwrap_or_default())
}

/// Which way the pull step moves HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A fast-forward.
    Forward,
    /// Back to an earlier commit.
    Back,
}

/// What the pull step needs beyond the app's settings.
#[derive(Clone, Debug)]
pub(crate) struct Pull<'a> {
    pub(crate) previous: &'a Previous,
    pub(crate) target: &'a CommitHash,
    /// The branch that must have the target.
    pub(crate) on_branch: Option<&'a BranchName>,
    pub(crate) direction: Direction,
    /// Whether the inspection found the target on the host.
    pub(crate) known: bool,
    /// Whether an earlier one may have run.
    pub(crate) resume: bool,
}

pub(crate) fn pull(app: &AppSettings, pull: &Pull<'_>) -> Work {
    let limit = app.timeouts.pull;
    let flag = |yes: bool| if yes { "1" } else { "0" };
    let direction = match pull.direction {
        Direction::Forward => "forward",
        Direction::Back => "back",
    };
    let work = Work::new(StepId::Pull.as_str(), PULL, pull_seconds(app));
    moving(work, app, pull.previous)
        .with("remote", app.remote.as_str())
        .with(
            "branch_name",
            pull.on_branch.unwrap_or(&app.branch).as_str(),
        )
        .with("on_branch", flag(pull.on_branch.is_some()))
        .with("target", pull.target.as_str())
        .with("direction", direction)
        .with("known", flag(pull.known))
        .with("resume", flag(pull.resume))
        .with("low_speed", (limit / 2).max(1).to_string())
}

/// Two fetches, the move and the submodules at most, each with its limit, and the looks in between.
pub(crate) fn pull_seconds(app: &AppSettings) -> u32 {
    let limits = app.timeouts.pull.saturating_mul(4);
    limits.saturating_add(app.timeouts.inspect)
}

/// For so long nothing may be heard of a host while it is in this step and somebody is at work on it: a connection, the host's
/// lock and the step. Without a step, the longest of all.
#[must_use]
pub fn longest_silence(step: Option<StepId>, app: &AppSettings, settle: Duration) -> Duration {
    let limits = &app.timeouts;
    let restart = 2 * LONGEST_UNIT_LIMIT + 10 + LONGEST_START_LIMIT_WAIT;
    let of = |step| match step {
        StepId::Pull => pull_seconds(app).into(),
        StepId::RollbackCheckout => checkout_seconds(app).into(),
        StepId::Install | StepId::RollbackInstall => u64::from(limits.install) + 10,
        StepId::Restart | StepId::RollbackRestart => restart.max(limits.restart.into()),
        StepId::Settle | StepId::RollbackSettle => settle.as_secs() + 1,
        _ => u64::from(limits.verify) + u64::from(limits.inspect) + 20,
    };
    let all = [
        StepId::RollbackCheckout,
        StepId::Install,
        StepId::Restart,
        StepId::Settle,
        StepId::Verify,
    ];
    let step = step.map_or_else(|| all.map(of).into_iter().max().unwrap_or_default(), of);
    let around = [limits.reconnect, limits.lock, GRACE].map(u64::from);
    Duration::from_secs(around.into_iter().sum::<u64>().saturating_add(step))
}

/// What is thrown away is kept first, then two moves and the submodules, each with its limit, and the looks around them.
pub(crate) fn checkout_seconds(app: &AppSettings) -> u32 {
    let limits = app.timeouts.pull.saturating_mul(4);
    limits.saturating_add(app.timeouts.inspect.saturating_mul(2))
}

pub(crate) fn checkout(app: &AppSettings, previous: &Previous, other: &CommitHash) -> Work {
    let work = Work::new(
        StepId::RollbackCheckout.as_str(),
        CHECKOUT,
        checkout_seconds(app),
    );
    moving(work, app, previous).with("other", other.as_str())
}

fn moving(work: Work, app: &AppSettings, previous: &Previous) -> Work {
    work.with("repo", app.repo.as_str())
        .with("generated", app.generated.join("\n"))
        .with("patience", app.timeouts.inspect.to_string())
        .with("limit", app.timeouts.pull.to_string())
        .with("previous", previous.version.as_str())
        .with("attached", previous.branch.as_deref().unwrap_or_default())
}

pub(crate) fn install(app: &AppSettings, step: StepId) -> Work {
    Work::new(
        step.as_str(),
        INSTALL,
        app.timeouts.install.saturating_add(10),
    )
    .with("repo", app.repo.as_str())
    .with("limit", app.timeouts.install.to_string())
    .with("install", app.install.as_str())
}

/// `seen` is the unit as inspected: it states how long it may take. `user` is the user's number, if that was seen.
pub(crate) fn restart(app: &AppSettings, step: StepId, seen: &Unit, user: Option<&str>) -> Work {
    let seconds =
        |limit: Option<Duration>| limit.map_or(0, |d| d.as_secs().min(LONGEST_UNIT_LIMIT));
    let unit_limit = seconds(seen.start_limit) + seconds(seen.stop_limit) + 10;
    let interval = seen
        .start_limit_interval
        .map_or(10, |d| d.as_secs())
        .clamp(1, LONGEST_START_LIMIT_WAIT);
    let restart = u64::from(app.timeouts.restart).max(unit_limit);
    let host_seconds = u32::try_from(restart + interval).unwrap_or(u32::MAX);
    Work::new(step.as_str(), RESTART, host_seconds)
        .with("service", app.service.as_str())
        .with("start_limit_wait", (interval + 1).to_string())
        .with("user", user.unwrap_or_default())
}

/// With `proves`, install and restart went well on that commit: when all is well, the host is not marked any more.
pub(crate) fn verify(
    app: &AppSettings,
    step: StepId,
    baseline: &Unit,
    proves: Option<&CommitHash>,
) -> Work {
    let seconds = app
        .timeouts
        .verify
        .saturating_add(app.timeouts.inspect)
        .saturating_add(20);
    Work::new(step.as_str(), VERIFY, seconds)
        .with("repo", app.repo.as_str())
        .with("service", app.service.as_str())
        .with("generated", app.generated.join("\n"))
        .with("patience", app.timeouts.inspect.to_string())
        .with("limit", app.timeouts.verify.to_string())
        .with("verify", app.verify.as_deref().unwrap_or_default())
        .with("seen_restarts", baseline.restarts.as_str())
        .with("seen_invocation", baseline.invocation.as_str())
        .with("proves", proves.map(CommitHash::as_str).unwrap_or_default())
}

/// Asks for the tip of `branch`, or with `commit` whether it can be had.
pub(crate) fn resolve(app: &AppSettings, branch: &BranchName, commit: Option<&CommitHash>) -> Work {
    let seconds = app.timeouts.pull.saturating_mul(2).saturating_add(20);
    Work::new("resolve", RESOLVE, seconds)
        .unguarded()
        .with("repo", app.repo.as_str())
        .with("remote", app.remote.as_str())
        .with("branch_name", branch.as_str())
        .with("commit", commit.map(CommitHash::as_str).unwrap_or_default())
        .with("limit", app.timeouts.pull.to_string())
}

/// The command that an install line starts with, when it can be looked up before the update: a bare name or an absolute
/// path, after assignments of variables. A script inside the repository may only come with the target.
fn first_word(install: &str) -> Option<&str> {
    let is_assignment = |word: &&str| {
        word.split_once('=').is_some_and(|(name, value)| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !value.contains(['"', '\'', '\\', '$', '`'])
        })
    };
    let word = install
        .split_whitespace()
        .find(|word| !is_assignment(word))?;
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._+-/".contains(c));
    let findable = word.starts_with('/') || !word.contains('/');
    (plain && findable && !word.starts_with('-')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_is_looked_up() {
        for (install, word) in [
            ("bun install", Some("bun")),
            ("  /opt/bun/bin/bun   install", Some("/opt/bun/bin/bun")),
            ("NODE_ENV=production CI=1 bun install", Some("bun")),
            ("./install.sh", None),
            ("scripts/install", None),
            ("$HOME/.bun/bin/bun install", None),
            ("X='a b' bun install", None),
            ("(cd web && bun install)", None),
            ("-x", None),
            ("A=1", None),
        ] {
            assert_eq!(first_word(install), word, "{install}");
        }
    }
}
