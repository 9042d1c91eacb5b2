//! What lists say of hosts, before it is known which host it holds for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::rc::Rc;
use std::str::FromStr;

use crate::hop::Hop;
use crate::listed::{BadLine, ListedHost};

/// Bytes of a value. None that is of use is longer.
pub(crate) const LONGEST_VALUE: usize = 1_000;

/// What can be said of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Address,
    Port,
    User,
    Key,
    Jump,
    /// Ansible's arguments of ssh, in the order in which ssh gets them: the jump hosts in them, empty for none said.
    Arguments,
    CommonArguments,
    ExtraArguments,
}

/// A value and its line, or why it cannot be followed where it holds. Hosts that share a value share its text.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub line: usize,
    pub text: Result<Rc<str>, &'static str>,
}

impl Value {
    pub(crate) fn is(&self, word: &str) -> bool {
        self.text
            .as_ref()
            .is_ok_and(|text| text.eq_ignore_ascii_case(word))
    }
}

/// What is said of some hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(pub BTreeMap<What, Value>);

impl Said {
    fn read<T, E: Display>(
        &self,
        what: What,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, BadLine> {
        let Some(Value { line, text }) = self.0.get(&what) else {
            return Ok(None);
        };
        let text = text.as_ref().map_err(|why| BadLine::new(*line, why))?;
        let value = parse(text).map_err(|why| BadLine::new(*line, why))?;
        Ok(Some(value))
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &self,
        what: What,
    ) -> Result<Option<T>, BadLine> {
        self.read(what, str::parse)
    }

    pub(crate) fn port(&self) -> Result<Option<u16>, BadLine> {
        self.read(What::Port, |text| {
            port_number(text).ok_or_else(|| format!("port {text:?} is not from 1 to 65535"))
        })
    }

    /// The host that this is said of; `known` makes of a jump host what the list says of it.
    pub(crate) fn host(
        &self,
        name: &str,
        line: usize,
        groups: Option<BTreeSet<String>>,
        known: impl Fn(usize, Hop) -> Result<Hop, String>,
    ) -> Result<ListedHost, BadLine> {
        let bad = |error: fleet_types::Invalid| BadLine::new(line, error);
        Ok(ListedHost {
            line,
            name: name.parse().map_err(bad)?,
            address: self.parsed(What::Address)?,
            port: self.port()?,
            user: self.parsed(What::User)?,
            key: self.read(What::Key, key)?,
            jump: self.read(What::Jump, |text| {
                let hops = Hop::list(text)?.into_iter().enumerate();
                hops.map(|(at, hop)| Ok(known(at, hop)?.checked()?.to_string()))
                    .collect::<Result<Vec<_>, String>>()
            })?,
            groups,
        })
    }
}

/// What only a shell or ssh itself would make a path of is refused, for it would be taken for a path beside the list.
fn key(text: &str) -> Result<String, String> {
    let elsewhere = text.starts_with('~') && !text.starts_with("~/");
    if text.is_empty() || elsewhere || text.contains(['$', '%']) {
        return Err(format!("key {text:?} must be a path, or start with ~/"));
    }
    Ok(text.to_owned())
}

/// Digits and nothing else: `parse` alone would take a sign.
pub(crate) fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}
