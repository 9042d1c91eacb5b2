//! The pages in a real browser: five journeys, each on a desktop, on a phone, in the dark, and without JavaScript.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chrome;
mod journeys;
mod site;
