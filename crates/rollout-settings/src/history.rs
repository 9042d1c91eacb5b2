use std::num::NonZeroU32;

use fleet_types::Invalid;

/// A hundred years.
const MOST_DAYS: u32 = 36_500;

/// `[history]`: what is kept of rollouts that are over. Which steps there were, how they ended and why is kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// For so many days after the end of its rollout, what a step printed is kept; none is for ever.
    pub output_days: Option<NonZeroU32>,
}

impl HistorySettings {
    /// Refuses values that cannot be meant: the key, and what is wrong.
    pub(crate) fn check(&self) -> Result<(), (&'static str, Invalid)> {
        match self.output_days {
            Some(days) if days.get() > MOST_DAYS => Err((
                "history.output_days",
                Invalid::new(
                    "number of days",
                    &days.to_string(),
                    "must be at most 36500; 0 is for ever",
                ),
            )),
            _ => Ok(()),
        }
    }
}
