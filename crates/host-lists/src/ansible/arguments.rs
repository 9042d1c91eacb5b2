//! What arguments of ssh decide.

use crate::hop::{NO_CANONICAL, NO_COMMAND};
use crate::line;

/// The flags of ssh that take a value.
const WITH_VALUE: &str = "bceilmopBDEFIJLOPQRSwW";
const NO_KEY: &str =
    "a key among arguments of ssh cannot be followed; say ansible_ssh_private_key_file";
const NO_PORT: &str = "a port among arguments of ssh cannot be followed; say ansible_port";
const NO_USER: &str = "a user among arguments of ssh cannot be followed; say ansible_user";
const NO_HOST: &str = "a host among arguments of ssh cannot be followed; say ansible_host";
const NO_FILE: &str = "another file's configuration among arguments of ssh cannot be followed";

/// The jump hosts that arguments of ssh name; empty when they name none.
///
/// # Errors
/// What else decides where a host is and who signs in there.
pub(super) fn jump(arguments: &str) -> Result<String, &'static str> {
    if arguments.contains('#') {
        return Err("a # among arguments of ssh cannot be followed");
    }
    let words = shlex::split(arguments).ok_or("a quote is not closed")?;
    let mut words = words
        .iter()
        .map(|word| word.trim())
        .filter(|word| !word.is_empty());
    let mut jump = None;
    while let Some(word) = words.next() {
        let flags = word.strip_prefix('-').unwrap_or_default();
        if flags.is_empty() || flags == "-" {
            return Err(NO_HOST);
        }
        // What stands before it are flags without a value, which decide nothing of all this.
        let with_value = flags.split_once(|flag| WITH_VALUE.contains(flag));
        let Some((before, attached)) = with_value else {
            continue;
        };
        let value = match attached {
            "" => words.next().ok_or("the last option has no value")?,
            attached => attached,
        };
        let hosts = match &flags[before.len()..=before.len()] {
            "J" => Some(value.to_owned()),
            "o" => option(value)?,
            "p" => return Err(NO_PORT),
            "l" => return Err(NO_USER),
            "i" | "I" => return Err(NO_KEY),
            "F" => return Err(NO_FILE),
            _ => None,
        };
        jump = jump.or(hosts);
    }
    Ok(jump.unwrap_or_default())
}

/// The jump hosts that the value of `-o` names, which is a line of a configuration.
fn option(text: &str) -> Result<Option<String>, &'static str> {
    let (keyword, value) = line::keyword(text);
    match keyword.as_str() {
        "proxyjump" if value.is_empty() => Err("the jump hosts are missing"),
        "proxyjump" => Ok(Some(value.to_owned())),
        "proxycommand" if value == "none" => Ok(Some(value.to_owned())),
        "proxycommand" => Err(NO_COMMAND),
        "hostname" => Err(NO_HOST),
        "port" => Err(NO_PORT),
        "user" => Err(NO_USER),
        "identityfile" | "identityfile2" | "pkcs11provider" => Err(NO_KEY),
        "include" => Err(NO_FILE),
        "canonicalizehostname" if !value.eq_ignore_ascii_case("no") => Err(NO_CANONICAL),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arguments_of_ssh_decide() {
        for (text, expected) in [
            ("", Ok("")),
            ("-C -4 -o StrictHostKeyChecking=no", Ok("")),
            (
                "-o ServerAliveInterval=30 -oControlMaster=auto -S none",
                Ok(""),
            ),
            ("-J edge", Ok("edge")),
            ("-AJ edge -C", Ok("edge")),
            ("-CJedge", Ok("edge")),
            ("-J a,b -o ProxyJump=c", Ok("a,b")),
            ("-o ProxyJump=a -J b", Ok("a")),
            ("-o 'proxyjump a'", Ok("a")),
            ("-o 'ProxyJump = \"a\"'", Ok("\"a\"")),
            ("-J none", Ok("none")),
            ("-oProxyCommand=none -C", Ok("none")),
            ("-o CanonicalizeHostname=no", Ok("")),
            ("-L 8080:x:80 -b 192.0.2.1", Ok("")),
            // The value of another flag is not one itself.
            ("-S -Jx", Ok("")),
            ("-J edge -p 22", Err(NO_PORT)),
            ("-p22", Err(NO_PORT)),
            ("-tp 22", Err(NO_PORT)),
            ("-o Port=22", Err(NO_PORT)),
            ("-l root", Err(NO_USER)),
            ("-o User=root", Err(NO_USER)),
            ("-vi key", Err(NO_KEY)),
            ("-o IdentityFile=key", Err(NO_KEY)),
            ("-I x.so", Err(NO_KEY)),
            ("-o HostName=a", Err(NO_HOST)),
            ("edge", Err(NO_HOST)),
            ("-C -- edge", Err(NO_HOST)),
            ("-F file", Err(NO_FILE)),
            ("-o Include=file", Err(NO_FILE)),
            ("-o ProxyCommand='nc %h %p'", Err(NO_COMMAND)),
            ("-o CanonicalizeHostname=yes", Err(NO_CANONICAL)),
            ("-C -J", Err("the last option has no value")),
            ("-o ProxyJump=", Err("the jump hosts are missing")),
            ("-o 'x", Err("a quote is not closed")),
            (
                "-C # -J edge",
                Err("a # among arguments of ssh cannot be followed"),
            ),
        ] {
            assert_eq!(jump(text).as_deref(), expected.as_ref().copied(), "{text}");
        }
    }
}
