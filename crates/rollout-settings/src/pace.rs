use fleet_types::Policy;

/// How many hosts are in `updating` at once where nobody says: four times the connections.
pub(crate) fn usual_in_flight(concurrency: u32) -> u32 {
    concurrency.saturating_mul(4).min(100_000)
}

/// The policy with what was said of its pace. A `max_in_flight` that somebody chose stands until another is said: the
/// `configured` one, or one that is not four times the connections it came with. Else it goes along with them.
#[must_use]
pub fn paced(
    policy: Policy,
    concurrency: Option<u32>,
    max_in_flight: Option<u32>,
    configured: Option<u32>,
) -> Policy {
    let chosen = configured == Some(policy.max_in_flight)
        || policy.max_in_flight != usual_in_flight(policy.concurrency);
    let follows = concurrency.filter(|_| !chosen).map(usual_in_flight);
    Policy {
        concurrency: concurrency.unwrap_or(policy.concurrency),
        max_in_flight: max_in_flight.or(follows).unwrap_or(policy.max_in_flight),
        ..policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_goes_along_with_the_connections_unless_it_was_chosen() {
        for (before, configured, said, then) in [
            ((5, 20), None, (Some(10), None), (10, 40)),
            ((5, 20), Some(20), (Some(10), None), (10, 20)),
            ((5, 6), Some(6), (Some(10), None), (10, 6)),
            ((5, 6), None, (Some(10), None), (10, 6)), // of an earlier rollout, for which it was said
            ((5, 6), Some(6), (Some(10), Some(7)), (10, 7)),
            ((5, 20), None, (None, Some(7)), (5, 7)),
            ((5, 20), None, (None, None), (5, 20)),
            ((5, 20), None, (Some(u32::MAX), None), (u32::MAX, 100_000)),
        ] {
            let policy = Policy {
                concurrency: before.0,
                max_in_flight: before.1,
                ..Policy::default()
            };
            let paced = paced(policy, said.0, said.1, configured);
            let found = (paced.concurrency, paced.max_in_flight);
            assert_eq!(found, then, "{before:?} {configured:?} {said:?}");
        }
    }
}
