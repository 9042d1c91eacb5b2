//! An Ansible inventory, in either of its forms.

mod arguments;
mod ini;
mod range;
mod yaml;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_types::Label;

use crate::hop::Hop;
use crate::listed::{BadLine, ListedHost};
use crate::said::{LONGEST_VALUE, Said, Value, What};

/// Hosts of a file, each counted as often as it is named: a range is a short way to name many.
const MOST_NAMED: usize = 20_000;
/// Variables with arguments of ssh, in the order in which ssh gets them.
const ARGUMENTS: [What; 3] = [What::Arguments, What::CommonArguments, What::ExtraArguments];
/// Groups around a host, at all depths.
const MOST_GROUPS: usize = 64;
/// Groups within groups; groups that contain each other are always more.
const MOST_DEPTH: usize = 32;
/// Why what is no plain text is refused.
const NOT_PLAIN: &str = "a template, a list or an encrypted text cannot be followed here";

/// Reads an inventory in the INI or the YAML form, whichever it is. Of the variables those count that say where a host is
/// and who signs in, by Ansible's precedence: a host's own before a group's, a child group's before its parent's, of groups
/// equally deep the alphabetically last one's. The groups of a host are those it is in and those around them, without `all`
/// and `ungrouped`.
///
/// # Errors
/// The first line that cannot be followed: a template or an encrypted text where a host depends on it, arguments of ssh that
/// decide more than jump hosts, a password, a host that is not reached over SSH, an inventory that is a program or a
/// plugin's configuration.
pub fn read_ansible(text: &str) -> Result<Vec<ListedHost>, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("$ANSIBLE_VAULT") || text.starts_with("#!") {
        let why = "the inventory is encrypted or a program; import what `ansible-inventory --list --yaml` writes";
        return Err(BadLine::new(1, why));
    }
    let inventory = if is_yaml(text) {
        yaml::read(text)?
    } else {
        ini::read(text)?
    };
    inventory.hosts()
}

/// Whether the first line that says anything is one of YAML: none of the INI form begins with a word and a colon.
fn is_yaml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let word = first.and_then(|line| line.split_whitespace().next());
    word.is_some_and(|word| word == "---" || word.starts_with(['{', '%']) || word.ends_with(':'))
}

/// Takes what a variable says, or why that cannot be followed, if it is one that counts.
fn say(
    said: &mut Said,
    name: &str,
    value: Result<&str, &'static str>,
    line: usize,
) -> Result<(), BadLine> {
    let what = match name {
        "ansible_host" | "ansible_ssh_host" => What::Address,
        "ansible_port" | "ansible_ssh_port" => What::Port,
        "ansible_user" | "ansible_ssh_user" => What::User,
        "ansible_ssh_private_key_file" | "ansible_private_key_file" => What::Key,
        "ansible_ssh_args" => What::Arguments,
        "ansible_ssh_common_args" => What::CommonArguments,
        "ansible_ssh_extra_args" => What::ExtraArguments,
        "ansible_connection"
            if ["ssh", "smart", "paramiko"].contains(&value.unwrap_or_default()) =>
        {
            return Ok(());
        }
        "ansible_connection" => return Err(BadLine::new(line, "the host is not reached over SSH")),
        "ansible_password"
        | "ansible_ssh_pass"
        | "ansible_ssh_password"
        | "ansible_group_priority"
        | "ansible_paramiko_proxy_command" => {
            return Err(BadLine::new(
                line,
                format!("{name} cannot be imported; take it out"),
            ));
        }
        _ => return Ok(()),
    };
    let plain = |text: &&str| {
        !["{{", "{%", "$ANSIBLE_VAULT"]
            .iter()
            .any(|t| text.contains(t))
    };
    let text = match value.and_then(|text| Some(text).filter(plain).ok_or(NOT_PLAIN)) {
        Ok(text) if text.len() > LONGEST_VALUE => Err("the value is longer than 1000 bytes"),
        Ok(text) if ARGUMENTS.contains(&what) => arguments::jump(text).map(Into::into),
        text => text.map(Into::into),
    };
    said.0.insert(what, Value { line, text });
    Ok(())
}

/// An inventory as it was read, not yet put together.
#[derive(Debug, Default)]
struct Inventory {
    groups: BTreeMap<String, Group>,
    hosts: Vec<Host>,
    /// Where each host stands in `hosts`.
    at: HashMap<String, usize>,
    named: usize,
}

