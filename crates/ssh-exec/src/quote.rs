//! The one place where a value becomes shell text.

/// A value that no POSIX shell can hold: it contains a NUL byte.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a NUL byte at position {position}, which no shell value can hold")]
pub struct UnquotableError {
    /// Byte position of the first NUL.
    pub position: usize,
}

/// Quotes `value` as one word of a POSIX shell that expands to exactly `value`.
///
/// Everything stands in single quotes, where nothing is special but the single quote itself. The word is safe as the
/// right side of an assignment and as an argument; that an argument may not *start* with `-` is the caller's concern,
/// for no quoting takes the meaning of an option away.
///
/// # Errors
///
/// [`UnquotableError`] when the value contains a NUL byte.
pub fn quote(value: &str) -> Result<String, UnquotableError> {
    if let Some(position) = value.bytes().position(|byte| byte == 0) {
        return Err(UnquotableError { position });
    }
    let mut word = String::with_capacity(value.len() + 2);
    word.push('\'');
    for part in value.split_inclusive('\'') {
        match part.strip_suffix('\'') {
            Some(text) => {
                word.push_str(text);
                word.push_str("'\\''");
            }
            None => word.push_str(part),
        }
    }
    word.push('\'');
    Ok(word)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// What a real `sh` makes of the word, as an argument of another program and as a variable.
    fn through_sh(word: &str) -> (Vec<u8>, Vec<u8>) {
        let script = format!(
            "export LC_ALL=C\nv={word}\n/usr/bin/printf '%s\\0' {word}\n/usr/bin/printf '%s' \"$v\"\n"
        );
        let mut shell = Command::new("/bin/sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = shell.wait_with_output().unwrap().stdout;
        let end = output.iter().position(|byte| *byte == 0).unwrap();
        (output[..end].to_vec(), output[end + 1..].to_vec())
    }

    #[track_caller]
    fn check(value: &str) {
        let (argument, variable) = through_sh(&quote(value).unwrap());
        assert_eq!(argument, value.as_bytes(), "as an argument");
        assert_eq!(variable, value.as_bytes(), "as a variable");
    }

    #[test]
    fn hard_cases_survive_a_real_shell() {
        for value in [
            "",
            "plain",
            "two words",
            "'",
            "''",
            "a'b''c'",
            "\\",
            "\\'",
            "\\n",
            "$HOME `id` $(id) ${x}",
            "\"",
            "line\nline\n",
            "\n\n",
            "\r\n\t",
            "*?[a-z]~",
            "-n",
            "--upload-pack=touch /tmp/x;",
            "#no comment",
            "!history",
            "é\u{202e}\u{feff}\u{10ffff}\u{fffd}",
            "\u{1}\u{7f}\u{1b}[31m",
        ] {
            check(value);
        }
    }

    #[test]
    fn nul_is_refused() {
        assert_eq!(quote("a\0b"), Err(UnquotableError { position: 1 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_survives_a_real_shell(value in "[^\u{0}]{0,60}") {
            check(&value);
        }

        #[test]
        fn shell_metacharacters_survive_a_real_shell(value in "['\"\\\\$`\n!#~*;&|<>(){} a-]{0,40}") {
            check(&value);
        }
    }
}
