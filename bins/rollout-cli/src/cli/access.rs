use std::time::Duration;

use clap::{Args, Subcommand};
use fleet_types::{LoginName, Role};

/// `users`
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Add a person who may sign in to the server
    Add {
        /// Name to sign in with; an owner sees the hosts with this --owner
        name: LoginName,
        /// What they may do: admin, operator, viewer or owner
        #[arg(long)]
        role: Role,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List everybody
    #[command(visible_alias = "ls")]
    List,
    /// Set a new password and end all sessions of that person
    Passwd {
        /// Whose
        name: LoginName,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Lock a person out at once: sessions end, tokens that they made are refused
    Disable {
        /// Who
        name: LoginName,
    },
    /// Let a person in again
    Enable {
        /// Who
        name: LoginName,
    },
}

/// Where a password comes from. Never from the command line, which others can see.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PasswordSource {
    /// Read the password from standard input, one line; without it, it is asked for twice
    #[arg(long)]
    pub password_stdin: bool,
}

/// `tokens`
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token for a program; it is shown this once
    Create {
        /// What it acts as; with the role owner, the owner whose hosts it sees
        name: LoginName,
        /// What it may do: admin, operator, viewer or owner
        #[arg(long)]
        role: Role,
        /// When it ends by itself: 90d, 12h, 30m; without it, when it is revoked
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
    },
    /// List them, those that are over too
    #[command(visible_alias = "ls")]
    List,
    /// End a token at once
    Revoke {
        /// Its id, or the name of one that is in force
        #[arg(value_name = "ID|NAME")]
        token: String,
    },
}

/// `audit`
#[derive(Clone, Debug, Args)]
pub(crate) struct Audit {
    /// Only what is not older: 7d, 12h, 30m
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Duration>,
    /// Only what this person or token did, as it is shown
    #[arg(long)]
    pub actor: Option<String>,
    /// Only this, as it is shown: host.edit
    #[arg(long)]
    pub action: Option<String>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// Longest time that can be said, ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);
/// Shortest life of a token; less is a mistake.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

fn lifetime(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < SHORTEST_LIFE {
        return Err("must be one minute at least".to_owned());
    }
    Ok(time)
}

/// `7d`, `12h`, `30m`, `20s`.
fn time(text: &str) -> Result<Duration, String> {
    let form = || "is a number with s, m, h or d, as in 90d".to_owned();
    let unit = text.chars().next_back().ok_or_else(form)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(form()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(form());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| "must be 3650d at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_they_are_typed() {
        for (text, seconds) in [
            ("90d", Some(7_776_000)),
            ("12h", Some(43_200)),
            ("0s", Some(0)),
            ("3650d", Some(315_360_000)),
            ("3651d", None),
            ("99999999999999999999d", None),
            ("", None),
            ("d", None),
            ("90", None),
            ("-1d", None),
            ("+1d", None),
            ("1.5h", None),
            ("9ü", None),
        ] {
            let read = time(text).ok().map(|time| time.as_secs());
            assert_eq!(read, seconds, "{text:?}");
        }
        assert!(lifetime("59s").is_err() && lifetime("1m").is_ok());
    }
}
