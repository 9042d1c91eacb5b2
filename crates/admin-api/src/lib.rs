//! The HTTP API and the live admin pages, for any axum service.
//!
//! [`AdminApi::router`] is one router with JSON routes, pages, their assets and everything that guards them. It brings its
//! own sign-in ([`StoreIdentity`]: sessions for people, bearer tokens for programs, both on the store); a service that has
//! a sign-in of its own hands in an [`Identify`] instead ([`AdminApi::embedded`]). Then there is nothing outside of `/admin`
//! and `/api` but what [`Embedding`] asks for, so that the service can have a `/login` and a `/healthz` of its own.
//!
//! ```no_run
//! use std::{net::SocketAddr, sync::Arc};
//!
//! use admin_api::{AdminApi, ApiSettings, HostProcess};
//! use axum::{Router, routing::get};
//! use fleet_store::AdminStore;
//! use rollout_orchestrator::Orchestrator;
//!
//! # async fn serve(orchestrator: Orchestrator, store: Arc<dyn AdminStore>, process: Arc<dyn HostProcess>) -> std::io::Result<()> {
//! let api = AdminApi::new(orchestrator, store, process, ApiSettings::default());
//! let service = Router::new().route("/mine", get(|| async { "mine" })).merge(api.router());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, service.into_make_service_with_connect_info::<SocketAddr>()).await
//! # }
//! ```
//!
//! `examples/embedding` is a whole service with callers of its own.
//!
//! Where to read next: `rights` for the table of every route and what it needs, `guards` for what happens to a request
//! before a handler sees it, `api` for the JSON handlers, `pages` for the HTML ones.

mod api;
mod guards;
mod identity;
mod pages;
mod problem;
mod rights;
mod sign_in;
mod state;
mod streams;

pub use access_secrets as secrets;
pub use api::openapi::openapi_json;
pub use identity::{Caller, CallerKind, Identify, IdentifyError};
pub use problem::{FieldError, Problem};
pub use rights::{Method, RULES, Rule};
pub use rollout_settings::Subnet;
pub use sign_in::{SignInError, SignedIn, StoreIdentity};
pub use state::{AdminApi, AllowedHosts, ApiSettings, Embedding, HostProcess, NotReady};
