//! What a worker does next about a rollout. Pure: no clock, no I/O.

use fleet_types::RolloutState;

/// What a worker knows when it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Where the rollout stands.
    pub(crate) state: RolloutState,
    /// Its hosts share a target, and that is not resolved yet.
    pub(crate) unresolved: bool,
    /// This worker is asking for the target.
    pub(crate) resolving: bool,
    /// This worker was asked to stop.
    pub(crate) leaving: bool,
    /// Hosts that this worker has in `updating`.
    pub(crate) in_flight: usize,
    /// A connection may be opened here for one more host.
    pub(crate) place: bool,
    /// The store may hold a host for this worker that the worker does not know of, or cannot go on with.
    pub(crate) in_doubt: bool,
    /// The last claim found nothing, and nothing happened since.
    pub(crate) nothing_to_claim: bool,
    /// The rollout was carried on, and nothing happened since.
    pub(crate) advanced: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find out which commit the target is.
    Resolve,
    /// Take on the next host.
    Claim,
    /// Close what is done: the stage, the rollout.
    Advance,
    /// Give up the lease and come back under a new name.
    StartOver,
    /// Nothing, until something happens.
    Wait,
    /// Nothing ever again.
    Done,
}

/// Decides. Hosts in flight end by themselves, whatever is asked of the rollout.
pub(crate) fn next_action(view: &View) -> Action {
    use RolloutState as S;
    let over = !view.state.is_active();
    match view.state {
        _ if view.in_flight > 0 && (over || view.leaving) => Action::Wait,
        _ if over => Action::Done,
        // Whoever settles the last host closes what that ends: nobody else may be there to do it.
        _ if view.leaving => {
            if view.advanced {
                Action::Done
            } else {
                Action::Advance
            }
        }
        // Nothing of ours is in flight then, so that nothing is lost by it.
        _ if view.in_doubt => {
            if view.in_flight == 0 {
                Action::StartOver
            } else {
                Action::Wait
            }
        }
        S::Running if view.unresolved => {
            if view.resolving {
                Action::Wait
            } else {
                Action::Resolve
            }
        }
        S::Running if !view.nothing_to_claim => {
            if view.place {
                Action::Claim
            } else {
                Action::Wait
            }
        }
        _ if view.advanced => Action::Wait,
        _ => Action::Advance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_what() {
        use {Action as A, RolloutState as S};
        let base = View {
            state: S::Running,
            unresolved: false,
            resolving: false,
            leaving: false,
            in_flight: 0,
            place: true,
            in_doubt: false,
            nothing_to_claim: false,
            advanced: false,
        };
        let idle = View {
            nothing_to_claim: true,
            ..base
        };
        let rows = [
            ("a place is free", base, A::Claim),
            (
                "all places are taken",
                View {
                    place: false,
                    in_flight: 5,
                    ..base
                },
                A::Wait,
            ),
            ("the stage is taken", idle, A::Advance),
            (
                "the stage is taken, and was looked at",
                View {
                    advanced: true,
                    ..idle
                },
                A::Wait,
            ),
            (
                "no target yet",
                View {
                    unresolved: true,
                    ..base
                },
                A::Resolve,
            ),
            (
                "no target yet, asking",
                View {
                    unresolved: true,
                    resolving: true,
                    ..base
                },
                A::Wait,
            ),
            (
                "paused before it had a target",
                View {
                    unresolved: true,
                    state: S::Paused,
                    ..base
                },
                A::Advance,
            ),
            (
                "aborted before it had a target",
                View {
                    unresolved: true,
                    state: S::Aborting,
                    ..base
                },
                A::Advance,
            ),
            (
                "paused",
                View {
                    state: S::Paused,
                    ..base
                },
                A::Advance,
            ),
            (
                "paused, hosts in flight",
                View {
                    state: S::Paused,
                    in_flight: 2,
                    advanced: true,
                    ..base
                },
                A::Wait,
            ),
            (
                "halting",
                View {
                    state: S::Halting,
                    in_flight: 2,
                    ..base
                },
                A::Advance,
            ),
            (
                "aborting",
                View {
                    state: S::Aborting,
                    in_flight: 2,
                    advanced: true,
                    ..base
                },
                A::Wait,
            ),
            (
                "over",
                View {
                    state: S::Completed,
                    ..base
                },
                A::Done,
            ),
            (
                "over, one of ours still closing",
                View {
                    state: S::Halted,
                    in_flight: 1,
                    ..base
                },
                A::Wait,
            ),
            (
                "in doubt",
                View {
                    in_doubt: true,
                    ..base
                },
                A::StartOver,
            ),
            (
                "in doubt, hosts in flight",
                View {
                    in_doubt: true,
                    in_flight: 1,
                    ..base
                },
                A::Wait,
            ),
            (
                "in doubt, paused",
                View {
                    in_doubt: true,
                    state: S::Paused,
                    ..base
                },
                A::StartOver,
            ),
            (
                "in doubt, over",
                View {
                    in_doubt: true,
                    state: S::Aborted,
                    ..base
                },
                A::Done,
            ),
            (
                "leaving, what its last host ended is not closed yet",
                View {
                    leaving: true,
                    ..base
                },
                A::Advance,
            ),
            (
                "leaving",
                View {
                    leaving: true,
                    advanced: true,
                    ..base
                },
                A::Done,
            ),
            (
                "leaving, hosts in flight",
                View {
                    leaving: true,
                    in_flight: 1,
                    ..base
                },
                A::Wait,
            ),
            (
                "leaving without a target",
                View {
                    leaving: true,
                    unresolved: true,
                    advanced: true,
                    ..base
                },
                A::Done,
            ),
        ];
        for (what, view, action) in rows {
            assert_eq!(next_action(&view), action, "{what}");
        }
    }

    #[test]
    fn nothing_is_claimed_unless_the_rollout_is_running_and_resolved() {
        for state in RolloutState::ALL {
            for bits in 0..128_u32 {
                let bit = |n: u32| bits & (1 << n) != 0;
                let view = View {
                    state: *state,
                    unresolved: bit(0),
                    resolving: bit(1),
                    leaving: bit(2),
                    in_flight: usize::from(bit(3)),
                    place: bit(4),
                    nothing_to_claim: bit(5),
                    in_doubt: bit(6),
                    advanced: false,
                };
                if next_action(&view) == Action::Claim {
                    assert!(
                        *state == RolloutState::Running
                            && !view.unresolved
                            && !view.leaving
                            && !view.in_doubt
                            && view.place
                    );
                }
                if next_action(&view) == Action::Done {
                    assert!(view.in_flight == 0 && (view.leaving || !state.is_active()));
                }
            }
        }
    }
}
