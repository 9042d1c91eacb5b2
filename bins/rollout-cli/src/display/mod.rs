//! How things are shown to people.

pub(crate) mod live;
pub(crate) mod model;
pub(crate) mod plain;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod words;

use fleet_types::Event;

pub(crate) use live::LiveDisplay;
pub(crate) use model::Model;
pub(crate) use plain::{JsonDisplay, PlainDisplay, SilentDisplay};

use crate::failure::Failure;
use crate::output::Output;

/// Follows a rollout for somebody. Driven by the event feed alone: what it shows is what is on record.
pub(crate) trait Display: Send {
    /// Shows an event; `model` is what is known with it.
    fn event(&mut self, event: &Event, model: &Model) -> Result<(), Failure>;

    /// Time has passed.
    fn tick(&mut self, _model: &Model) {}

    /// Says something that is no event.
    fn note(&mut self, text: &str);

    /// Ends the display; what comes next is written below it.
    fn close(&mut self) {}
}

/// The display that fits where the output goes.
pub(crate) fn for_output(out: Output) -> Box<dyn Display> {
    if out.json {
        Box::new(JsonDisplay::new(out))
    } else if out.quiet {
        Box::new(SilentDisplay::new(out))
    } else if out.is_live() {
        Box::new(LiveDisplay::new())
    } else {
        Box::new(PlainDisplay::new(out))
    }
}
