//! From a command to the text sent to the host.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use crate::command::{HostGuard, RemoteCommand};
use crate::quote::quote;
use crate::transport::SessionError;

static PRELUDE: LazyLock<String> = LazyLock::new(|| squeeze(include_str!("prelude.sh")));
static GUARD: LazyLock<String> = LazyLock::new(|| squeeze(include_str!("guard.sh")));

/// Our own text without what is there for its readers: comments and indentation.
fn squeeze(script: &str) -> String {
    script
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// What is asked of sshd. The login shell only has to replace itself by a POSIX shell, in words that bash, dash, fish,
/// csh and zsh all understand; everything else comes over standard input.
pub const EXEC_REQUEST: &str = "exec /bin/sh -s";

/// The text for one run of one command, under a marker of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    marker: String,
    script: String,
}

/// Values of the marker and of parameters stay out of logs.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("bytes", &self.script.len())
            .finish_non_exhaustive()
    }
}

impl Frame {
    /// Renders the command with a fresh random marker.
    ///
    /// # Errors
    ///
    /// [`SessionError::Unsendable`] when a value contains a NUL byte, a parameter's name is not `[a-z][a-z0-9_]*` or
    /// begins with `rollout_`, or the guard's store is not `[A-Za-z0-9._-]+` or its epoch outside `0..10^18`.
    pub fn render(command: &RemoteCommand) -> Result<Self, SessionError> {
        Self::with_marker(command, format!("{:032x}", rand::random::<u128>()))
    }

    fn with_marker(command: &RemoteCommand, marker: String) -> Result<Self, SessionError> {
        let script = script(command, &marker).map_err(|cause| SessionError::Unsendable {
            command: command.name(),
            cause,
        })?;
        Ok(Self { marker, script })
    }

    /// The text for the shell's standard input, to be followed by end of file.
    ///
    /// Nothing of it runs when its end is lost with the connection or its beginning is eaten by a start-up file that
    /// reads standard input: what is left is a single command with an unterminated quote. Should both be lost at once,
    /// what is left is a single word: everything is encoded that stands between words or means something to a shell.
    #[must_use]
    pub fn stdin(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.script.len() * 2);
        text.extend_from_slice(b"eval \"$(printf '%b' '");
        for byte in self.script.bytes() {
            match byte {
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\\' => text.extend_from_slice(b"\\\\"),
                _ if is_plain(byte) => text.push(byte),
                other => {
                    let digits = [other >> 6, other >> 3 & 7, other & 7].map(|digit| b'0' + digit);
                    text.extend_from_slice(b"\\0");
                    text.extend_from_slice(&digits);
                }
            }
        }
        text.extend_from_slice(b"')\"\n");
        text
    }

    /// The random marker of this run.
    #[must_use]
    pub fn marker(&self) -> &str {
        &self.marker
    }
}

/// A character of a word that a shell takes as it is, wherever in a word it stands.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:,@%+".contains(&byte)
}

/// The whole script. One brace group, so that a body with a syntax error does not run up to the error.
fn script(command: &RemoteCommand, marker: &str) -> Result<String, String> {
    let mut text = String::with_capacity(8 * 1024);
    text.push_str(
        "{\nset +aefuvxC\n\
         unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES \
         GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_SHALLOW_FILE\n\
         LC_ALL=C\nexport LC_ALL\n",
    );
    assign(&mut text, "rollout_mark", marker)?;
    assign(&mut text, "rollout_newline", "\n")?;
    assign(&mut text, "rollout_home", "")?;
    text.push_str(&PRELUDE);
    text.push_str(
        "printf '\\n%s begin\\n' \"$rollout_mark\" >&2\nprintf '\\n%s begin\\n' \"$rollout_mark\"\n(\nexec 8>&1 </dev/null\n",
    );
    for (name, value) in command.params() {
        check_name(name)?;
        assign(&mut text, name, value)?;
    }
    if let Some(guard) = command.guard() {
        guard_script(&mut text, guard)?;
    }
    text.push_str(command.body());
    text.push_str(
        "\n)\nrollout_code=$?\nprintf '\\n%s end %s\\n' \"$rollout_mark\" \"$rollout_code\" >&2\n\
         printf '\\n%s end %s\\n' \"$rollout_mark\" \"$rollout_code\"\nexit \"$rollout_code\"\n}",
    );
    Ok(text)
}

/// A variable that no child sees: the name may have come in exported with the login environment.
fn assign(text: &mut String, name: &str, value: &str) -> Result<(), String> {
    let word = quote(value).map_err(|error| format!("parameter {name} contains {error}"))?;
    let _ = writeln!(text, "unset {name}\n{name}={word}");
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let well_formed = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if well_formed && !name.starts_with("rollout_") {
        Ok(())
    } else {
        Err(format!("{name:?} is not a name for a parameter"))
    }
}

fn guard_script(text: &mut String, guard: &HostGuard) -> Result<(), String> {
    let named = !guard.store.is_empty()
        && guard
            .store
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !named {
        return Err(format!("{:?} is not a name for a store", guard.store));
    }
    if !(0..1_000_000_000_000_000_000).contains(&guard.epoch) {
        return Err(format!("{} is not an epoch", guard.epoch));
    }
    let replace = guard
        .replace
        .as_ref()
        .map(|(store, epoch)| format!("{store} {epoch}"))
        .unwrap_or_default();
    assign(text, "rollout_repo", &guard.repo)?;
    assign(text, "rollout_store", &guard.store)?;
    assign(text, "rollout_epoch", &guard.epoch.to_string())?;
    assign(text, "rollout_replace", &replace)?;
    assign(text, "rollout_wait", &guard.wait_seconds.to_string())?;
    text.push_str(&GUARD);
    Ok(())
}
