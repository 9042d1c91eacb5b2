//! What the facts mean. Every decision of an attempt is made here, from facts alone: no connection, no clock.

mod inspection;
mod place;
mod service;

use fleet_types::{Reason, StepId};
use ssh_exec::CommandOutput;

use crate::facts::Tree;
use crate::failure::{Effect, Failure, one_line, telling_line, with_detail};

pub(crate) use inspection::{Decision, judge_inspection, problems};
pub(crate) use place::{judge_checkout, judge_pull};
pub(crate) use service::{Verified, judge_install, judge_restart, judge_verify};

/// Whether a look came to its end. One that did not says nothing about the host, whatever it reported before.
pub(crate) fn judge_exit(output: &CommandOutput, step: StepId) -> Result<(), Failure> {
    if output.exit == 0 {
        return Ok(());
    }
    let cause = format!("the look at the host ended with exit code {}", output.exit);
    let message = with_detail(&cause, &telling_line(output));
    Err(Failure::new(step, Reason::Internal, message).with(Effect::NotRun))
}

fn dirty_message(tree: &Tree) -> String {
    let Some(count) = tree.dirty else {
        return "git could not tell whether files were changed".to_owned();
    };
    let named = tree.dirty_files.join(", ");
    let more = count.saturating_sub(tree.dirty_files.len() as u64);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    one_line(&format!("changed by hand: {named}{more}"))
}

fn space_or(said: &str, other: Reason) -> Reason {
    if said.contains("No space left") || said.contains("Disk quota exceeded") {
        Reason::NoSpace
    } else {
        other
    }
}
