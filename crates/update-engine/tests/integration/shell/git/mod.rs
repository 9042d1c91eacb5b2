//! Git: what is refused untouched, what is taken back, and what a killed git leaves.

mod back;
mod forward;
mod half_way;
mod refused;
mod repositories;

use std::fs;

use fleet_types::{CommitHash, Phase, Previous, Progress, Reason, StepId};
use update_engine::AttemptSpec;

use super::place::Place;

/// A worker found the pull too slow, and was to take the host back.
fn back() -> Phase {
    Phase::Back {
        step: StepId::Pull,
        reason: Reason::Timeout,
        message: "it took too long".to_owned(),
    }
}

/// A pull that was killed with a part of the new files written, its lock left behind, and everything else as before.
fn half_way(place: &Place, new: &CommitHash, step: StepId, phase: Phase) -> Progress {
    let progress = on_record(place, step, phase);
    place.git(&["fetch", "--quiet", "origin", new.as_str()]);
    fs::create_dir(place.path("state/app/.git/rollout")).unwrap();
    place.write(
        "state/app/.git/rollout/moving",
        &format!("{} {new}\n", place.head()),
    );
    place.write("state/app/.git/index.lock", "half an index");
    place.write("state/app/only-in-two", "t");
    fs::remove_file(place.path("state/app/only-in-one")).unwrap();
    place.write("state/app/release", "two");
    progress
}

/// What a worker leaves on record that died after it recorded a step and before it sent it.
fn on_record(place: &Place, step: StepId, phase: Phase) -> Progress {
    Progress {
        previous: Some(Previous {
            version: place.head(),
            branch: Some("main".to_owned()),
            was_active: true,
        }),
        touched: true,
        phase,
        step: Some(step),
    }
}

/// The attempt of a worker that takes over with this on record.
fn resumed(place: &Place, target: &CommitHash, progress: Progress) -> AttemptSpec {
    AttemptSpec {
        progress,
        ..place.spec(target)
    }
}
