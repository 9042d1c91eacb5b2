//! What a form brings: names and texts, and the JSON object that a program would have sent for the same.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::api::body::{Fields, in_time};
use crate::guards::{body_most, too_large};
use crate::problem::Problem;
use crate::state::AdminApi;

/// Fields of a form, as typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed(Vec<(String, String)>);

impl FromRequest<AdminApi> for Typed {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &AdminApi) -> Result<Self, Problem> {
        let most = body_most(&request, api);
        let reading = Form::<Vec<(String, String)>>::from_request(request, api);
        let form = in_time(api, reading).await?;
        match form {
            Ok(Form(pairs)) => Ok(Self(pairs)),
            Err(rejection) => Err(refused(&rejection, most)),
        }
    }
}

fn refused(rejection: &FormRejection, most: usize) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(most),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a form is sent as application/x-www-form-urlencoded",
        ),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the form cannot be read",
        ),
    }
}

impl Typed {
    /// Fields by name.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// A field as typed, without the space around it; empty when it was not sent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field exactly as typed: passwords.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// Every value of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Whether a field was sent at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Whether a box is ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// Begins the object.
    pub(crate) fn object(&self) -> Object<'_> {
        Object {
            typed: self,
            map: Map::new(),
        }
    }
}

/// The object in the making.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    typed: &'a Typed,
    map: Map<String, Value>,
}

impl Object<'_> {
    /// Texts; nothing typed is null.
    pub(crate) fn texts(mut self, names: &[&str]) -> Self {
        for name in names {
            let text = self.typed.get(name);
            let value = if text.is_empty() {
                Value::Null
            } else {
                text.into()
            };
            self.map.insert((*name).to_owned(), value);
        }
        self
    }

    /// Numbers. What is none stays a text, which is named as wrong where it is read.
    pub(crate) fn numbers(mut self, names: &[&str]) -> Self {
        for name in names {
            let text = self.typed.get(name);
            let text = text.strip_suffix('%').unwrap_or(text).trim_end();
            self.map.insert((*name).to_owned(), number(text));
        }
        self
    }

    /// Words with spaces or commas between them.
    pub(crate) fn words(mut self, name: &str, item: fn(&str) -> Value) -> Self {
        let text = self.typed.get(name);
        let words: Vec<Value> = split(text).map(item).collect();
        let value = if words.is_empty() {
            Value::Null
        } else {
            words.into()
        };
        self.map.insert(name.to_owned(), value);
        self
    }

    /// A value as it is.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.map.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves out what is told by name.
    pub(crate) fn without(mut self, left: impl Fn(&str) -> bool) -> Self {
        self.map.retain(|name, _| !left(name));
        self
    }

    /// The object.
    pub(crate) fn fields(self) -> Fields {
        Fields::of(self.map)
    }
}

/// Words with spaces, line ends or commas between them.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// A number as JSON has it; else the text; null for nothing. JSON has no infinity, and would have null in its place.
pub(crate) fn number(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(whole), _) => whole.into(),
        (_, Ok(broken)) if broken.is_finite() => broken.into(),
        _ => text.into(),
    }
}

/// A word as a text.
pub(crate) fn text(word: &str) -> Value {
    word.into()
}

/// A percentage of a list of stages.
pub(crate) fn percent(word: &str) -> Value {
    number(word.strip_suffix('%').unwrap_or(word))
}
