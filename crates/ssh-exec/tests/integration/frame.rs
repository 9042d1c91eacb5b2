//! The frame, through real shells.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet_testkit::until;
use proptest::prelude::*;
use ssh_exec::{Frame, LocalShellTransport, SessionError};

use crate::support::{Repo, command, shell, shell_with, text};

#[tokio::test]
async fn output_facts_and_exit_code_come_apart() {
    let output = shell(&command(
        "probe",
        "printf 'out without newline'; fact head abc; fact lines \"$(printf 'a\\nb\\nc')\"; echo err >&2; exit 255",
    ))
    .await
    .unwrap();
    assert_eq!(output.exit, 255);
    assert_eq!(output.stdout.tail, b"out without newline");
    assert_eq!(output.stderr.tail, b"err\n");
    assert_eq!(output.fact("head"), Some("abc"));
    assert_eq!(output.fact("lines"), Some("a b c"));
}

#[tokio::test]
async fn facts_get_through_redirections() {
    let output = shell(&command(
        "probe",
        "text=$(fact inner 1; echo kept); { fact outer 2; } >/dev/null; echo \"$text\"",
    ))
    .await
    .unwrap();
    assert_eq!(
        (output.fact("inner"), output.fact("outer")),
        (Some("1"), Some("2"))
    );
    assert_eq!(output.stdout.tail, b"kept\n");
}

#[tokio::test]
async fn parameters_arrive_as_they_are() {
    let value = "a'b\"c\\d$HOME`id`\n#x\n\u{1f980} -n\n\n";
    let output = shell(&command("probe", "printf '%s' \"$value\"; env >&2").param("value", value))
        .await
        .unwrap();
    assert_eq!(output.stdout.tail, value.as_bytes());
}

#[tokio::test]
async fn neither_marker_nor_parameters_reach_the_environment() {
    let transport = LocalShellTransport::new()
        .env("rollout_mark", "x")
        .env("target", "y");
    let probe =
        command("probe", "env; fact sees_target \"$target\"").param("target", "secret-value");
    let output = shell_with(transport, &probe).await.unwrap();
    let environment = output.stdout.text();
    assert_eq!(output.fact("sees_target"), Some("secret-value"));
    assert!(
        !environment.contains("rollout_mark") && !environment.contains("secret-value"),
        "{environment}"
    );
    assert!(environment.contains("LC_ALL=C"));
}

