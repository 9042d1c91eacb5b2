//! Versions of many hosts, counted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use crate::pages::show;

/// Versions that are named.
const NAMED: usize = 5;

/// How many hosts are on which version, most first: `1a2b3c4d (7), 5e6f7a8b (2)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(Vec<(String, u32)>);

impl<'a> FromIterator<Option<&'a str>> for Versions {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(versions: I) -> Self {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for version in versions {
            let name = version.map_or("a version not looked at yet", show::short);
            *counts.entry(name).or_default() += 1;
        }
        let mut all: Vec<(String, u32)> = counts
            .into_iter()
            .map(|(name, hosts)| (name.to_owned(), hosts))
            .collect();
        all.sort_by_key(|(_, hosts)| Reverse(*hosts));
        if all.len() > NAMED {
            let rest = all.split_off(NAMED).iter().map(|(_, hosts)| hosts).sum();
            all.push(("others".to_owned(), rest));
        }
        Self(all)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, hosts)) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{name} ({hosts})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_first_and_few_are_named() {
        let check = |versions: &[Option<&str>], text: &str| {
            let counted: Versions = versions.iter().copied().collect();
            assert_eq!(counted.to_string(), text);
        };
        check(&[], "");
        check(&[Some("b"), Some("a"), Some("b")], "b (2), a (1)");
        check(
            &[None, None, Some("a")],
            "a version not looked at yet (2), a (1)",
        );
        let many: Vec<Option<&str>> = "a b c d e f g".split(' ').map(Some).collect();
        check(&many, "a (1), b (1), c (1), d (1), e (1), others (2)");
    }
}
