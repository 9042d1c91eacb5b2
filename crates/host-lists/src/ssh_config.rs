//! An OpenSSH client configuration, as `ssh_config(5)` has it.
//!
//! The grammar is small and read here: the libraries for it follow `Include` to files by themselves, know no line to name
//! when something is refused, and leave `%h`, `Match` and what is said of jump hosts to the caller, which is most of the
//! work. Splitting a line into words is left to `shlex`.

use std::collections::HashSet;

use fleet_types::glob_matches;

use crate::hop::{Hop, NO_COMMAND};
use crate::listed::{BadLine, ListedHost};
use crate::said::{Said, Value, What};

/// Patterns in a file: each host is held against each of them.
const MOST_PATTERNS: usize = 5_000;

/// Reads each alias of a `Host` line as a host, but those with wildcards, which only say something about others. The first
/// value that applies to a host holds, and jump hosts are what the file says of them.
///
/// # Errors
/// The first line that cannot be followed: `Include`, for other files are not read; each `Match` but `Match all`;
/// `ProxyCommand` and `%` where a host depends on them, but `%h` in `HostName`.
pub fn read_ssh_config(text: &str) -> Result<Vec<ListedHost>, BadLine> {
    let blocks = blocks(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut seen = HashSet::new();
    let aliases = blocks.iter().flat_map(|block| {
        let names = block.patterns.iter();
        let names = names.filter(|name| !name.contains(['*', '?', '!']));
        names.map(|name| (name.as_str(), block.line))
    });
    aliases
        .filter(|(alias, _)| seen.insert(*alias))
        .map(|(alias, line)| {
            let known = |at, hop| known(&blocks, at, hop);
            said_of(&blocks, alias).host(alias, line, None, known)
        })
        .collect()
}

/// What holds for the hosts that match.
#[derive(Debug)]
struct Block {
    line: usize,
    patterns: Vec<String>,
    settings: Vec<(What, Value)>,
}

impl Block {
    fn new(line: usize, patterns: Vec<String>) -> Self {
        Self {
            line,
            patterns,
            settings: Vec::new(),
        }
    }

    fn applies_to(&self, alias: &str) -> bool {
        let hits = |pattern: &str| glob_matches(pattern.as_bytes(), alias.as_bytes());
        let excluded = |pattern: &String| pattern.strip_prefix('!').is_some_and(hits);
        self.patterns.iter().any(|pattern| hits(pattern)) && !self.patterns.iter().any(excluded)
    }
}

fn blocks(text: &str) -> Result<Vec<Block>, BadLine> {
    let all = || vec!["*".to_owned()];
    // What stands before the first `Host` holds for all.
    let mut blocks = vec![Block::new(0, all())];
    let mut patterns = 0;
    for (before, text) in text.lines().enumerate() {
        let line = before + 1;
        let bad = |why: &str| BadLine::new(line, why);
        let text = text.trim();
        let end = text.find(|c: char| c.is_whitespace() || c == '=');
        let (keyword, rest) = text.split_at(end.unwrap_or(text.len()));
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        let words = || shlex::split(rest).ok_or_else(|| bad("a quote is not closed"));
        let what = match keyword.to_ascii_lowercase().as_str() {
            "host" => {
                let words = words()?;
                patterns += words.len();
                if words.is_empty() {
                    return Err(bad("there is no host after Host"));
                }
                if patterns > MOST_PATTERNS {
                    return Err(bad("the file has more than 5000 hosts and patterns"));
                }
                blocks.push(Block::new(line, words));
                continue;
            }
            "match" if rest.eq_ignore_ascii_case("all") => {
                blocks.push(Block::new(line, all()));
                continue;
            }
            "match" => return Err(bad("of Match only `Match all` can be followed")),
            "include" => return Err(bad("Include is not followed; import that file by itself")),
            "hostname" => What::Address,
            "port" => What::Port,
            "user" => What::User,
            "identityfile" => What::Key,
            // Whichever of the two comes first leaves no room for the other.
            "proxyjump" | "proxycommand" => What::Jump,
            // Comments, empty lines, and what says nothing about where a host is and who signs in.
            _ => continue,
        };
        let text = match words()?.as_slice() {
            [] => return Err(bad("the value is missing")),
            [none] if none == "none" => Ok("none".to_owned()),
            _ if keyword.eq_ignore_ascii_case("proxycommand") => Err(NO_COMMAND),
            [value] => Ok(value.clone()),
            _ => return Err(bad("there is more than one value")),
        };
        let block = blocks.last_mut().expect("there is one from the beginning");
        block.settings.push((what, Value { line, text }));
    }
    Ok(blocks)
}

/// What the file says of an alias.
fn said_of(blocks: &[Block], alias: &str) -> Said {
    let mut said = Said::default();
    let applying = blocks.iter().filter(|block| block.applies_to(alias));
    for (what, value) in applying.flat_map(|block| &block.settings) {
        said.0.entry(*what).or_insert_with(|| value.clone());
    }
    if let Some(Value { text: Ok(text), .. }) = said.0.get_mut(&What::Address) {
        *text = text.replace("%h", alias);
    }
    said.0
        .retain(|what, value| *what != What::Key || !value.is("none"));
    said
}

/// A jump host with what the file says of it. ssh itself would go to the first one by that one's own jump hosts.
fn known(blocks: &[Block], at: usize, hop: Hop) -> Result<Hop, String> {
    let said = said_of(blocks, &hop.host);
    let own = said.0.get(&What::Jump);
    if at == 0 && own.is_some_and(|own| !own.is("none")) {
        let host = &hop.host;
        return Err(format!(
            "{host} has jump hosts of its own; name the whole way here"
        ));
    }
    let bad = |error: BadLine| format!("{}, {error}", hop.host);
    let host = said.parsed::<String>(What::Address).map_err(bad)?;
    Ok(Hop {
        user: hop.user.or(said.parsed(What::User).map_err(bad)?),
        port: hop.port.or(said.port().map_err(bad)?),
        host: host.unwrap_or(hop.host),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// name, user@address:port, key, jump
    fn shown(host: &ListedHost) -> String {
        let user = host.user.as_ref().map_or("-", |user| user.as_str());
        let port = host.port.unwrap_or_default();
        let key = host.key.as_deref().unwrap_or("-");
        let jump = host.jump.as_ref().map_or("-".to_owned(), |j| j.join(","));
        format!(
            "{} {} {user}@{}:{port} {key} {jump}",
            host.line, host.name, host.address
        )
    }

    fn check(text: &str, expected: &[&str]) {
        let hosts = read_ssh_config(text).unwrap();
        let hosts: Vec<String> = hosts.iter().map(shown).collect();
        assert_eq!(hosts, expected, "{text}");
    }

    #[test]
    fn a_file_as_people_have_it() {
        check(
            r#"# work
AddKeysToAgent yes

Host edge bastion   # both names
    HostName edge.example.org
    User ops
    Port=2200
    IdentityFile "~/.ssh/edge key"

Host web-* !web-9
    User deploy
    ProxyJump edge
    StrictHostKeyChecking accept-new

Host web-1
    HostName 10.0.0.1
    User root
    Port 22

Host web-9
	hostname = 10.0.0.9
	proxyjump=ops@edge:22

Host web-1 db.example.org
    Port 2022

Match all
    IdentityFile ~/.ssh/id
    IdentityFile ~/.ssh/other
Host *
    User fallback
"#,
            &[
                "4 edge ops@edge.example.org:2200 ~/.ssh/edge key -",
                "4 bastion ops@edge.example.org:2200 ~/.ssh/edge key -",
                "15 web-1 deploy@10.0.0.1:22 ~/.ssh/id ops@edge.example.org:2200",
                "20 web-9 fallback@10.0.0.9:0 ~/.ssh/id ops@edge.example.org:22",
                "24 db.example.org fallback@db.example.org:2022 ~/.ssh/id -",
            ],
        );
    }

    #[test]
    fn what_stands_first_holds() {
        check(
            "User first\nHost a\nUser second\nPort 1\nPort 2\n",
            &["2 a first@a:1 - -"],
        );
        check("Host *\nUser x\nHost a\nUser y\n", &["3 a x@a:0 - -"]);
        check("Host a\r\nHostName %h.x\r\n", &["1 a -@a.x:0 - -"]);
        check(
            "Host a\nIdentityFile none\nProxyJump none\nHost *\nProxyJump b\nIdentityFile k\n",
            &["1 a -@a:0 - "],
        );
        check(
            "Host a\nProxyCommand none\nProxyJump b\nHost *.x\nProxyCommand nc %h %p\n",
            &["1 a -@a:0 - "],
        );
        check("", &[]);
    }

    #[test]
    fn a_jump_host_is_what_the_file_says_of_it() {
        check(
            "Host c\nProxyJump a,root@b:23\nHost b\nProxyJump a\nUser bo\nPort 2\nHost a\nHostName 192.0.2.1\n",
            &[
                "1 c -@c:0 - 192.0.2.1,root@b:23",
                "3 b bo@b:2 - 192.0.2.1",
                "7 a -@192.0.2.1:0 - -",
            ],
        );
    }

    #[test]
    fn what_cannot_be_followed_is_named_by_its_line() {
        for (text, line, word) in [
            ("Host a\n  Include more/*\n", 2, "Include"),
            ("Host a\n\nMatch host b\n", 3, "Match"),
            ("Match exec true\n", 1, "Match"),
            ("Host\n", 1, "no host"),
            ("Host 'a\n", 1, "quote"),
            ("Host a\nPort 0\n", 2, "port"),
            ("Host a\nPort ssh\n", 2, "port"),
            ("Host a\nPort\n", 2, "missing"),
            ("Host a\nUser a b\n", 2, "more than one"),
            ("Host a\nUser 'a b'\n", 2, "user"),
            ("Host a\n# x\nHostName a b.example\n", 3, "more than one"),
            ("Host a\nHostName 10.0.0.999\n", 2, "address"),
            ("Host a\nHostName %k\n", 2, "address"),
            ("Host _a\n", 1, "host name"),
            ("Host a_/b\n", 1, "host name"),
            ("Host a\nIdentityFile ~root/key\n", 2, "key"),
            ("Host a\nIdentityFile ${HOME}/key\n", 2, "key"),
            ("Host a\nIdentityFile %d/key\n", 2, "key"),
            ("Host a\nProxyJump x:y\n", 2, "jump host"),
            ("Host a\nProxyJump a\n", 2, "the whole way"),
            ("Host a\nHost *\nProxyJump b\n", 3, "the whole way"),
            ("Host a\nProxyJump b,%h\n", 2, "jump host"),
            ("Host a\nProxyCommand nc %h %p\n", 2, "ProxyJump"),
            ("Host a\nProxyJump b\nHost b\nPort x\n", 2, "line 4: port"),
        ] {
            let error = read_ssh_config(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(error.why.contains(word), "{text:?}: {error:?}");
        }
        let many = "Host a b c\n".repeat(2_000);
        assert_eq!(read_ssh_config(&many).unwrap_err().line, 1667);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let _ = read_ssh_config(&text);
        }

        #[test]
        fn no_file_is_too_strange(lines in prop::collection::vec(
            "(Host|Match|HostName|Port|User|IdentityFile|ProxyJump|ProxyCommand|Include|)[ =]{0,2}([a-c*?!%h@:,'\"# \\[\\]~$\\\\]|all|none|ssh -W %h:%p |22){0,6}",
            0..12,
        )) {
            for host in read_ssh_config(&lines.join("\n")).unwrap_or_default() {
                prop_assert!(host.line >= 1 && host.line <= lines.len());
            }
        }
    }
}