#[tokio::test]
async fn bad_names_and_values_are_not_sent() {
    for (name, value) in [
        ("PATH", "x"),
        ("a-b", "x"),
        ("rollout_mark", "x"),
        ("", "x"),
        ("1a", "x"),
        ("a", "nul\0"),
    ] {
        let result = shell(&command("probe", "true").param(name, value)).await;
        assert!(
            matches!(result, Err(SessionError::Unsendable { .. })),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_body_has_no_input_and_cannot_eat_the_script() {
    let output = shell(&command("probe", "cat; read -r line; echo \"$? [$line]\""))
        .await
        .unwrap();
    assert_eq!(output.stdout.tail, b"1 []\n");
}

#[tokio::test]
async fn a_body_that_does_not_parse_does_not_run_at_all() {
    let repo = Repo::new();
    let file = repo.beside("ran");
    let probe = command("probe", "touch \"$file\"\nif\n").param("file", file.to_str().unwrap());
    assert!(matches!(
        shell(&probe).await,
        Err(SessionError::ShellBroken { .. })
    ));
    assert!(!file.exists());
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_does_not_delay() {
    let repo = Repo::new();
    let begun = Instant::now();
    let output = shell(
        &command("probe", "sleep 60 & echo $! >\"$file\"; echo done")
            .param("file", repo.beside("pid").to_str().unwrap()),
    )
    .await
    .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(output.stdout.tail, b"done\n");
    let status = Command::new("kill")
        .arg(text(&repo.beside("pid")).trim())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn killed_shell_is_unknown_not_failed() {
    let result = shell(&command("probe", "kill -9 $$; sleep 5")).await;
    assert!(
        matches!(result, Err(SessionError::Lost { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn login_shells_hand_over() {
    for login in ["bash", "dash", "zsh", "csh", "tcsh", "fish", "sh"] {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", login])
            .output()
            .unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        if path.trim().is_empty() {
            continue;
        }
        let transport = LocalShellTransport::new().login_shell(path.trim());
        let probe = command("probe", "printf '%s' \"$value\"; exit 3")
            .param("value", "it's \\ #1!\n\"$x\"");
        let output = shell_with(transport, &probe)
            .await
            .unwrap_or_else(|error| panic!("{login}: {error}"));
        assert_eq!(
            (output.exit, output.stdout.tail.as_slice()),
            (3, &b"it's \\ #1!\n\"$x\""[..]),
            "{login}"
        );
    }
}

/// Feeds exactly these bytes to a shell in this folder; returns its exit code and what it said.
fn feed(bytes: &[u8], folder: &std::path::Path) -> (Option<i32>, String) {
    let mut shell = Command::new("/bin/sh")
        .arg("-s")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A shell that gave up on the first line does not read the rest.
    let _ = shell.stdin.take().unwrap().write_all(bytes);
    let output = shell.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Feeds a part of a script and checks that the shell understood nothing of it: no command was looked for, and not a
/// redirection made a file.
#[track_caller]
fn assert_not_run(part: &[u8], folder: &std::path::Path) {
    let (code, said) = feed(part, folder);
    let shown = String::from_utf8_lossy(part);
    assert_eq!(code, Some(2), "{said}: {shown}");
    assert_eq!(said.lines().count(), 1, "{said}: {shown}");
    assert!(said.contains("ntax error"), "{said}: {shown}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "{shown}");
}

/// A guarded script with everything that shell text has.
fn sample(folder: &std::path::Path) -> Vec<u8> {
    let body = ": >\"$folder/1\" # it's a \"comment\"; : >never\n: >'2'; { : >3; } 2>&1 | cat && (: >4)\n\
                case $folder in a) : ;; *) : `true` $(true) ;; esac\nif true; then :; fi\nwhile false; do :; done\n";
    let guard = ssh_exec::HostGuard {
        repo: "/nowhere".to_owned(),
        store: "alpha".to_owned(),
        epoch: 1,
        replace: None,
        wait_seconds: 1,
    };
    let value = folder.to_str().unwrap();
    Frame::render(&command("probe", body).param("folder", value).guarded(guard))
        .unwrap()
        .stdin()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever part of a script arrives, nothing of it runs.
    #[test]
    fn a_part_of_the_script_never_runs(ends in prop::collection::vec(0.0_f64..1.0, 2), kind in 0..3) {
        let folder = tempfile::tempdir().unwrap();
        let text = sample(folder.path());
        let begin = text.iter().position(|byte| *byte == b'\'').unwrap() + 6;
        let at = |share: f64| (share * (text.len() - begin - 3) as f64) as usize + begin;
        let (one, other) = (at(ends[0]).min(at(ends[1])), at(ends[0]).max(at(ends[1])) + 1);
        match kind {
            0 => assert_not_run(&text[one..], folder.path()),
            1 => assert_not_run(&text[..one], folder.path()),
            // With both ends gone there may be no quote left; then it is a single word.
            _ => {
                feed(&text[one..other], folder.path());
                prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            }
        }
    }
}

/// A middle of a script that begins with a command of ours, `mkdir -p` in this case, must not become that command.
#[test]
fn between_its_ends_a_script_is_a_single_word() {
    let folder = tempfile::tempdir().unwrap();
    let text = sample(folder.path());
    let begin = text.iter().position(|byte| *byte == b'\'').unwrap() + 6;
    let inside = std::str::from_utf8(&text[begin..text.len() - 4]).unwrap();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:,@%+\\".contains(&byte);
    let other: Vec<char> = inside.chars().filter(|c| !plain(*c as u8)).collect();
    assert_eq!(other, []);
    for name in ["mkdir", "mktemp", "printf", "eval", "exec", "rm", "git"] {
        for (at, _) in inside.match_indices(name) {
            feed(&inside.as_bytes()[at..], folder.path());
            let made = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(made, 0, "{name} at {at}");
        }
    }
}

#[test]
fn no_beginning_can_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let text = sample(folder.path());
    // Up to here a part of `eval` itself is eaten, and the script is at most the name of a command that is not there.
    let opened = text.iter().position(|byte| *byte == b'\'').unwrap();
    for eaten in 1..opened {
        feed(&text[eaten..], folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    // Every place in the body and every few bytes before it.
    for eaten in (opened + 6..text.len() - 700)
        .step_by(13)
        .chain(text.len() - 700..text.len() - 3)
    {
        assert_not_run(&text[eaten..], folder.path());
    }
}

#[test]
fn the_whole_script_runs() {
    let folder = tempfile::tempdir().unwrap();
    let body =
        ": >\"$folder/1\" # it's a \"comment\"; : >never\n: >'2'; { : >3; } 2>&1 | cat && (: >4)\n";
    let bare = command("probe", body).param("folder", folder.path().to_str().unwrap());
    let (code, said) = feed(&Frame::render(&bare).unwrap().stdin(), folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

/// A login shell that hands over to another `sh` than this machine's.
fn interpreter(repo: &Repo, command: &str) -> Option<LocalShellTransport> {
    let name = command.split(' ').next().unwrap();
    if !Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", name])
        .status()
        .unwrap()
        .success()
    {
        return None;
    }
    let wrapper = repo.beside(name);
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec {command} -s\n")).unwrap();
    assert!(
        Command::new("chmod")
            .arg("755")
            .arg(&wrapper)
            .status()
            .unwrap()
            .success()
    );
    Some(LocalShellTransport::new().login_shell(wrapper))
}

#[tokio::test]
async fn other_shells_behave_alike_as_sh() {
    // Korn shells are not among them: they close descriptors above 2 in children, so the lock cannot be taken and
    // nothing runs. No system with systemd has one as `sh`.
    for shell in ["dash", "bash --posix", "busybox sh", "zsh --emulate sh"] {
        let repo = Repo::new();
        let Some(transport) = interpreter(&repo, shell) else {
            continue;
        };
        let body = "fact lines \"$(printf 'a\\nb')\"; capture 10 sh -c 'echo out; echo err >&2; exit 4'; \
                    capture 1 sleep 60; capture 0 sh -c 'exit 6'; exit 3";
        let step = |epoch| command("step", body).guarded(repo.guard("alpha", epoch));
        let output = shell_with(transport.clone(), &step(5))
            .await
            .unwrap_or_else(|e| panic!("{shell}: {e}"));
        assert_eq!(
            (output.exit, output.refusal()),
            (3, None),
            "{shell}: {output:?}"
        );
        assert_eq!(output.fact("lines"), Some("a b"), "{shell}");
        assert_eq!(
            (output.fact("rc"), output.fact("timed_out")),
            (Some("6"), Some("1")),
            "{shell}"
        );
        assert_eq!(
            (output.stdout.tail.as_slice(), output.stderr.tail.as_slice()),
            (&b"out\n"[..], &b"err\n"[..]),
            "{shell}"
        );
        let output = shell_with(transport, &step(4)).await.unwrap();
        assert_eq!(
            (output.exit, output.fact("fence_epoch")),
            (76, Some("5")),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn capture_keeps_streams_code_and_facts() {
    let output = shell(&command(
        "run",
        "capture 10 sh -c 'echo out; echo err >&2; exit 4'; echo \"then $?\"",
    ))
    .await
    .unwrap();
    assert_eq!(output.stdout.tail, b"out\nthen 4\n");
    assert_eq!(output.stderr.tail, b"err\n");
    assert_eq!(
        (output.fact("rc"), output.fact("timed_out")),
        (Some("4"), None)
    );
}

#[tokio::test]
async fn capture_counts_what_it_leaves_out() {
    let output = shell(&command(
        "run",
        "capture 10 sh -c 'head -c 300000 /dev/zero; head -c 70000 /dev/zero >&2'",
    ))
    .await
    .unwrap();
    assert_eq!(
        (output.stdout.tail.len(), output.stdout.total),
        (64 * 1024, 300_000)
    );
    assert_eq!(
        (output.stderr.tail.len(), output.stderr.total),
        (64 * 1024, 70_000)
    );
}

#[tokio::test]
async fn capture_ends_a_command_and_its_group_at_the_limit() {
    let repo = Repo::new();
    let file = repo.beside("pid");
    let run = command(
        "run",
        "capture 1 sh -c 'sleep 300 & echo $! >\"$1\"; echo begun; wait' sh \"$file\"",
    )
    .param("file", file.to_str().unwrap());
    let output = shell(&run).await.unwrap();
    assert_eq!(
        (output.fact("rc"), output.fact("timed_out")),
        (Some("124"), Some("1"))
    );
    assert_eq!(output.stdout.tail, b"begun\n");
    let pid = text(&file).trim().to_owned();
    until("the child is gone", || !alive(&pid));
}

#[tokio::test]
async fn capture_tells_a_kill_from_a_timeout() {
    let output = shell(&command("run", "capture 60 sh -c 'kill -9 $$'"))
        .await
        .unwrap();
    assert_eq!(
        (output.fact("rc"), output.fact("timed_out")),
        (Some("137"), None)
    );
    let output = shell(&command("run", "capture 60 sh -c 'exit 124'"))
        .await
        .unwrap();
    assert_eq!(
        (output.fact("rc"), output.fact("timed_out")),
        (Some("124"), None)
    );
}

#[tokio::test]
async fn capture_kills_what_the_group_leaves_behind_and_spares_it_without_limit() {
    let repo = Repo::new();
    for (seconds, spared) in [("10", false), ("0", true)] {
        let file = repo.beside(seconds);
        let run = command(
            "run",
            "capture \"$seconds\" sh -c 'sleep 300 >/dev/null 2>&1 & echo $! >\"$1\"' sh \"$file\"",
        )
        .param("seconds", seconds)
        .param("file", file.to_str().unwrap());
        let output = shell(&run).await.unwrap();
        assert_eq!(output.fact("rc"), Some("0"));
        let pid = text(&file).trim().to_owned();
        if spared {
            assert!(alive(&pid));
            assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        } else {
            until("the child is gone", || !alive(&pid));
        }
    }
}

#[tokio::test]
async fn capture_reports_a_missing_command() {
    let output = shell(&command("run", "capture 10 no-such-command-here"))
        .await
        .unwrap();
    // 126 where the search path names folders that may not be looked into.
    assert!(
        matches!(output.fact("rc"), Some("126" | "127")),
        "{output:?}"
    );
    assert!(
        output.stderr.text().contains("no-such-command-here"),
        "{}",
        output.stderr.text()
    );
}

#[tokio::test]
async fn capture_works_where_no_scratch_folder_can_be_made() {
    // An empty PATH entry first: `mktemp` fails as it does on a full disk.
    let repo = Repo::new();
    let stand_ins = repo.beside("bin");
    std::fs::create_dir(&stand_ins).unwrap();
    let mktemp = stand_ins.join("mktemp");
    std::fs::write(&mktemp, "#!/bin/sh\nexit 1\n").unwrap();
    assert!(
        Command::new("chmod")
            .arg("755")
            .arg(&mktemp)
            .status()
            .unwrap()
            .success()
    );
    let path = format!("{}:{}", stand_ins.display(), std::env::var("PATH").unwrap());
    let transport = LocalShellTransport::new().env("PATH", path);
    let output = shell_with(
        transport,
        &command("run", "capture 10 sh -c 'echo lost; exit 5'"),
    )
    .await
    .unwrap();
    assert_eq!(
        (output.fact("rc"), output.stdout.tail.as_slice()),
        (Some("5"), &b""[..])
    );
}

/// Is a process with this number there, and not a zombie?
pub(crate) fn alive(pid: &str) -> bool {
    let stat = text(std::path::Path::new(&format!("/proc/{pid}/stat")));
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}
