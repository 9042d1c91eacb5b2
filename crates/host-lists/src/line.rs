//! Lines of a configuration as ssh reads them.

/// The keyword in small letters, and what stands behind it and an equals sign.
pub(crate) fn keyword(text: &str) -> (String, &str) {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || c == '=');
    let (keyword, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    (keyword.to_ascii_lowercase(), rest)
}

/// The words up to a comment; `None` when a quote is not closed. Unlike in a shell, a backslash stands for itself unless a
/// quote, a backslash or, outside of quotes, a space is behind it.
pub(crate) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (' ' | '\t', None) => words.extend(word.take()),
            ('#', None) if word.is_none() => break,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_with(String::new);
            }
            (_, Some(open)) if letter == open => quote = None,
            ('\\', _) => {
                let escaped =
                    |next: &char| "'\"\\".contains(*next) || (quote.is_none() && *next == ' ');
                let letter = letters.next_if(escaped).unwrap_or('\\');
                word.get_or_insert_with(String::new).push(letter);
            }
            _ => word.get_or_insert_with(String::new).push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_ssh_has_them() {
        for (text, expected) in [
            ("", Some("")),
            ("a  b\tc # d", Some("a|b|c")),
            ("a#b", Some("a#b")),
            (r"CORP\deploy", Some(r"CORP\deploy")),
            (r#""CORP\deploy""#, Some(r"CORP\deploy")),
            (r"CORP\\deploy", Some(r"CORP\deploy")),
            (r"a\ b", Some("a b")),
            (r"'a\ b'", Some(r"a\ b")),
            (r"a\	b", Some(r"a\|b")),
            (r#"\"a\' '\'' x"y z"w"#, Some(r#""a'|'|xy zw"#)),
            (r"a\", Some(r"a\")),
            (r#"'' "a'b""#, Some("|a'b")),
            ("'a", None),
            (r"'a\'", None),
        ] {
            let words = words(text).map(|words| words.join("|"));
            assert_eq!(words.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_keyword_stands_before_its_value() {
        for (text, word, rest) in [
            ("Port 22", "port", "22"),
            ("  port=22 ", "port", "22"),
            ("PORT = 22", "port", "22"),
            ("Port", "port", ""),
            ("", "", ""),
        ] {
            assert_eq!(keyword(text), (word.to_owned(), rest), "{text}");
        }
    }
}
