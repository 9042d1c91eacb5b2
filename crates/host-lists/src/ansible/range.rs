//! `web[01:20].example.org:2222`: many hosts in a word.

use std::net::Ipv6Addr;

/// Longer than any name; all that it stands for is as long as it is.
const LONGEST: usize = 300;

/// The pattern, and the port behind it.
pub(super) fn without_port(pattern: &str) -> (&str, Option<&str>) {
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match pattern.rsplit_once(':') {
        Some((before, port)) if digits(port) && pattern.parse::<Ipv6Addr>().is_err() => {
            (before, Some(port))
        }
        _ => (pattern, None),
    }
}

/// The names that a pattern stands for, at most this many: each number or letter of `[01:20]` and `[a:f]`, the ends included.
/// Where the first has zeros in front, all are as long as it is.
pub(super) fn names(pattern: &str, most: usize) -> Result<Vec<String>, String> {
    let many = || format!("{pattern:?} makes more hosts than a file may name");
    if pattern.len() > LONGEST {
        return Err("the host's name is too long".to_owned());
    }
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, (range, after))) = rest
        .split_once('[')
        .and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
    {
        let words = words(range, most).ok_or_else(|| format!("[{range}] is not like [01:20]"))?;
        if names.len() * words.len() > most {
            return Err(many());
        }
        let longer = |name: &String| {
            let name = format!("{name}{before}");
            words.iter().map(move |word| format!("{name}{word}"))
        };
        names = names.iter().flat_map(longer).collect();
        rest = after;
    }
    if names.len() > most {
        return Err(many());
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// What a range stands for, one by one; a few too many when it is more than this.
fn words(range: &str, most: usize) -> Option<Vec<String>> {
    let (begin, end) = range.split_once(':')?;
    if let ([first], [last]) = (begin.as_bytes(), end.as_bytes()) {
        let kinds: [fn(&u8) -> bool; 2] = [u8::is_ascii_lowercase, u8::is_ascii_uppercase];
        if kinds.iter().any(|kind| kind(first) && kind(last)) && first <= last {
            return Some(
                (*first..=*last)
                    .map(|l| char::from(l).to_string())
                    .collect(),
            );
        }
    }
    let number = |text: &str| text.parse().ok().filter(|_| !text.starts_with('+'));
    let (first, last): (usize, usize) = (number(begin)?, number(end)?);
    let width = if begin.starts_with('0') {
        begin.len()
    } else {
        0
    };
    if first > last || (width > 1 && width != end.len()) {
        return None;
    }
    let numbers = (first..=last).take(most + 1);
    Some(numbers.map(|at| format!("{at:0width$}")).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_ansible_has_them() {
        for (pattern, expected) in [
            ("web", Some("web")),
            (
                "web[08:11].example.org",
                Some("web08.example.org web09.example.org web10.example.org web11.example.org"),
            ),
            ("w[8:10]", Some("w8 w9 w10")),
            ("w[0:2]", Some("w0 w1 w2")),
            ("db-[a:c]", Some("db-a db-b db-c")),
            ("[A:B][1:2]", Some("A1 A2 B1 B2")),
            ("w[2:1]", None),
            ("w[01:100]", None),
            ("w[a:B]", None),
            ("w[1:5:2]", None),
            ("w[1]", None),
            ("w[1:]", None),
            ("w[+1:2]", None),
            ("w[1:101]", None),
            ("w[1:11][1:10]", None),
            ("w[0:18446744073709551615]", None),
            ("w[1:18446744073709551616]", None),
        ] {
            let names = names(pattern, 100).ok().map(|names| names.join(" "));
            assert_eq!(names.as_deref(), expected, "{pattern}");
        }
        assert!(names("w", 0).unwrap_err().contains("more hosts"));
        assert!(names(&"w".repeat(400), 9).unwrap_err().contains("long"));
    }

    #[test]
    fn a_port_stands_behind_the_name() {
        for (pattern, name, port) in [
            ("web", "web", None),
            ("web:22", "web", Some("22")),
            ("web[1:2]", "web[1:2]", None),
            ("web[1:2]:22", "web[1:2]", Some("22")),
            ("2001:db8::1", "2001:db8::1", None),
            ("web:", "web:", None),
        ] {
            assert_eq!(without_port(pattern), (name, port), "{pattern}");
        }
    }
}
