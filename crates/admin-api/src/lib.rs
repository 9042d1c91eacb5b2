//! The HTTP API and the live admin pages, for any axum service.
//!
//! [`AdminApi::router`] is one router with JSON routes, pages, their assets and everything that guards them. It brings its
//! own sign-in ([`StoreIdentity`]: sessions for people, bearer tokens for programs, both on the store); a service that has
//! a sign-in of its own hands in an [`Identify`] instead.
//!
//! Where to read next: `rights` for the table of every route and what it needs, `guards` for what happens to a request
//! before a handler sees it, `api` for the JSON handlers, `pages` for the HTML ones.

mod api;
mod guards;
mod identity;
mod pages;
mod problem;
mod rights;
pub mod secrets;
mod sign_in;
mod state;

pub use api::openapi::openapi_json;
pub use identity::{Caller, CallerKind, Identify, IdentifyError};
pub use problem::{FieldError, Problem};
pub use rights::{Method, RULES, Rule};
pub use rollout_settings::Subnet;
pub use sign_in::{SignInError, SignedIn, StoreIdentity};
pub use state::{AdminApi, AllowedHosts, ApiSettings, HostProcess};
