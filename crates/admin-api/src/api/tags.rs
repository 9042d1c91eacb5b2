//! Entity tags: what was seen, to be named in `If-None-Match` and `If-Match`.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH};
use fleet_store::{HostError, HostRecord};
use fleet_types::view;

use super::updates::trigger::digest;
use crate::problem::Problem;

/// The tags that a header names. A proxy that compresses makes strong ones weak, so both count.
pub(crate) fn named(headers: &HeaderMap, header: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(header)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|tag| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag)
        })
}

/// The tag of a host: another one whenever somebody changed what people set of it, whatever programs saw of it since.
pub(crate) fn of_host(record: &HostRecord) -> String {
    let kept = view::EnrolledHost::from(record.clone());
    let kept = serde_json::to_string(&kept).unwrap_or_default();
    let digest = digest(&[&record.id.to_string(), &kept]);
    format!("\"{}\"", digest.get(..32).unwrap_or(&digest))
}

/// Whether a change is asked for only if the host is as it was seen; refused when it is not any more.
pub(crate) fn only_as_seen(headers: &HeaderMap, record: &HostRecord) -> Result<bool, Problem> {
    if !headers.contains_key(IF_MATCH) || named(headers, IF_MATCH).any(|tag| tag == "*") {
        return Ok(false);
    }
    let own = of_host(record);
    if named(headers, IF_MATCH).any(|tag| tag == own) {
        return Ok(true);
    }
    let name = record.name.to_string();
    Err(HostError::Stale { name }.into())
}
