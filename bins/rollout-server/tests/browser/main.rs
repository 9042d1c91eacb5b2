//! The pages in a real browser: what people do there, each on a desktop, on a phone, in the dark, and without JavaScript.
#![expect(clippy::unwrap_used, reason = "tests")]

mod account;
mod all_pages;
mod api;
mod chrome;
mod dialogs;
mod focus;
mod hostile;
mod journeys;
mod site;
mod stale;
mod streams;
