//! The body of a request: JSON, bounded in size and depth, read field by field so that every wrong one is named.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use fleet_types::printable;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::guards::{body_most, too_large};
use crate::problem::{FieldError, Problem};
use crate::state::AdminApi;

/// A JSON object that a request brought. Fields that nobody asks for are ignored.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    inside: String,
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

/// What a request says about a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said<T> {
    /// Nothing: what was stays.
    No,
    /// `null`: the default, or none.
    Nothing,
    /// This.
    Value(T),
}

impl FromRequest<AdminApi> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &AdminApi) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let typed = request.headers().contains_key(CONTENT_TYPE);
        let most = body_most(&request, api);
        let bytes = in_time(api, Bytes::from_request(request, api))
            .await?
            .map_err(|rejection| refused(&rejection, most))?;
        if bytes.is_empty() && (json || !typed) {
            return Ok(Self::default()); // a verb with nothing to say
        }
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "a body is JSON here, with Content-Type: application/json",
            ));
        }
        Self::parse(&bytes)
    }
}

/// What reads a body, unless the body takes too long to arrive.
pub(crate) async fn in_time<T>(
    api: &AdminApi,
    reading: impl Future<Output = T>,
) -> Result<T, Problem> {
    let patience = api.settings().body_time;
    timeout(patience, reading).await.map_err(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body did not arrive in {} s", patience.as_secs()),
        )
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn refused(rejection: &BytesRejection, most: usize) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(most),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the body could not be read",
        ),
    }
}

impl Fields {
    /// What a form brought, as the object that a program would have sent.
    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self {
            map,
            ..Self::default()
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail);
        // serde_json follows 128 levels and no more.
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self {
                map,
                ..Self::default()
            }),
            Ok(_) => Err(bad("the body must be a JSON object".to_owned())),
            Err(error) => Err(bad(format!(
                "the body is not JSON: {}",
                printable(&error.to_string())
            ))),
        }
    }

    /// The object as a whole in one form, whatever the order of its fields.
    pub(crate) fn canonical(&self) -> String {
        let mut whole = Value::Object(self.map.clone());
        // serde_json keeps the order it saw where any crate of the program asks for that.
        whole.sort_all_objects();
        whole.to_string()
    }

    /// A field's value. Null counts as nothing.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        match self.said(name) {
            Said::Value(value) => Some(value),
            Said::No | Said::Nothing => None,
        }
    }

    /// A field's value, and whether it was said at all.
    pub(crate) fn said<T: DeserializeOwned>(&mut self, name: &str) -> Said<T> {
        match self.map.remove(name) {
            None => Said::No,
            Some(Value::Null) => Said::Nothing,
            Some(value) => match serde_json::from_value(value) {
                Ok(value) => Said::Value(value),
                Err(error) => {
                    self.wrong(name, error.to_string());
                    Said::No
                }
            },
        }
    }

    /// A field that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        if self.map.get(name).is_none_or(Value::is_null) {
            self.map.remove(name);
            self.wrong(name, "is missing");
            return None;
        }
        self.optional(name)
    }

    /// A text for people, made printable: not too long, none when blank.
    pub(crate) fn message(&mut self, name: &str, most: usize) -> Option<String> {
        let text: String = self.optional(name)?;
        if text.chars().count() > most {
            self.wrong(name, format!("has at most {most} characters"));
        }
        Some(printable(text.trim())).filter(|text| !text.is_empty())
    }

    /// Notes that a field is wrong.
    pub(crate) fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let field = if self.inside.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.inside)
        };
        self.errors.push(FieldError {
            field,
            message: printable(&message.into()),
        });
    }

    /// A list of objects, each to be read for itself.
    pub(crate) fn objects(&mut self, name: &str) -> Vec<Fields> {
        let list: Vec<Map<String, Value>> = self.required(name).unwrap_or_default();
        let inside = |at: usize| format!("{name}.{at}");
        list.into_iter()
            .enumerate()
            .map(|(at, map)| Fields {
                inside: inside(at),
                map,
                errors: Vec::new(),
            })
            .collect()
    }

    /// Takes over what was wrong with one of the objects inside.
    pub(crate) fn absorb(&mut self, inner: Fields) {
        self.errors.extend(inner.errors);
    }

    /// A problem that names each wrong field, if there is one.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let detail = match self.errors.len() {
            1 => format!("{}: {}", first.field, first.message),
            more => format!("{}: {} (and {} more)", first.field, first.message, more - 1),
        };
        Err(Problem {
            errors: self.errors.clone(),
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let mut fields = Fields::parse(br#"{"a":"x","b":7,"c":null,"other":1}"#).unwrap();
        assert_eq!(fields.optional::<u32>("a"), None);
        assert_eq!(fields.optional::<u32>("b"), Some(7));
        assert_eq!(fields.said::<u32>("c"), Said::Nothing);
        assert_eq!(fields.said::<u32>("d"), Said::No);
        assert_eq!(fields.required::<u32>("e"), None);
        let problem = fields.check().unwrap_err();
        let named: Vec<&str> = problem
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!((problem.status.as_u16(), named), (422, vec!["a", "e"]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = "[".repeat(10_000);
        for text in ["", "[]", "7", "{", "{\"a\":", "nul", deep.as_str()] {
            assert_eq!(
                Fields::parse(text.as_bytes()).unwrap_err().status.as_u16(),
                400,
                "{text:.20}"
            );
        }
    }
}
