//! An OpenSSH client configuration, as `ssh_config(5)` has it.
//!
//! The grammar is small and read here: the libraries for it follow `Include` to files by themselves, know no line to name
//! when something is refused, and leave `%h`, `Match` and what is said of jump hosts to the caller, which is most of the
//! work.

use std::cell::Cell;
use std::collections::HashSet;

use fleet_types::glob_matches;

use crate::hop::{Hop, NO_CANONICAL, NO_COMMAND};
use crate::line;
use crate::listed::{BadLine, ListedHost};
use crate::said::{LONGEST_VALUE, Said, Value, What};

/// Patterns in a file: each host is held against each of them.
const MOST_PATTERNS: usize = 5_000;
/// Names compared, and letters of a name times letters of a pattern with wildcards: a second's work or so.
const MOST_STEPS: usize = 500_000_000;

/// Reads each alias of a `Host` line as a host, but those with wildcards, which only say something about others, and further
/// names on the line of a host with the same address. The first value that applies to a host holds, and jump hosts are what
/// the file says of them.
///
/// # Errors
/// The first line that cannot be followed: `Include`, for other files are not read; each `Match` but `Match all`;
/// `CanonicalizeHostname`; `ProxyCommand` and `%` where a host depends on them, but `%h` in `HostName`. A file with more
/// patterns, longer values or more work in it than any that is of use.
pub fn read_ssh_config(text: &str) -> Result<Vec<ListedHost>, BadLine> {
    let file = File::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut seen = HashSet::new();
    let mut hosts = Vec::new();
    for block in &file.blocks {
        let mut places = HashSet::new();
        let names = block.patterns.iter().filter(|p| !p.not && !p.wild);
        for alias in names.map(|pattern| pattern.text.as_str()) {
            if !seen.insert(alias) {
                continue;
            }
            let line = block.line;
            let said = file.said_of(alias).map_err(|why| BadLine::new(line, why))?;
            let host = said.host(alias, line, None, |at, hop| file.known(at, hop))?;
            // Other jump hosts lead to another machine, and another user or key is for a person to look at.
            let way = (host.jump.clone(), host.user.clone(), host.key.clone());
            if host.address.is_none() || places.insert((host.address.clone(), host.port, way)) {
                hosts.push(host);
            }
        }
    }
    Ok(hosts)
}

/// One word of a `Host` line.
#[derive(Debug)]
struct Pattern {
    text: String,
    not: bool,
    wild: bool,
}

impl Pattern {
    fn new(word: &str) -> Self {
        let text = word.strip_prefix('!').unwrap_or(word);
        Self {
            text: text.to_owned(),
            not: text.len() < word.len(),
            wild: text.contains(['*', '?']),
        }
    }

    fn hits(&self, alias: &str) -> bool {
        if self.wild {
            glob_matches(self.text.as_bytes(), alias.as_bytes())
        } else {
            self.text == alias
        }
    }
}

/// What holds for the hosts that match.
#[derive(Debug)]
struct Block {
    line: usize,
    patterns: Vec<Pattern>,
    /// Of each the first.
    settings: Vec<(What, Value)>,
}

impl Block {
    fn applies_to(&self, alias: &str) -> bool {
        let any = |not| {
            let mut patterns = self.patterns.iter().filter(|pattern| pattern.not == not);
            patterns.any(|pattern| pattern.hits(alias))
        };
        any(false) && !any(true)
    }

    fn say(&mut self, what: What, value: Value) {
        if self.settings.iter().all(|(said, _)| *said != what) {
            self.settings.push((what, value));
        }
    }
}

/// A file as it was read.
#[derive(Debug, Default)]
struct File {
    blocks: Vec<Block>,
    patterns: usize,
    /// Letters of the patterns with wildcards.
    wild: usize,
    /// The work that was done on it.
    steps: Cell<usize>,
}

impl File {
    fn read(text: &str) -> Result<Self, BadLine> {
        let mut file = Self::default();
        // What stands before the first `Host` holds for all.
        file.begin(0, &["*".to_owned()])?;
        for (before, text) in text.lines().enumerate() {
            file.take(before + 1, text)?;
        }
        Ok(file)
    }

    fn begin(&mut self, line: usize, words: &[String]) -> Result<(), BadLine> {
        let patterns: Vec<Pattern> = words.iter().map(|word| Pattern::new(word)).collect();
        self.patterns += patterns.len();
        let wild = patterns.iter().filter(|pattern| pattern.wild);
        self.wild += wild.map(|pattern| pattern.text.len()).sum::<usize>();
        if self.patterns > MOST_PATTERNS {
            let why = format!("the file has more than {MOST_PATTERNS} hosts and patterns");
            return Err(BadLine::new(line, why));
        }
        self.blocks.push(Block {
            line,
            patterns,
            settings: Vec::new(),
        });
        Ok(())
    }

