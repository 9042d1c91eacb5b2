//! What there is, for programs: OpenAPI 3.1.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::problem::FieldError;

/// An error, as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A name of the kind of error, as a URI.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What it is, for programs.
    code: String,
    /// What it is, for people.
    detail: String,
    /// The path asked for.
    instance: String,
    /// The id to ask about it.
    request_id: String,
    /// Which fields of the request are wrong.
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Rollout", description = "Updates fleets of servers over SSH, in stages. Fields are only ever added; readers ignore those they do not know."),
    paths(
        super::health::healthz,
        super::health::readyz,
        super::health::metrics,
        serve,
        super::updates::trigger::trigger,
        super::updates::status::status,
        super::updates::events::events,
        super::updates::rollouts::list,
        super::updates::rollouts::show,
        super::updates::hosts::list,
        super::updates::hosts::show,
        super::updates::hosts::output,
        super::updates::verbs::pause,
        super::updates::verbs::resume,
        super::updates::verbs::abort,
        super::updates::verbs::retry,
        super::updates::verbs::rollback,
        super::hosts::list,
        super::hosts::csv::list,
        super::hosts::add,
        super::hosts::import,
        super::hosts::show,
        super::hosts::edit,
        super::hosts::remove,
        super::hosts::pin,
        super::hosts::scan,
        super::hosts::look::check,
        super::hosts::look::health,
        super::hosts::clear,
        super::hosts::history,
        super::inventory::list,
        super::me::me,
        super::me::instances,
        super::me::set_password,
        super::sessions::list,
        super::sessions::end_others,
        super::sessions::end,
        super::users::list,
        super::users::add,
        super::users::set_password,
        super::users::disable,
        super::users::enable,
        super::sessions::end_all,
        super::tokens::list,
        super::tokens::create,
        super::tokens::revoke,
        super::audit::list,
    ),
    components(schemas(ProblemBody, FieldError, fleet_types::Event)),
    modifiers(&Security, &Refusals),
    security(("token" = []), ("session" = [])),
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("rlt_…")
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-rollout_session"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// What the guards refuse, whatever the operation.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            let all = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.delete,
            ];
            for operation in all.into_iter().flatten() {
                refusals(operation);
            }
        }
    }
}

fn refusals(operation: &mut Operation) {
    let mut add = |status: &str, description: &str| {
        let kind = "application/problem+json";
        let body = Content::new(Some(Ref::from_schema_name("Problem")));
        let refused = ResponseBuilder::new()
            .description(description)
            .content(kind, body)
            .build();
        let known = &mut operation.responses.responses;
        known
            .entry(status.to_owned())
            .or_insert_with(|| refused.into());
    };
    // An operation for everybody says so itself.
    if operation.security.is_none() {
        add("401", "`unauthenticated`");
        add("403", "`forbidden`, `cross_site`");
    }
    if operation.request_body.is_some() {
        add("408", "`slow_body`");
        add("413", "`too_large`");
        add("415", "`unsupported_media_type`");
        add("422", "`invalid`, or what the fields ask for cannot be");
    }
    add("421", "`wrong_host`");
}

/// The OpenAPI document, as it is served and as it is committed in `docs/openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    // The document is made of our own types; there is nothing in it that JSON cannot hold.
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "process", security(()),
    responses((status = 200, description = "This document.", body = serde_json::Value)))]
pub(crate) async fn serve() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi_json().into());
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}
