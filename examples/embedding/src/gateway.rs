//! Who our callers are. Our gateway has signed them in and says so in a header, which it takes out of what comes from
//! outside.

use admin_api::{Caller, CallerKind, Identify, IdentifyError};
use async_trait::async_trait;
use axum::http::request::Parts;
use fleet_types::Role;

/// Callers by the `X-User` header of our gateway.
#[derive(Debug)]
pub(crate) struct Gateway;

#[async_trait]
impl Identify for Gateway {
    async fn identify(&self, parts: &Parts) -> Result<Option<Caller>, IdentifyError> {
        let name = parts
            .headers
            .get("x-user")
            .and_then(|name| name.to_str().ok());
        Ok(name.map(|name| Caller {
            name: name.to_owned(),
            role: Role::Operator,
            source: Caller::source_of(parts),
            kind: CallerKind::Embedded,
        }))
    }
}