#[derive(Debug, Default)]
struct Group {
    line: usize,
    parents: BTreeSet<String>,
    said: Said,
}

#[derive(Debug)]
struct Host {
    line: usize,
    name: String,
    groups: BTreeSet<String>,
    said: Said,
}

impl Inventory {
    /// A group, which is there from now on. Its name becomes a label, by which its hosts are chosen.
    fn group(&mut self, name: &str, line: usize) -> Result<&mut Group, BadLine> {
        if name.parse::<Label>().is_ok_and(|label| label.key == name) {
            let group = self.groups.entry(name.to_owned()).or_default();
            group.line = line;
            return Ok(group);
        }
        let why = format!(
            "group {name:?} must be of letters, digits, '.', '_', '-' and '/' to be a label"
        );
        Err(BadLine::new(line, why))
    }

    /// Puts the hosts that a pattern names into a group, and says this of each.
    fn name_hosts(
        &mut self,
        pattern: &str,
        group: &str,
        own: &Said,
        line: usize,
    ) -> Result<(), BadLine> {
        let (pattern, port) = range::without_port(pattern);
        let names = range::names(pattern, MOST_NAMED - self.named)
            .map_err(|why| BadLine::new(line, why))?;
        self.named += names.len();
        for name in names {
            let at = *self.at.entry(name.clone()).or_insert(self.hosts.len());
            if at == self.hosts.len() {
                let (groups, said) = (BTreeSet::new(), Said::default());
                self.hosts.push(Host {
                    line,
                    name,
                    groups,
                    said,
                });
            }
            let host = &mut self.hosts[at];
            host.groups.insert(group.to_owned());
            if let Some(port) = port {
                say(&mut host.said, "ansible_port", Ok(port), line)?;
            }
            host.said.0.extend(own.0.clone());
        }
        Ok(())
    }

    fn hosts(&self) -> Result<Vec<ListedHost>, BadLine> {
        let depths = self.depths()?;
        self.hosts
            .iter()
            .map(|host| self.host(host, &depths))
            .collect()
    }

    /// The depth of each group: one more than that of the deepest group around it.
    fn depths(&self) -> Result<HashMap<&str, usize>, BadLine> {
        let mut depths = HashMap::from([("all", 0)]);
        loop {
            let mut settled = true;
            for (name, group) in self.groups.iter().filter(|(name, _)| *name != "all") {
                let around = group
                    .parents
                    .iter()
                    .filter_map(|parent| depths.get(parent.as_str()));
                let depth = 1 + around.max().copied().unwrap_or(0);
                if depth > MOST_DEPTH {
                    let why = format!(
                        "group {name} contains itself, or more than {MOST_DEPTH} are within each other"
                    );
                    return Err(BadLine::new(group.line, why));
                }
                settled &= depths.insert(name, depth) == Some(depth);
            }
            if settled {
                return Ok(depths);
            }
        }
    }

