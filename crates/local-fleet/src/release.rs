//! What a commit of the fleet's app does on the hosts that run it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a release is to be: its message, and how it behaves on the hosts.
///
/// Everything is written into `app.conf` of the commit, so behaviour travels with the code: a host that is taken back
/// to an older commit behaves like the older commit.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseSpec {
    /// The commit message.
    pub message: String,
    /// How the service behaves once it is started on this release.
    pub service: ServiceBehaviour,
    /// What `bun install` does on this release.
    pub install: InstallBehaviour,
    /// What `verify-app` says on this release.
    pub verify: VerifyBehaviour,
    /// The hosts that the three above hold for; everywhere else all is well. Empty means every host.
    pub broken_hosts: Vec<String>,
}

/// How the service of a release behaves once started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum ServiceBehaviour {
    /// It starts at once and stays up.
    #[default]
    Ok,
    /// It is up for `up`, dies, is started again after `down`, and so on for ever.
    CrashLoop {
        /// How long each life lasts.
        up: Duration,
        /// How long the unit stays in `auto-restart`.
        down: Duration,
    },
    /// It is up for this long, then dies and is not started again.
    DiesAfter(Duration),
    /// `systemctl restart` fails, and the unit with it.
    FailsToStart,
    /// It is `activating` for this long, in which `systemctl restart` blocks, then up.
    SlowStart(Duration),
}

/// What `bun install` of a release does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum InstallBehaviour {
    /// It succeeds at once.
    #[default]
    Ok,
    /// It takes this long and succeeds.
    Slow(Duration),
    /// It fails with status 1 and leaves a half-installed `node_modules`.
    Fail,
    /// It never ends.
    Hang,
    /// It succeeds and has rewritten the tracked `bun.lock`.
    TouchesLock,
    /// It succeeds and leaves a daemon behind that holds every file descriptor it got, for a minute.
    Daemon,
    /// It succeeds and writes this many bytes to its standard output.
    Noisy(u64),
}

/// What `verify-app` of a release says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum VerifyBehaviour {
    /// All is well.
    #[default]
    Ok,
    /// All is well, after this long.
    Slow(Duration),
    /// The app does not answer: status 1.
    Fail,
}

/// A commit in the fleet's origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The full commit hash.
    pub commit: String,
    /// What `app.conf` of this commit calls itself: `r1`, `r2`, ...
    pub id: String,
    /// The commit message.
    pub message: String,
}

impl ReleaseSpec {
    /// A release on which all is well.
    #[must_use]
    pub fn good(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            service: ServiceBehaviour::Ok,
            install: InstallBehaviour::Ok,
            verify: VerifyBehaviour::Ok,
            broken_hosts: Vec::new(),
        }
    }

    /// A release whose service lives for 0.1 s and is started again 0.1 s later: any two looks that are at least
    /// 0.2 s apart see different lives.
    #[must_use]
    pub fn crash_loops(message: impl Into<String>) -> Self {
        let beat = Duration::from_millis(100);
        Self::good(message).service(ServiceBehaviour::CrashLoop {
            up: beat,
            down: beat,
        })
    }

    /// A release whose service does not start: `systemctl restart` itself fails.
    #[must_use]
    pub fn fails_to_start(message: impl Into<String>) -> Self {
        Self::good(message).service(ServiceBehaviour::FailsToStart)
    }

    /// The same with another service.
    #[must_use]
    pub fn service(mut self, service: ServiceBehaviour) -> Self {
        self.service = service;
        self
    }

    /// The same with another install.
    #[must_use]
    pub fn install(mut self, install: InstallBehaviour) -> Self {
        self.install = install;
        self
    }

    /// The same with another answer of `verify-app`.
    #[must_use]
    pub fn verify(mut self, verify: VerifyBehaviour) -> Self {
        self.verify = verify;
        self
    }

    /// The same, but only these hosts are affected.
    #[must_use]
    pub fn only_on<N: Into<String>>(mut self, hosts: impl IntoIterator<Item = N>) -> Self {
        self.broken_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// The text of `app.conf`.
    pub(crate) fn configuration(&self, id: &str) -> String {
        let mut text = format!(
            "# How this release behaves on the hosts of a local fleet.\nrelease={id}\nservice={}\ninstall={}\nverify={}\n",
            self.service, self.install, self.verify
        );
        if !self.broken_hosts.is_empty() {
            text.push_str(&format!("broken_hosts={}\n", self.broken_hosts.join(",")));
        }
        text
    }
}

/// Seconds as the stand-ins read them: digits, a point, two digits.
pub(crate) fn seconds(duration: Duration) -> String {
    let centiseconds = duration.as_millis().div_ceil(10);
    format!("{}.{:02}", centiseconds / 100, centiseconds % 100)
}

impl fmt::Display for ServiceBehaviour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => out.write_str("ok"),
            // A period of no length would be divided by; the least is a hundredth of a second up.
            Self::CrashLoop { up, down } => {
                write!(
                    out,
                    "crash_loop:{}:{}",
                    seconds((*up).max(Duration::from_millis(10))),
                    seconds(*down)
                )
            }
            Self::DiesAfter(after) => write!(out, "dies_after:{}", seconds(*after)),
            Self::FailsToStart => out.write_str("fails_to_start"),
            Self::SlowStart(after) => write!(out, "slow_start:{}", seconds(*after)),
        }
    }
}

impl fmt::Display for InstallBehaviour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => out.write_str("ok"),
            Self::Slow(time) => write!(out, "slow:{}", seconds(*time)),
            Self::Fail => out.write_str("fail"),
            Self::Hang => out.write_str("hang"),
            Self::TouchesLock => out.write_str("touches_lock"),
            Self::Daemon => out.write_str("daemon"),
            Self::Noisy(bytes) => write!(out, "noisy:{bytes}"),
        }
    }
}

impl fmt::Display for VerifyBehaviour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => out.write_str("ok"),
            Self::Slow(time) => write!(out, "slow:{}", seconds(*time)),
            Self::Fail => out.write_str("fail"),
        }
    }
}
