use std::collections::BTreeMap;

use crate::names::{Invalid, Label};

/// One word of a selection: a name or glob, `@label`, `@key=value`, or any of these after `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    negated: bool,
    wanted: Wanted,
    text: String,
}

/// What a word of a selection says about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its name matches this glob, whose characters are those of names, `*` and `?`.
    Glob(String),
    /// It has a label with this key.
    Key(String),
    /// It has this label.
    Pair(Label),
}

/// Which hosts are meant. Nothing means nothing: all must be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every host of the fleet.
    All,
    /// The hosts that match one of the positive words (every host if there is none) and none of the negated ones.
    On(Vec<Selector>),
}

impl std::str::FromStr for Selector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (negated, rest) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let wanted = if let Some(label) = rest.strip_prefix('@') {
            let label: Label = label.parse()?;
            if rest.contains('=') {
                Wanted::Pair(label)
            } else {
                Wanted::Key(label.key)
            }
        } else {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-*?".contains(&b);
            if rest.is_empty() || rest.len() > 200 || !rest.bytes().all(plain) {
                return Err(Invalid::new(
                    "selector",
                    text,
                    "must be a host name, a glob with * and ?, @label or @key=value, each with ! in front to leave it out",
                ));
            }
            Wanted::Glob(rest.to_owned())
        };
        Ok(Self {
            negated,
            wanted,
            text: text.to_owned(),
        })
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Whether the hosts it hits are left out.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// What it says about a host, for whoever looks for hosts elsewhere than here.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    fn hits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.wanted {
            Wanted::Glob(glob) => glob_matches(glob.as_bytes(), name.as_bytes()),
            Wanted::Key(key) => labels.contains_key(key),
            Wanted::Pair(label) => labels.get(&label.key) == Some(&label.value),
        }
    }
}

impl Selection {
    /// Whether the host is meant.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All => true,
            Self::On(words) => {
                let left_out = words.iter().any(|w| w.negated && w.hits(name, labels));
                let mut positive = words.iter().filter(|w| !w.negated).peekable();
                let meant = positive.peek().is_none() || positive.any(|w| w.hits(name, labels));
                !words.is_empty() && meant && !left_out
            }
        }
    }

    /// The positive words that hit none of these hosts: most likely misspelt, so the caller refuses the whole selection.
    pub fn without_hit<'a, 'h, H>(&'a self, hosts: H) -> Vec<&'a str>
    where
        H: Iterator<Item = (&'h str, &'h BTreeMap<String, String>)> + Clone,
    {
        match self {
            Self::All => Vec::new(),
            Self::On(words) => words
                .iter()
                .filter(|w| !w.negated && !hosts.clone().any(|(name, labels)| w.hits(name, labels)))
                .map(|w| w.text.as_str())
                .collect(),
        }
    }
}

/// Whether the glob, `*` for any run and `?` for one byte, matches all of the name. Iterative with one restart point, so a
/// hostile glob costs at most glob × name.
#[must_use]
pub fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut restart: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                restart = Some((g, n));
                g += 1;
            }
            Some(b'?') => {
                g += 1;
                n += 1;
            }
            Some(b) if *b == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match restart {
                Some((star, from)) => {
                    restart = Some((star, from + 1));
                    g = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn on(words: &[&str]) -> Selection {
        Selection::On(words.iter().map(|w| w.parse().unwrap()).collect())
    }

    #[test]
    fn selections() {
        let labels = BTreeMap::from([
            ("eu".to_owned(), String::new()),
            ("plan".to_owned(), "s".to_owned()),
        ]);
        for (words, meant) in [
            (vec!["web-01"], true),
            (vec!["web-*"], true),
            (vec!["*-0?"], true),
            (vec!["web"], false),
            (vec!["@eu"], true),
            (vec!["@us"], false),
            (vec!["@plan=s"], true),
            (vec!["@plan=m"], false),
            (vec!["@plan"], true),
            (vec!["!@us"], true),
            (vec!["!web-*"], false),
            (vec!["@eu", "!web-01"], false),
            (vec!["db-*", "web-*"], true),
            (vec![], false),
        ] {
            assert_eq!(on(&words).matches("web-01", &labels), meant, "{words:?}");
        }
        assert!(Selection::All.matches("x", &labels));
    }

    #[test]
    fn words_that_hit_nothing_are_named() {
        let labels = BTreeMap::new();
        let hosts = [("a", &labels), ("b", &labels)];
        assert_eq!(
            on(&["a", "c*", "!d"]).without_hit(hosts.into_iter()),
            ["c*"]
        );
    }

    #[test]
    fn a_hostile_glob_is_cheap() {
        let glob = "*a".repeat(50);
        assert!(!glob_matches(
            glob.as_bytes(),
            "a".repeat(99).replace('a', "ab").as_bytes()
        ));
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for bad in ["", "!", "@", "!@", "a b", "-x;", "a\n", "@-x", "@=v"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
    }
}
