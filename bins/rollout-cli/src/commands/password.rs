//! Passwords: from standard input, or asked for twice without being shown. Never from the command line.

use std::io::{self, Read, Write};

use access_secrets::{PASSWORD_LEAST, PASSWORD_MOST, check_password};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::PasswordSource;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// A new password that may be taken.
pub(crate) fn new_password(source: PasswordSource, out: Output) -> Result<String, Failure> {
    let password = if source.password_stdin {
        from_stdin()?
    } else {
        asked_for(out)?
    };
    check_password(&password).map_err(Failure::usage)?;
    Ok(password)
}

fn from_stdin() -> Result<String, Failure> {
    // One line of the greatest length, its end, and one byte that shows there is more.
    let most = u64::try_from(PASSWORD_MOST).unwrap_or(u64::MAX) + 3;
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage("standard input cannot be read").why(error))?;
    one_line_of(bytes).map_err(Failure::usage)
}

/// The text without the end of its line.
fn one_line_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "the password is not UTF-8 text")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\r', '\0']) {
        return Err("the password on standard input is more than one line");
    }
    Ok(line.to_owned())
}

fn asked_for(out: Output) -> Result<String, Failure> {
    if !out.can_ask() {
        return Err(
            Failure::usage("a password is needed, and there is nobody to ask")
                .help("say --password-stdin and give it on standard input"),
        );
    }
    let first = hidden(&format!(
        "New password (at least {PASSWORD_LEAST} characters): "
    ))?;
    check_password(&first).map_err(Failure::usage)?;
    if hidden("The same again: ")? != first {
        return Err(Failure::usage("the two passwords differ").why("nothing was changed"));
    }
    Ok(first)
}

/// Asks for a line that is not shown.
fn hidden(question: &str) -> Result<String, Failure> {
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    let read = {
        let _keys = HiddenKeys::new().map_err(|error| {
            Failure::unexpected("the terminal cannot be kept from showing it").why(error)
        })?;
        read_keys(&mut io::stdin().lock())
    };
    let _ = writeln!(stderr);
    match read {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(Failure::new(Exit::Interrupted, "interrupted").why("nothing was changed")),
        Err(error) => Err(Failure::usage("the password could not be read").why(error)),
    }
}

/// What was typed until Enter; none on Ctrl-C, Ctrl-D or the end.
fn read_keys(keys: &mut impl Read) -> io::Result<Option<String>> {
    let mut typed: Vec<u8> = Vec::new();
    let mut key = [0_u8];
    loop {
        if keys.read(&mut key)? == 0 {
            return Ok(None);
        }
        match key[0] {
            b'\n' | b'\r' => break,
            0x03 | 0x04 => return Ok(None),
            // Backspace takes a whole letter.
            0x08 | 0x7f => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => typed.clear(),
            byte if byte < 0x20 => {}
            // More than can be taken is enough to be refused.
            byte if typed.len() <= PASSWORD_MOST => typed.push(byte),
            _ => {}
        }
    }
    String::from_utf8(typed)
        .map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Keys come one by one, unseen, and Ctrl-C is a key: a program killed here would leave a terminal that shows nothing.
struct HiddenKeys(Termios);

impl HiddenKeys {
    fn new() -> rustix::io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut settings = before.clone();
        settings
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &settings)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenKeys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_typed() {
        for (keys, text) in [
            ("secret\n", Some("secret")),
            ("secret\r", Some("secret")),
            ("sä\x7fecret\n", Some("secret")),
            ("\x7fa\x08b\n", Some("b")),
            ("wrong\x15right\n", Some("right")),
            ("a\x1bb\n", Some("ab")),
            ("secret\x03", None),
            ("\x04", None),
            ("no end", None),
        ] {
            let read = read_keys(&mut keys.as_bytes()).unwrap();
            assert_eq!(read.as_deref(), text, "{keys:?}");
        }
        assert!(read_keys(&mut [0xff, b'\n'].as_slice()).is_err());
        let long = format!("{}\n", "x".repeat(5000));
        let read = read_keys(&mut long.as_bytes()).unwrap().unwrap();
        assert_eq!(read.len(), PASSWORD_MOST + 1, "too long, and told as such");
    }

    #[test]
    fn one_line_from_a_pipe() {
        for (bytes, text) in [
            (&b"secret"[..], Some("secret")),
            (b"secret\n", Some("secret")),
            (b"secret\r\n", Some("secret")),
            (b" with spaces \n", Some(" with spaces ")),
            (b"two\nlines\n", None),
            (b"nul\0\n", None),
            (b"\xff\n", None),
        ] {
            let read = one_line_of(bytes.to_vec()).ok();
            assert_eq!(read.as_deref(), text, "{bytes:?}");
        }
    }
}
