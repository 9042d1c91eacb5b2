//! The YAML form: groups with `hosts`, `children` and `vars`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Inventory, NOT_PLAIN, say};
use crate::listed::BadLine;
use crate::said::Said;

/// Mappings within mappings; a group within a group is two.
const MOST_NESTED: usize = 100;

const MAPPING: &str =
    "there must be names with a colon behind each: groups have hosts, children and vars";

pub(super) fn read(text: &str) -> Result<Inventory, BadLine> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MOST_NESTED },
        with_snippet: false,
    };
    let groups: Pairs<Option<GroupIn>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let full = error.to_string();
            // The place stands at the end of the message, in other words.
            let why = full.split(" at line ").next().unwrap_or_default();
            let why = why.replace("expected mapping start", MAPPING);
            BadLine::new(usize::try_from(line).unwrap_or(1), why)
        })?;
    let mut inventory = Inventory::default();
    take(&mut inventory, groups, None)?;
    Ok(inventory)
}

fn take(
    inventory: &mut Inventory,
    groups: Pairs<Option<GroupIn>>,
    parent: Option<&str>,
) -> Result<(), BadLine> {
    for (line, name, group) in groups.0 {
        let parents = parent.map(str::to_owned);
        let known = inventory.group(&name, line)?;
        known.parents.extend(parents);
        let group = group.unwrap_or_default();
        say_all(&mut known.said, group.vars)?;
        for (line, pattern, variables) in group.hosts.unwrap_or_default().0 {
            let mut own = Said::default();
            say_all(&mut own, variables)?;
            inventory.name_hosts(&pattern, &name, &own, line)?;
        }
        take(inventory, group.children.unwrap_or_default(), Some(&name))?;
    }
    Ok(())
}

fn say_all(said: &mut Said, variables: Option<Pairs<Value>>) -> Result<(), BadLine> {
    for (line, name, value) in variables.unwrap_or_default().0 {
        let text = match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        say(said, &name, text.as_deref().ok_or(NOT_PLAIN), line)?;
    }
    Ok(())
}

#[derive(Default, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a group: hosts, children and vars"
)]
struct GroupIn {
    hosts: Option<Pairs<Option<Pairs<Value>>>>,
    children: Option<Pairs<Option<GroupIn>>>,
    vars: Option<Pairs<Value>>,
}

/// The keys of a mapping as they stand in the file, each with its line before it and its value behind it.
struct Pairs<V>(Vec<(usize, String, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
    type Value = Pairs<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names, each with a colon behind it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, V>()? {
            let line = usize::try_from(key.referenced.line()).unwrap_or(usize::MAX);
            pairs.push((line, key.value, value));
        }
        Ok(Pairs(pairs))
    }
}
