//! The query of a request. Parameters that nobody asks for are ignored; those that do not parse are named.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LINK};
use axum::http::request::Parts;
use fleet_types::{Selection, Selector, printable};

use crate::problem::Problem;
use crate::rights::percent;

/// The header that leads from one page of a list to the next; none at the end.
pub(crate) type Link = Option<[(HeaderName, String); 1]>;

/// Words of a selection by which a list is filtered.
const MOST_WORDS: usize = 50;

/// Names and values of a query.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri).map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the query cannot be read",
            )
        })?;
        Ok(Self(query.0))
    }
}

impl Params {
    /// A parameter as it is; empty counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be given several times, as one that is given once.
    pub(crate) fn joined(&self, name: &str) -> Option<String> {
        let given = self.0.iter().filter(|(key, _)| key == name);
        let given: Vec<&str> = given
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
            .collect();
        (!given.is_empty()).then(|| given.join(","))
    }

    /// A parameter that must parse.
    pub(crate) fn parsed<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(name).map(|text| parse(name, text)).transpose()
    }

    /// Every value of a parameter that may be given several times, or with commas.
    pub(crate) fn all<T>(&self, name: &str) -> Result<Vec<T>, Problem>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let given = self
            .0
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','));
        given
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| parse(name, text))
            .collect()
    }

    /// The hosts that `on` means, in the words of the command line; none when nothing is said.
    pub(crate) fn selection(&self) -> Result<Option<Selection>, Problem> {
        let given = self.0.iter().filter(|(key, _)| key == "on");
        let words: Vec<Selector> = given
            .flat_map(|(_, value)| value.split(|c: char| c == ',' || c.is_whitespace()))
            .filter(|word| !word.is_empty())
            .map(|word| parse("on", word))
            .collect::<Result<_, _>>()?;
        if words.len() > MOST_WORDS {
            return Err(Problem::field(
                "invalid",
                "on",
                format!("may be {MOST_WORDS} words at most"),
            ));
        }
        Ok((!words.is_empty()).then_some(Selection::On(words)))
    }

    /// Whether a parameter says yes.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.either(name)?.unwrap_or(false))
    }

    /// What is to be so, or not to be so; none where that does not matter.
    pub(crate) fn either(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("false" | "0" | "no") => Ok(Some(false)),
            Some("true" | "1" | "yes") => Ok(Some(true)),
            Some(_) => Err(Problem::field("invalid", name, "must be true or false")),
        }
    }

    /// Where the next page is. Told by its query alone, so that it leads to the same place by whatever address the list
    /// was asked for: behind a proxy, or in a router inside another.
    pub(crate) fn link(&self, next: Option<&str>) -> Link {
        let next = next?;
        let kept = self.0.iter().filter(|(name, _)| name != "cursor");
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = kept.chain([("cursor", next)]);
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
            .collect();
        Some([(LINK, format!("<?{}>; rel=\"next\"", pairs.join("&")))])
    }

    /// How many entries are wanted.
    pub(crate) fn limit(&self, default: u32, most: u32) -> Result<u32, Problem> {
        match self.parsed::<u32>("limit")? {
            None => Ok(default),
            Some(0) => Err(Problem::field(
                "invalid",
                "limit",
                format!("must be from 1 to {most}"),
            )),
            Some(limit) => Ok(limit.min(most)),
        }
    }
}

fn parse<T>(name: &str, text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| Problem::field("invalid", name, printable(&error.to_string())))
}