    fn take(&mut self, line: usize, text: &str) -> Result<(), BadLine> {
        let bad = |why: &str| BadLine::new(line, why);
        let (keyword, rest) = line::keyword(text);
        let words = || match line::words(rest) {
            None => Err(bad("a quote is not closed")),
            Some(words) if words.iter().any(|word| word.len() > LONGEST_VALUE) => {
                Err(bad(&format!("a word is longer than {LONGEST_VALUE} bytes")))
            }
            Some(words) => Ok(words),
        };
        let what = match keyword.as_str() {
            "host" => {
                return match words()?.as_slice() {
                    [] => Err(bad("there is no host after Host")),
                    words => self.begin(line, words),
                };
            }
            "match" if rest.eq_ignore_ascii_case("all") => {
                return self.begin(line, &["*".to_owned()]);
            }
            "match" => return Err(bad("of Match only `Match all` can be followed")),
            "include" => return Err(bad("Include is not followed; import that file by itself")),
            "canonicalizehostname" if rest.eq_ignore_ascii_case("no") => return Ok(()),
            "canonicalizehostname" => return Err(bad(NO_CANONICAL)),
            "hostname" => What::Address,
            "port" => What::Port,
            "user" => What::User,
            "identityfile" | "identityfile2" => What::Key,
            // Whichever of the two comes first leaves no room for the other.
            "proxyjump" | "proxycommand" => What::Jump,
            quoted if quoted.starts_with('"') => {
                return Err(bad("take the quotes off the keyword"));
            }
            // Comments, empty lines, and what says nothing about where a host is and who signs in.
            _ => return Ok(()),
        };
        let text = match words()?.as_slice() {
            [] => return Err(bad("the value is missing")),
            // The rest of the line is the command, quotes and all.
            _ if keyword == "proxycommand" && rest == "none" => Ok("none".into()),
            _ if keyword == "proxycommand" => Err(NO_COMMAND),
            [value] => Ok(value.as_str().into()),
            _ => return Err(bad("there is more than one value")),
        };
        let block = self.blocks.last_mut().expect("one holds for all");
        block.say(what, Value { line, text });
        Ok(())
    }