    fn host(&self, host: &Host, depths: &HashMap<&str, usize>) -> Result<ListedHost, BadLine> {
        let mut around = BTreeSet::from([(0, "all")]);
        let mut waiting: Vec<&str> = host.groups.iter().map(String::as_str).collect();
        while let Some(name) = waiting.pop() {
            let depth = depths.get(name).copied().unwrap_or(0);
            if around.insert((depth, name)) {
                let parents = self.groups.get(name).map(|group| &group.parents);
                waiting.extend(parents.into_iter().flatten().map(String::as_str));
            }
            if around.len() > MOST_GROUPS {
                let why = format!("{} is in more than {MOST_GROUPS} groups", host.name);
                return Err(BadLine::new(host.line, why));
            }
        }
        // From the outermost group inwards: what is said later takes the place of what was said before.
        let groups = around.iter().filter_map(|(_, name)| self.groups.get(*name));
        let said = groups.map(|group| &group.said).chain([&host.said]);
        let pairs: BTreeMap<What, &Value> = said
            .flat_map(|said| &said.0)
            .map(|(what, value)| (*what, value))
            .collect();
        let pairs = pairs.into_iter();
        let mut said = Said(pairs.map(|(what, value)| (what, value.clone())).collect());
        // ssh goes by the first jump hosts that it is given.
        for what in ARGUMENTS {
            let given = said.0.remove(&what).filter(|value| !value.is(""));
            if let Some(value) = given {
                value
                    .text
                    .as_ref()
                    .map_err(|why| BadLine::new(value.line, why))?;
                said.0.entry(What::Jump).or_insert(value);
            }
        }
        let labels = around
            .iter()
            .map(|(_, name)| *name)
            .filter(|name| !["all", "ungrouped"].contains(name));
        let labels = labels.map(str::to_owned).collect();
        said.host(&host.name, host.line, Some(labels), |_, hop: Hop| Ok(hop))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// line name user@address:port key jump [groups]
    fn shown(host: &ListedHost) -> String {
        let user = host.user.as_ref().map_or("-", |user| user.as_str());
        let port = host.port.unwrap_or_default();
        let key = host.key.as_deref().unwrap_or("-");
        let jump = host.jump.as_ref().map_or("-".to_owned(), |j| j.join(","));
        let groups: Vec<&str> = host.groups.iter().flatten().map(String::as_str).collect();
        let address = host.address.as_ref().map_or("-", |a| a.as_str());
        let (line, name) = (host.line, &host.name);
        let groups = groups.join(" ");
        format!("{line} {name} {user}@{address}:{port} {key} {jump} [{groups}]")
    }

    fn check(text: &str, expected: &[&str]) {
        let hosts = read_ansible(text).unwrap();
        let hosts: Vec<String> = hosts.iter().map(shown).collect();
        assert_eq!(hosts, expected, "{text}");
    }

    fn refused(text: &str, line: usize, word: &str) {
        let read = read_ansible(text);
        let as_expected = |bad: &BadLine| bad.line == line && bad.why.contains(word);
        assert!(read.as_ref().is_err_and(as_expected), "{text:?}: {read:?}");
    }

    #[test]
    fn an_ini_file_as_people_have_it() {
        check(
            r#"; the whole fleet
mail.example.com

# customers
[web]
web[01:02].example.org app_port=80 # two
web03 ansible_host=192.0.2.3 ansible_user='root' ansible_port="2222"
2.example.org:2200 ansible_ssh_private_key_file=keys/two

[db]
db-[a:b] motd="say 'hi' = #1" x=\#y # both

[web:vars]
ansible_user = deploy
proxy={{ lookup('env', 'PROXY') }}
ansible_ssh_common_args='-o StrictHostKeyChecking=no -o ProxyJump="ops@edge.example.org:22"'

[eu:children]  # region
web
db

[eu:vars]
ansible_user=eu
ansible_ssh_private_key_file=~/.ssh/eu

[all:vars]
ansible_user=anybody
ansible_port=22
"#,
            &[
                "2 mail.example.com anybody@-:22 - - []",
                "6 web01.example.org deploy@-:22 ~/.ssh/eu ops@edge.example.org:22 [eu web]",
                "6 web02.example.org deploy@-:22 ~/.ssh/eu ops@edge.example.org:22 [eu web]",
                "7 web03 root@192.0.2.3:2222 ~/.ssh/eu ops@edge.example.org:22 [eu web]",
                "8 2.example.org deploy@-:2200 keys/two ops@edge.example.org:22 [eu web]",
                "11 db-a eu@-:22 ~/.ssh/eu - [db eu]",
                "11 db-b eu@-:22 ~/.ssh/eu - [db eu]",
            ],
        );
    }

    #[test]
    fn a_yaml_file_as_people_have_it() {
        check(
            r#"---
# customers
all:
  vars:
    ansible_user: anybody
    ansible_port: 22
    secret: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      6162
  hosts:
    mail.example.com:
  children:
    web:
      hosts:
        web[01:02].example.org:
          app: {ports: [80, 443]}
        web03: &three
          ansible_host: 192.0.2.3
          ansible_user: "root"
        web04:
          <<: *three
          ansible_host: 192.0.2.4
      vars:
        ansible_user: deploy
        greeting: "{{ inventory_hostname }}"
        ansible_ssh_common_args: >-
          -J edge
    eu:
      children:
        web:
        db:
          hosts: {db1: {ansible_port: "2222"}}
ungrouped:
  hosts:
    lone: {}
"#,
            &[
                "11 mail.example.com anybody@-:22 - - []",
                "15 web01.example.org deploy@-:22 - edge [eu web]",
                "15 web02.example.org deploy@-:22 - edge [eu web]",
                "17 web03 root@192.0.2.3:22 - edge [eu web]",
                "20 web04 root@192.0.2.4:22 - edge [eu web]",
                "32 db1 anybody@-:2222 - - [db eu]",
                "35 lone anybody@-:22 - - []",
            ],
        );
        check("{all: {hosts: {a: null}}}", &["1 a -@-:0 - - []"]);
        check("all:\n", &[]);
    }

    #[test]
    fn what_is_nearer_to_the_host_holds() {
        // Of groups equally deep the last by name; a child's before its parent's; a host's own before all.
        let groups = "[a]\nh\n[b]\nh\n[c:children]\na\n[b:vars]\nansible_user=b\n[a:vars]\nansible_user=a\nansible_port=1\n[c:vars]\nansible_user=c\nansible_port=3\nansible_host=c.example\n";
        check(groups, &["2 h a@c.example:1 - - [a b c]"]);
        let flat = groups.replace("[c:children]\na\n", "[c]\n");
        check(&flat, &["2 h b@-:1 - - [a b]"]);
        check(
            "h ansible_user=x\n[a]\nh ansible_user=own\n[a:vars]\nansible_user=a\n",
            &["1 h own@-:0 - - [a]"],
        );
        check(
            "h ansible_ssh_common_args=-C\n[all:vars]\nansible_ssh_common_args='-J edge'\n",
            &["1 h -@-:0 - - []"],
        );
        check(
            "h ansible_ssh_common_args=-C\n[all:vars]\nansible_ssh_extra_args='-J edge'\nansible_ssh_common_args='-p 1'\n",
            &["1 h -@-:0 - edge []"],
        );
        check(
            "h ansible_ssh_extra_args=-Ja ansible_ssh_common_args=-AJb ansible_ssh_args=-C\ni ansible_ssh_common_args='-J none'\n[all:vars]\nansible_ssh_args='-o ProxyJump=c'\n",
            &["1 h -@-:0 - b []", "2 i -@-:0 - c []"],
        );
        check(
            "h ansible_ssh_common_args='-J none'\n",
            &["1 h -@-:0 -  []"],
        );
        check(
            "h ansible_ssh_common_args=-Jedge ansible_ssh_extra_args=-C\n",
            &["1 h -@-:0 - edge []"],
        );
    }

    #[test]
    fn what_cannot_be_followed_is_named_by_its_line() {
        for (text, line, word) in [
            ("#!/usr/bin/env python3\n", 1, "--list --yaml"),
            ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", 1, "--list --yaml"),
            ("a\nb ansible_host='{{ ip }}'\n", 2, "template"),
            ("a\nb ansible_host={{ ip }}\n", 2, "name=value"),
            ("a\n[all:vars]\nansible_user={% if x %}\n", 3, "template"),
            ("a ansible_password=x\n", 1, "ansible_password"),
            ("a ansible_connection=local\n", 1, "SSH"),
            ("a\na ansible_port=ssh\n", 2, "port"),
            ("a:0\n", 1, "port"),
            ("a:70000\n", 1, "port"),
            ("a ansible_user='o p'\n", 1, "user"),
            ("a ansible_host=10.0.0.999\n", 1, "address"),
            ("a ansible_ssh_private_key_file=$HOME/k\n", 1, "key"),
            ("a ansible_ssh_common_args='-J x:y'\n", 1, "jump host"),
            (
                "a ansible_ssh_common_args='-o ProxyCommand=x'\n",
                1,
                "ProxyJump",
            ),
            ("a ansible_ssh_extra_args=\"-o 'x\"\n", 1, "quote"),
            ("a ansible_ssh_args='-J b -p 1'\n", 1, "ansible_port"),
            ("a\n[all:vars]\nansible_ssh_args=-l x\n", 3, "ansible_user"),
            (
                "a ansible_ssh_args=-Jb ansible_ssh_extra_args=-Fx\n",
                1,
                "file",
            ),
            (
                "a ansible_ssh_args='-J a,b,c,d,e,f,g,h,i'\n",
                1,
                "more than 8",
            ),
            ("a ansible_paramiko_proxy_command=x\n", 1, "paramiko"),
            ("a\nb ansible_user=x#y\n", 2, "#"),
            ("a\nb x=y#z ansible_user=x\n", 2, "#"),
            ("a#b\n", 1, "#"),
            ("a ansible_user='x#y'\n", 1, "#"),
            ("a\n[all:vars]\nansible_user=x # y\n", 3, "#"),
            ("a 'b\n", 1, "quote"),
            ("a b\n", 1, "name=value"),
            ("x\n\na_/b\n", 3, "host name"),
            ("2001:db8::1\n", 1, "host name"),
            ("w[1:2\n", 1, "host name"),
            ("w[2:1]\n", 1, "[2:1]"),
            ("w[1:20001]\n", 1, "more hosts"),
            ("w[1:15000]\nw[1:15000]\n", 2, "more hosts"),
            ("[web:hosts]\n", 1, "[group:children]"),
            ("[a b]\n", 1, "label"),
            ("[a:vars]\nx=1\n", 1, "no group"),
            ("[a:children]\nb\n", 2, "no group"),
            ("[a:vars]\nx\n[a]\n", 2, "name=value"),
            ("[a:children]\nb\n[b:children]\na\n[b]\nh\n", 4, "itself"),
            ("plugin: amazon.aws.aws_ec2\n", 1, "groups have hosts"),
            ("all:\n  host:\n    a:\n", 2, "host"),
            ("all:\n  hosts:\n    - a\n", 3, "names with a colon"),
            ("all:\n  hosts:\n    a:\n    a:\n", 4, "duplicate"),
            (
                "all:\n hosts:\n  a:\n   ansible_host: '{{ x }}'\n",
                4,
                "template",
            ),
            (
                "all:\n hosts:\n  a:\n   ansible_host: !vault |\n    $ANSIBLE_VAULT;1.1\n",
                4,
                "template",
            ),
            ("all:\n hosts:\n  a:\n   ansible_user: [x]\n", 4, "template"),
            ("all:\n hosts:\n  a:\n   ansible_port: 22.5\n", 4, "port"),
            ("all:\n hosts:\n  a: &x\n   b: *y\n", 4, ""),
            ("all:\n\thosts:\n", 2, ""),
            ("a b:\n  hosts:\n", 1, ""),
        ] {
            refused(text, line, word);
        }
        let long = "a,".repeat(600);
        refused(&format!("w[1:9] ansible_ssh_args='-J {long}'\n"), 1, "1000");
        let deep = |most: usize| {
            let below = |at: usize| format!("[g{at}:children]\ng{}\n", at + 1);
            let groups: String = (0..most).map(below).collect();
            format!("[g{most}]\nh\n{groups}")
        };
        assert_eq!(
            read_ansible(&deep(20)).unwrap()[0]
                .groups
                .as_ref()
                .unwrap()
                .len(),
            21
        );
        assert!(read_ansible(&deep(60)).unwrap_err().why.contains("32"));
        let wide: String = (0..70).map(|at| format!("[g{at}]\nh\n")).collect();
        refused(&wide, 2, "64 groups");
        let nested = "a: {children: ".repeat(60) + &"}".repeat(120);
        assert!(read_ansible(&nested).is_err());
        let bomb = |at: usize| {
            let before = format!("*v{at},").repeat(10);
            format!("  v{}: &v{} [{before}]\n", at + 1, at + 1)
        };
        let bomb: String = (0..9).map(bomb).collect();
        assert!(read_ansible(&format!("all:\n vars:\n  v0: &v0 [x]\n{bomb}")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>(), yaml in any::<bool>()) {
            let _ = read_ansible(&if yaml { format!("---\n{text}") } else { text });
        }

        #[test]
        fn no_ini_file_is_too_strange(lines in prop::collection::vec(
            "(\\[[a-c]{0,2}(:vars|:children|:x|)\\]?|[a-c]{0,2}(\\[[0-9a-c:]{0,6}\\])?(:[0-9]{0,3})?( ansible_(host|port|user|connection|ssh_common_args)=['\"]?[a-c -]{0,4}(-J [a-c,]|\\{\\{)?['\"]?)?)",
            0..12,
        )) {
            for host in read_ansible(&lines.join("\n")).unwrap_or_default() {
                prop_assert!(host.line >= 1 && host.line <= lines.len());
            }
        }

        #[test]
        fn no_yaml_file_is_too_strange(lines in prop::collection::vec(
            " {0,6}(- |<<: \\*[ab]|[&*][ab] |!vault |)(hosts|children|vars|all|[a-c\\[\\]0-9:]{1,4}|ansible_(host|port|user)|)(:|: )([&*][ab]|[a-c{}\\[\\]\"'|>%0-9.~]{0,3}|)",
            0..12,
        )) {
            for host in read_ansible(&format!("---\n{}", lines.join("\n"))).unwrap_or_default() {
                prop_assert!(host.line >= 1 && host.line <= lines.len() + 1);
            }
        }
    }
}
