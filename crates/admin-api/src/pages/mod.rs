//! The pages: rendered here, complete without a script. Each file is one page: what it reads, what it shows.

mod account;
mod assets;
mod attention;
mod audit;
mod dashboard;
mod error;
mod form;
mod host;
mod hosts;
mod inventory;
mod keys;
mod layout;
mod login;
mod look;
mod matrix;
mod output;
mod overview;
mod rollout;
mod rollout_shown;
mod rollouts;
mod settings;
mod show;
mod start;
mod tokens;
mod users;
mod verbs;
mod versions;

use axum::Router;
use axum::routing::{get, post};

use crate::state::AdminApi;

pub(crate) use error::error_page;

/// The pages below `/admin`, their assets and their forms. Each is in `rights::RULES` too.
pub(crate) fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/admin/assets/{*path}", get(assets::serve))
        .route("/admin", get(overview::entrance))
        .route("/admin/account", get(account::show).post(account::change))
        .route("/admin/account/sessions/end", post(account::end_others))
        .route("/admin/account/sessions/{id}/end", post(account::end))
        .route("/admin/updates", get(overview::show))
        .route("/admin/updates/start", get(start::show).post(start::start))
        .route("/admin/updates/rollouts", get(rollouts::show))
        .route("/admin/updates/rollouts/{id}", get(rollout::show))
        .route(
            "/admin/updates/rollouts/{id}/pause",
            get(verbs::ask_pause).post(verbs::pause),
        )
        .route(
            "/admin/updates/rollouts/{id}/resume",
            get(verbs::ask_resume).post(verbs::resume),
        )
        .route(
            "/admin/updates/rollouts/{id}/abort",
            get(verbs::ask_abort).post(verbs::abort),
        )
        .route(
            "/admin/updates/rollouts/{id}/retry",
            get(start::show_retry).post(start::retry),
        )
        .route(
            "/admin/updates/rollouts/{id}/rollback",
            get(start::show_rollback).post(start::rollback),
        )
        .route(
            "/admin/updates/rollouts/{id}/hosts/{name}/output",
            get(output::show),
        )
        .route("/admin/updates/hosts", get(hosts::show))
        .route("/admin/updates/hosts/{name}", get(host::show))
        .route("/admin/updates/hosts/{name}/clear", post(host::clear))
        .route("/admin/updates/hosts/{name}/check", post(look::check))
        .route("/admin/hosts/new", get(inventory::new).post(inventory::add))
        .route(
            "/admin/hosts/import",
            get(inventory::ask_import).post(inventory::import),
        )
        .route(
            "/admin/hosts/{name}/edit",
            get(inventory::ask_edit).post(inventory::edit),
        )
        .route(
            "/admin/hosts/{name}/remove",
            get(inventory::ask_remove).post(inventory::remove),
        )
        .route("/admin/hosts/{name}/keys", get(keys::show).post(keys::scan))
        .route("/admin/hosts/{name}/pin", post(keys::pin))
        .route("/admin/users", get(users::show).post(users::add))
        .route("/admin/users/{name}/password", post(users::password))
        .route("/admin/users/{name}/disable", post(users::disable))
        .route("/admin/users/{name}/enable", post(users::enable))
        .route(
            "/admin/users/{name}/sessions/end",
            post(users::end_sessions),
        )
        .route("/admin/tokens", get(tokens::show).post(tokens::create))
        .route("/admin/tokens/{id}/revoke", post(tokens::revoke))
        .route("/admin/audit", get(audit::show))
        .route("/admin/settings", get(settings::show))
}

/// Signing in and out, where that is done here.
pub(crate) fn sign_in_routes() -> Router<AdminApi> {
    Router::new()
        .route("/login", get(login::show).post(login::sign_in))
        .route("/login/setup", post(login::setup))
        .route("/logout", post(login::sign_out))
}

/// What owners see of their instances.
pub(crate) fn dashboard_routes() -> Router<AdminApi> {
    Router::new().route("/dashboard", get(dashboard::show))
}