    /// What the file says of an alias, unless it was asked for too much already.
    fn said_of(&self, alias: &str) -> Result<Said, &'static str> {
        let steps = self.steps.get() + self.patterns + self.wild * alias.len();
        if steps > MOST_STEPS {
            return Err("the file's hosts and patterns are too many together");
        }
        self.steps.set(steps);
        let mut said = Said::default();
        let applying = self.blocks.iter().filter(|block| block.applies_to(alias));
        for (what, value) in applying.flat_map(|block| &block.settings) {
            said.0.entry(*what).or_insert_with(|| value.clone());
        }
        if let Some(Value { text: Ok(text), .. }) = said.0.get_mut(&What::Address) {
            *text = text.replace("%h", alias).into();
        }
        said.0
            .retain(|what, value| *what != What::Key || !value.is("none"));
        Ok(said)
    }

    /// A jump host with what the file says of it. ssh itself would go to the first one by that one's own jump hosts.
    fn known(&self, at: usize, hop: Hop) -> Result<Hop, String> {
        let said = self.said_of(&hop.host)?;
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
        let address = host.address.as_ref().map_or("-", |a| a.as_str());
        let (line, name) = (host.line, &host.name);
        format!("{line} {name} {user}@{address}:{port} {key} {jump}")
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
                "15 web-1 deploy@10.0.0.1:22 ~/.ssh/id ops@edge.example.org:2200",
                "20 web-9 fallback@10.0.0.9:0 ~/.ssh/id ops@edge.example.org:22",
                "24 db.example.org fallback@-:2022 ~/.ssh/id -",
            ],
        );
    }

    #[test]
    fn what_stands_first_holds() {
        check(
            "User first\nHost a\nUser second\nPort 1\nPort 2\n",
            &["2 a first@-:1 - -"],
        );
        check("Host *\nUser x\nHost a\nUser y\n", &["3 a x@-:0 - -"]);
        check("Host a\r\nHostName %h.x\r\n", &["1 a -@a.x:0 - -"]);
        check(
            "Host a\nIdentityFile none\nProxyJump none\nHost *\nProxyJump b\nIdentityFile k\n",
            &["1 a -@-:0 - "],
        );
        check(
            "Host a\nProxyCommand none\nProxyJump b\nHost *.x\nProxyCommand nc %h %p\n",
            &["1 a -@-:0 - "],
        );
        check("", &[]);
    }

    #[test]
    fn one_address_behind_two_gateways_is_two_hosts() {
        check(
            "Host eu us\nHostName 10.0.0.5\nHost eu\nProxyJump gw-eu\nHost us\nProxyJump gw-us\n",
            &["1 eu -@10.0.0.5:0 - gw-eu", "1 us -@10.0.0.5:0 - gw-us"],
        );
        check(
            "Host web web-root\nHostName 10.0.0.5\nHost web-root\nUser root\n",
            &["1 web -@10.0.0.5:0 - -", "1 web-root root@10.0.0.5:0 - -"],
        );
    }

    #[test]
    fn keywords_are_those_of_ssh() {
        check(
            "Host a\nIdentityFile2 k\nHost *\nIdentityFile other\n",
            &["1 a -@-:0 k -"],
        );
        check(
            "Host a\nProxyJump b\nHost b\nProxyJump None\n",
            &["1 a -@-:0 - b", "3 b -@-:0 - "],
        );
        for (text, line) in [
            ("Host a\n\"HostName\" 10.0.0.1\n", 2),
            ("Host a\nProxyCommand none # x\n", 2),
            ("Host a\nProxyCommand \"none\"\n", 2),
        ] {
            let refused = read_ssh_config(text).unwrap_err();
            assert_eq!(refused.line, line, "{text}: {refused}");
        }
    }

    #[test]
    fn a_host_with_several_names_is_one_host() {
        let file = "Host web-1 web-1.example.org web\nHostName 192.0.2.1\nUser CORP\\deploy\n";
        check(file, &["1 web-1 CORP\\deploy@192.0.2.1:0 - -"]);
        // Without one address for all, each is a host; so is one on another line, which may be meant.
        check(
            "Host a b\nHost c d\nHostName %h.x\n",
            &[
                "1 a -@-:0 - -",
                "1 b -@-:0 - -",
                "2 c -@c.x:0 - -",
                "2 d -@d.x:0 - -",
            ],
        );
        check(
            "Host b\nPort 23\nHost a b\nHostName x\nHost c\nHostName x\n",
            &["1 b -@x:23 - -", "3 a -@x:0 - -", "5 c -@x:0 - -"],
        );
    }

    #[test]
    fn a_name_is_an_address_or_named_by_its_line() {
        let hosts = read_ssh_config("\nHost WEB a--\n").unwrap();
        assert_eq!(hosts[0].first_address().unwrap().as_str(), "web");
        assert_eq!(hosts[1].first_address().unwrap_err().line, 2);
    }

    #[test]
    fn a_jump_host_is_what_the_file_says_of_it() {
        check(
            "Host c\nProxyJump a,root@b:23\nHost b\nProxyJump a\nUser bo\nPort 2\nHost a\nHostName 192.0.2.1\n",
            &[
                "1 c -@-:0 - 192.0.2.1,root@b:23",
                "3 b bo@-:2 - 192.0.2.1",
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
            ("Host a\nProxyJump b,c,d,e,f,g,h,i,j\n", 2, "more than 8"),
            ("Host a\n\nCanonicalizeHostname yes\n", 3, "HostName"),
        ] {
            let error = read_ssh_config(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(error.why.contains(word), "{text:?}: {error:?}");
        }
        check("CanonicalizeHostname no\nCanonicalDomains x\n", &[]);
    }

    #[test]
    fn a_file_that_makes_too_much_of_itself_is_refused() {
        let refused = |text: &str, line: usize, word: &str| {
            let error = read_ssh_config(text).unwrap_err();
            assert!(error.line == line && error.why.contains(word), "{error:?}");
        };
        refused(&"Host a b c\n".repeat(2_000), 1667, "5000");
        refused(&"Match all\n".repeat(5_000), 5_000, "5000");
        let aliases: String = (0..4_000).map(|at| format!(" h{at}")).collect();
        let long = "k".repeat(1_001);
        for keyword in ["IdentityFile", "HostName", "ProxyJump", "Host"] {
            refused(&format!("Host{aliases}\n{keyword} {long}\n"), 2, "1000");
        }
        // Hosts are few and patterns are few, and both are long.
        let wild = format!("Host {}\n", format!("{}? ", "*a".repeat(490)).repeat(500));
        let hosts = |most: usize| -> String {
            let long = "a".repeat(90);
            (0..most).map(|at| format!("Host {long}{at}\n")).collect()
        };
        refused(&format!("{wild}{}", hosts(100)), 13, "too many");
        // What comes again in a block says nothing.
        let again = format!("Host{aliases}\n{}", "Port 22\n".repeat(100_000));
        assert_eq!(read_ssh_config(&again).unwrap().len(), 4_000);
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
