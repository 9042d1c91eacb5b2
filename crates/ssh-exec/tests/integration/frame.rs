//! The frame, through real shells.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ssh_exec::{Frame, LocalShellTransport, SessionError};

use crate::support::{Repo, command, shell, shell_with, text, until};

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

/// Feeds exactly these bytes to a shell.
fn feed(bytes: &[u8]) {
    let mut shell = Command::new("/bin/sh")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A shell that gave up on the first line does not read the rest.
    let _ = shell.stdin.take().unwrap().write_all(bytes);
    shell.wait().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever part of the script arrives, it runs whole or not at all.
    #[test]
    fn a_part_of_the_script_never_runs(begin in 0_usize..2000, end in 0_usize..2000, from_the_end in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let body = ": >\"$folder/1\" # it's a \"comment\"\n: >\"$folder/2\"\nfor i in 3 4; do : >\"$folder/$i\"; done\n";
        let bare = command("probe", body).param("folder", folder.path().to_str().unwrap());
        let text = Frame::render(&bare).unwrap().stdin();
        let end = text.len() - end.min(text.len() - 1);
        let begin = if from_the_end { end.saturating_sub(begin + 1) } else { begin.min(end) };
        feed(&text[begin..end]);
        let made = std::fs::read_dir(folder.path()).unwrap().count();
        let whole = begin == 0 && end >= text.len() - 1;
        prop_assert_eq!(made, if whole { 4 } else { 0 });
    }
}

#[test]
fn every_cut_near_the_body_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = || std::fs::read_dir(folder.path()).unwrap().count();
    let bare = command(
        "probe",
        ": >\"$folder/1\"; : >\"$folder/\"'2' # 'x\n: >\"$folder/3\"",
    )
    .param("folder", folder.path().to_str().unwrap());
    let text = Frame::render(&bare).unwrap().stdin();
    for eaten in (text.len() - 420)..text.len() {
        feed(&text[eaten..]);
        assert_eq!(made(), 0, "{eaten} bytes eaten");
    }
    feed(&text);
    assert_eq!(made(), 3, "the whole runs");
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
    assert_eq!(output.fact("rc"), Some("127"));
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
