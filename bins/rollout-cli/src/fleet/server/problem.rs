//! What a server refuses, in the words that this program has for the same refusal on a database.

use fleet_types::{RolloutId, Timestamp};
use serde::Deserialize;

use crate::exit::Exit;
use crate::failure::{self, Failure, active, no_target};

/// An error as RFC 9457 has it, with what our server adds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: u16,
    /// What to do about a refused login.
    #[serde(skip)]
    pub(super) login_help: String,
    code: String,
    detail: String,
    request_id: String,
    errors: Vec<WrongField>,
    // Of the rollout that is in the way.
    active: Option<RolloutId>,
    started_by: String,
    created_at: Option<Timestamp>,
    attended: bool,
    paused: bool,
    /// Of a target that is not there.
    why: Option<String>,
    /// The name that is taken.
    name: Option<String>,
    /// The host that has the same repository.
    other: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrongField {
    field: String,
    message: String,
}

impl Problem {
    /// The failure, for a request to this path.
    pub(super) fn failure(self, path: &str) -> Failure {
        match (self.status, self.code.as_str()) {
            (401, _) => Failure::new(
                Exit::Unreached,
                format!("the server refuses the login: {}", self.detail),
            )
            .help(self.login_help),
            (403, _) => Failure::refused(self.detail)
                .why("nothing was changed")
                .help(
                    "it takes a token with another role: rollout-cli tokens create NAME --role R",
                ),
            (502..=504, "unreachable") => Failure::refused(self.detail),
            (502..=504, _) => Failure::new(Exit::Unreached, self.detail)
                .help("run the command again; rollout-cli doctor --server URL looks at the server")
                .that_may_pass(),
            (500.., _) => Failure::unexpected(format!("the server failed: {}", self.detail))
                .help(format!("its log knows more, under {}", self.request_id)),
            (404, _) => missing(self.detail, &self.code, path),
            (409, _) => self.conflict(path),
            (422, _) => self.unfit(),
            (429, _) => {
                Failure::refused(self.detail).help("wait a little, and run the command again")
            }
            _ => Failure::refused(self.text()),
        }
    }

    fn conflict(self, path: &str) -> Failure {
        if let (Some(id), Some(created_at)) = (self.active, self.created_at) {
            return active(id, &self.started_by, created_at, self.attended, self.paused);
        }
        let failure = Failure::refused(&self.detail);
        match self.code.as_str() {
            "duplicate_name" if path.starts_with("/api/users") => failure
                .why("nothing was changed")
                .help("rollout-cli users list shows them"),
            "duplicate_name" if path.starts_with("/api/tokens") => failure
                .why("nothing was changed")
                .help("rollout-cli tokens list shows them"),
            "duplicate_name" => {
                failure::duplicate_host(&self.detail, &self.name.unwrap_or_default())
            }
            "duplicate_repository" => {
                failure::duplicate_repository(&self.detail, &self.other.unwrap_or_default())
            }
            "host_updating" => failure.help(failure::UPDATING_HELP),
            "host_restarting" => failure.help(failure::RESTARTING_HELP),
            "last_admin" => failure
                .why("nothing was changed")
                .help("rollout-cli users add NAME --role admin adds another one first"),
            "wrong_state" => failure.help("rollout-cli rollouts list shows them all"),
            "not_over" => Failure::new(Exit::Active, &self.detail)
                .help("rollout-cli watch follows it, abort ends it"),
            "nothing_left" => failure.why("nothing was changed"),
            _ => failure.help("run the command again"),
        }
    }

    fn unfit(self) -> Failure {
        let failure = Failure::refused(self.text());
        match self.code.as_str() {
            "no_target" => {
                let reference = self.detail.trim_end_matches(" cannot be found");
                no_target(reference).why(self.why.unwrap_or_default())
            }
            "no_hosts" if self.errors.is_empty() => {
                failure.help("rollout-cli hosts add NAME --address A, or hosts import FILE")
            }
            "no_hosts" => failure
                .why("nothing was changed")
                .help("rollout-cli hosts list shows names and labels"),
            "different_branches" => {
                failure.help("choose hosts that share them with --on; hosts list shows labels")
            }
            "known_bad" => failure
                .why(failure::KNOWN_BAD_WHY)
                .help(failure::KNOWN_BAD_HELP),
            "bad_jump" => failure.help(failure::JUMP_HELP),
            "no_credential" => failure.help("the person who runs the server can set it right"),
            _ => failure.why("nothing was changed"),
        }
    }

    /// What is wrong, with the fields that are.
    fn text(&self) -> String {
        let fields: Vec<String> = self
            .errors
            .iter()
            .filter(|wrong| wrong.message != self.detail)
            .map(|wrong| format!("{}: {}", wrong.field, wrong.message))
            .collect();
        if fields.is_empty() {
            self.detail.clone()
        } else {
            fields.join("; ")
        }
    }
}

fn missing(detail: String, code: &str, path: &str) -> Failure {
    let failure = Failure::refused(detail);
    match path.split('/').nth(2) {
        Some("updates") if code == "ambiguous" => failure.help(failure::SEVERAL_HELP),
        Some("updates") => failure.help(failure::ROLLOUTS_HELP),
        Some("hosts") => failure.help("rollout-cli hosts list shows the names"),
        Some("users") => failure.help("rollout-cli users list shows them"),
        Some("tokens") => failure.help("rollout-cli tokens list shows them"),
        _ => failure.help("is the server older than this program? rollout-cli --version"),
    }
}
