//! Version numbers, as far as they are compared here.

use std::fmt;

/// Major, minor and patch number; what is not said counts as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u32; 3]);

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self([major, minor, 0])
    }

    /// Reads a version such as `1.89`, `2.47.3` or `2.39.5-rc1`. `None` when it starts with no number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        for (place, part) in text.splitn(4, '.').take(3).enumerate() {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            match part[..digits].parse() {
                Ok(number) => numbers[place] = number,
                Err(_) if place > 0 => break,
                Err(_) => return None,
            }
            if digits < part.len() {
                break;
            }
        }
        Some(Self(numbers))
    }

    /// The first word of a text that is a version: `git version 2.47.3` gives `2.47.3`.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::parse)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}")?;
        if patch > 0 {
            write!(f, ".{patch}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("1.89", Some([1, 89, 0])),
            ("2.47.3", Some([2, 47, 3])),
            ("2.39.5-rc1", Some([2, 39, 5])),
            ("2.30.2.windows.1", Some([2, 30, 2])),
            ("3", Some([3, 0, 0])),
            ("1.x", Some([1, 0, 0])),
            ("git", None),
            ("", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(Version::parse(text), expected.map(Version), "{text}");
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            ("git version 2.47.3", Some([2, 47, 3])),
            ("git version 2.39.5 (Apple Git-154)", Some([2, 39, 5])),
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some([1, 95, 0])),
            ("no number here", None),
        ] {
            assert_eq!(Version::find(text), expected.map(Version), "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        let ascending = ["1.9", "1.85", "1.85.1", "1.89", "1.100", "2.0"];
        let versions: Vec<_> = ascending
            .iter()
            .filter_map(|text| Version::parse(text))
            .collect();
        assert_eq!(versions.len(), ascending.len());
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(Version::parse("1.89"), Version::parse("1.89.0"));
    }

    #[test]
    fn versions_are_written_short() {
        assert_eq!(Version([1, 89, 0]).to_string(), "1.89");
        assert_eq!(Version([1, 89, 1]).to_string(), "1.89.1");
    }
}
