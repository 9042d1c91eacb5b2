//! What hosts print reaches a terminal as text, from a database and from a server.

use local_fleet::ReleaseSpec;
use serde_json::Value;

use super::Served;
use crate::support::{Ran, Site};

const SETTINGS: &str = "[rollout]\nsettle = 0.2\nmax_failures = 100\n[health]\nevery = 3600\n";

/// Markup, colours, a link for terminals, a title, writing from right to left, and what is no text at all.
const SAID: &[u8] = b"error: <script>alert(1)</script> \x1b[31mred\n\
    \x1b]0;title\x07\x1b[2J\x1b[H \x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\\n\
    \xe2\x80\xaebackwards\xe2\x81\xa6 nul\0nul \xff\xfe \xc2\x9b31m one\rtwo\x08\n";

const SHOWN: [&str; 5] = [
    "error: <script>alert(1)</script> \\x1b[31mred",
    "\\x1b]0;title\\x07\\x1b[2J\\x1b[H \\x1b]8;;https://evil.example\\x1b\\link",
    "\\u{202e}backwards\\u{2066} nul\\x00nul",
    "\\x9b31m",
    "one\\x0dtwo\\x08",
];

/// Nothing that a terminal acts on. A terminal is none here, so that the program makes no colours of its own.
#[track_caller]
fn is_plain(text: &str) {
    let acts = |letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\t')
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(acts), "{text:?}");
}

fn is_plain_inside(value: &Value) {
    match value {
        Value::String(text) => is_plain(text),
        Value::Array(list) => list.iter().for_each(is_plain_inside),
        Value::Object(map) => map.values().for_each(is_plain_inside),
        _ => {}
    }
}

/// Looks at everything that shows a host's words. `run` asks the database or the server.
fn all_is_text(run: impl Fn(&[&str]) -> Ran) {
    let logs = run(&["logs", "--host", "web-01"]);
    for shown in SHOWN {
        assert!(logs.stdout.contains(shown), "{shown} is not in {logs:#?}");
    }
    let well = run(&["logs", "--host", "web-02", "--step", "install"]);
    assert!(well.stdout.contains(SHOWN[2]), "{well:#?}");
    let shown = run(&["rollouts", "show"]);
    assert!(shown.stdout.contains(SHOWN[0]), "{shown:#?}");
    for words in [
        &["logs", "--host", "web-01"][..],
        &["rollouts", "show"],
        &["rollouts", "list"],
        &["status"],
        &["hosts", "list"],
        &["hosts", "show", "web-01"],
    ] {
        let plain = run(words);
        is_plain(&plain.stdout);
        is_plain(&plain.stderr);
        let json = run(&[words, &["--json"]].concat());
        is_plain(&json.stdout);
        is_plain_inside(&serde_json::from_str(&json.stdout).unwrap());
    }
}

#[test]
fn what_hosts_print_is_text_in_a_terminal() {
    let site = Site::new(2, SETTINGS);
    site.release(ReleaseSpec::good("two"));
    let said = site.place.path("said");
    std::fs::write(&said, SAID).unwrap();
    let says = format!("cat '{0}'; cat '{0}' >&2", said.display());
    for (host, then) in [("web-01", "exit 1"), ("web-02", "bun install")] {
        let install = format!("{says}; {then}");
        let edit = ["hosts", "edit", host, "--install", &install, "-q"];
        site.place.expect(0, &edit);
    }
    let update = [
        "update",
        "--all",
        "-y",
        "--stages",
        "100",
        "-m",
        "\u{1b}[31m\u{202e}why",
    ];
    let ran = site.place.expect(5, &update);
    is_plain(&ran.stdout);
    is_plain(&ran.stderr);
    assert!(
        ran.stdout.contains(SHOWN[0]) || ran.stderr.contains(SHOWN[0]),
        "{ran:#?}"
    );
    all_is_text(|words| site.place.expect(0, words));
    let served = Served::on(site);
    all_is_text(|words| served.expect(0, words));
}
