//! Commands on a real server.

use std::process::Command;
use std::time::{Duration, Instant};

use fleet_testkit::{is_left_out, until};
use ssh_exec::{
    HostGuard, RemoteCommand, RusshSettings, RusshTransport, Session, SessionError, Transport,
};

use crate::frame::alive;
use crate::host::{Host, run_on};
use crate::support::{Repo, command, text};

fn kill(signal: &str, process: &str) {
    assert!(
        Command::new("kill")
            .args([signal, "--", process.trim()])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn many_commands_share_one_connection() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let mut session = host.connect().await;
    for code in [0, 1, 127, 255] {
        let probe = command(
            "probe",
            "echo out; echo err >&2; fact code \"$code\"; exit \"$code\"",
        );
        let output = session
            .run(&probe.param("code", code.to_string()))
            .await
            .unwrap();
        assert_eq!(
            (output.exit, output.fact("code")),
            (code, Some(code.to_string().as_str()))
        );
        assert_eq!(
            (output.stdout.tail.as_slice(), output.stderr.tail.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }
    session.close().await;
    assert_eq!((host.sshd.connections(), host.sshd.sessions()), (1, 4));
    until("sshd sees the goodbye", || {
        host.sshd.log().contains("Received disconnect from")
    });
}

#[tokio::test]
async fn values_travel_unchanged_and_in_no_process_list() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let value = "it's \"$HOME\" `id`\n\\ #! \u{1f980} -n secret-value\n";
    let probe = command(
        "probe",
        "printf '%s' \"$value\"; cat /proc/$PPID/cmdline /proc/$$/cmdline /proc/$$/environ >&2",
    );
    let output = run_on(&host, &probe.param("value", value)).await.unwrap();
    assert_eq!(output.stdout.tail, value.as_bytes());
    assert!(!output.stderr.text().contains("secret-value"));
}

#[tokio::test]
async fn one_session_a_connection_is_enough() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| options.line("MaxSessions 1"));
    let mut session = host.connect().await;
    for round in 0..30 {
        let output = session
            .run(&command("probe", "exit 3"))
            .await
            .unwrap_or_else(|error| panic!("{round}: {error}"));
        assert_eq!(output.exit, 3);
    }
    assert_eq!(host.sshd.connections(), 1);
}

#[tokio::test]
async fn no_session_at_all_says_that_nothing_was_sent() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start_with(|options| options.line("MaxSessions 0"));
    let error = run_on(&host, &command("probe", "exit 3"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SessionError::Lost { cause, .. } if cause.contains("nothing was sent")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_flood_is_bounded_and_counted() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let flood = command(
        "flood",
        "head -c 50000000 /dev/zero; head -c 20000000 /dev/zero >&2; echo end",
    );
    let output = run_on(&host, &flood).await.unwrap();
    assert_eq!(
        (output.stdout.tail.len(), output.stdout.total),
        (64 * 1024, 50_000_004)
    );
    assert_eq!(
        (output.stderr.tail.len(), output.stderr.total),
        (64 * 1024, 20_000_000)
    );
    assert!(output.stdout.tail.ends_with(b"\0end\n"));
}

#[tokio::test]
async fn binary_output_arrives_as_it_is() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let output = run_on(
        &host,
        &command(
            "probe",
            "printf '\\000\\377\\033]0;owned\\007\\n\\n'; printf '\\200' >&2",
        ),
    )
    .await
    .unwrap();
    assert_eq!(output.stdout.tail, b"\0\xff\x1b]0;owned\x07\n\n");
    assert_eq!(output.stderr.tail, b"\x80");
    assert_eq!(output.stdout.text(), "\\x00\u{fffd}\\x1b]0;owned\\x07\n\n");
}

#[tokio::test]
async fn start_up_files_that_talk_are_not_the_commands_output() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    std::fs::write(
        host.sshd.home().join(".bashrc"),
        "echo welcome\necho oops >&2\nprintf 'no newline'\n",
    )
    .unwrap();
    let output = run_on(&host, &command("probe", "echo out; echo err >&2"))
        .await
        .unwrap();
    if login_shell_is_bash() {
        until("the start-up file was read at all", || {
            host.sshd.sessions() == 1
        });
    }
    assert_eq!(
        (output.stdout.tail.as_slice(), output.stderr.tail.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

fn login_shell_is_bash() -> bool {
    let user = fleet_testkit::run("id", &["-un"]);
    fleet_testkit::run("getent", &["passwd", user.trim()])
        .trim()
        .ends_with("/bash")
}

/// Runs one command and expects that the shell did not run it.
#[track_caller]
fn assert_broken(result: Result<ssh_exec::CommandOutput, SessionError>, words: &str) {
    let error = result.unwrap_err();
    assert!(
        matches!(&error, SessionError::ShellBroken { cause, .. } if cause == words),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_runs_instead_of_our_script_is_no_success() {
    if is_left_out("sshd") {
        return;
    }
    let probe = command("probe", "exit 0");
    let forced = Host::start_for("command=\"echo FORCED; echo no >&2; exit 7\" ", |options| {
        options
    });
    assert_broken(
        run_on(&forced, &probe).await,
        "exit code 7, and instead of its output came: FORCED / no",
    );
    let silent = Host::start_for("command=\"true\" ", |options| options);
    assert_broken(
        run_on(&silent, &probe).await,
        "exit code 0, and instead of its output came: nothing",
    );
    let refused = Host::start_with(|options| options.login_shell("/usr/sbin/nologin"));
    let error = run_on(&refused, &probe).await.unwrap_err();
    assert!(
        matches!(&error, SessionError::ShellBroken { cause, .. } if cause.starts_with("exit code 1")),
        "{error:?}"
    );
    let killed = Host::start_for("command=\"kill -9 $$\" ", |options| options);
    assert_broken(
        run_on(&killed, &probe).await,
        "signal KILL, and instead of its output came: nothing",
    );
}

#[tokio::test]
async fn a_start_up_file_that_ends_the_shell_is_no_success() {
    if is_left_out("sshd") {
        return;
    }
    // What a login shell with `exit 0` in its start-up file does.
    let host = Host::start();
    let shell = host.file("shell");
    std::fs::write(
        &shell,
        "#!/bin/bash\n. \"$HOME/.bashrc\"\nexec /bin/bash \"$@\"\n",
    )
    .unwrap();
    fleet_testkit::run("chmod", &["755", shell.to_str().unwrap()]);
    let host = Host::start_with(|options| options.login_shell(&shell));
    for (file, words) in [
        (
            "exit 0\n",
            "exit code 0, and instead of its output came: nothing",
        ),
        (
            "echo hello; exit 3\n",
            "exit code 3, and instead of its output came: hello",
        ),
    ] {
        std::fs::write(host.sshd.home().join(".bashrc"), file).unwrap();
        assert_broken(run_on(&host, &command("probe", "exit 0")).await, words);
    }
    // One that reads what is meant for us must not make the rest run by itself.
    let trace = host.file("trace");
    let probe = command("probe", ": >\"$trace\"").param("trace", trace.to_str().unwrap());
    for file in [
        "read -r line\n",
        "head -c 100 >/dev/null\n",
        "head -c 5000 >/dev/null\n",
    ] {
        std::fs::write(host.sshd.home().join(".bashrc"), file).unwrap();
        let error = run_on(&host, &probe).await.unwrap_err();
        assert!(
            matches!(error, SessionError::ShellBroken { .. }),
            "{file}: {error:?}"
        );
        assert!(!trace.exists(), "{file}");
    }
    std::fs::write(host.sshd.home().join(".bashrc"), "").unwrap();
    assert_eq!(run_on(&host, &probe).await.unwrap().exit, 0);
}

#[tokio::test]
async fn other_login_shells_hand_over() {
    if is_left_out("sshd") {
        return;
    }
    for shell in ["/bin/dash", "/usr/bin/fish", "/bin/csh", "/usr/bin/zsh"] {
        if !std::path::Path::new(shell).exists() {
            continue;
        }
        let host = Host::start_with(|options| options.login_shell(shell));
        let probe =
            command("probe", "printf '%s' \"$value\"; exit 3").param("value", "it's $HOME!\n");
        let output = run_on(&host, &probe)
            .await
            .unwrap_or_else(|error| panic!("{shell}: {error}"));
        assert_eq!(
            (output.exit, output.stdout.tail.as_slice()),
            (3, &b"it's $HOME!\n"[..]),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_child_that_holds_the_output_does_not_delay() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let file = host.file("pid");
    let mut session = host.connect().await;
    let begun = Instant::now();
    let leave = command("leave", "sleep 120 & echo $! >\"$file\"; echo done")
        .param("file", file.to_str().unwrap());
    assert_eq!(session.run(&leave).await.unwrap().stdout.tail, b"done\n");
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    kill("-KILL", &text(&file));
}

/// Starts a command that writes the process ids of its shell and of its sshd, and then waits for long.
async fn hanging(
    host: &Host,
    deadline: Duration,
) -> (
    tokio::task::JoinHandle<(Box<dyn Session>, SessionError)>,
    String,
    String,
) {
    let file = host.file("pids");
    let _ = std::fs::remove_file(&file);
    let hang = RemoteCommand::new(
        "hang",
        "echo \"$$ $PPID\" >\"$file.new\"; mv \"$file.new\" \"$file\"; sleep 300",
        deadline,
    )
    .param("file", file.to_str().unwrap());
    let mut session = host.connect().await;
    let running = tokio::spawn(async move {
        let error = session.run(&hang).await.unwrap_err();
        (session, error)
    });
    let pids = tokio::task::spawn_blocking(move || {
        until("the command runs", || file.exists());
        text(&file)
    })
    .await
    .unwrap();
    let (shell, sshd) = pids.trim().split_once(' ').unwrap();
    (running, shell.to_owned(), sshd.to_owned())
}

#[tokio::test]
async fn a_connection_that_breaks_is_lost_not_failed() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let (running, shell, sshd) = hanging(&host, Duration::from_secs(60)).await;
    kill("-KILL", &sshd);
    let (mut session, error) = running.await.unwrap();
    assert!(
        matches!(
            error,
            SessionError::Lost {
                command: "hang",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        alive(&shell),
        "the command goes on, so its outcome is unknown"
    );
    kill("-KILL", &format!("-{shell}"));
    // The session is of no use any more, and says so at once.
    let error = session.run(&command("probe", "exit 0")).await.unwrap_err();
    assert!(
        matches!(
            error,
            SessionError::Lost {
                command: "probe",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_shell_that_is_killed_is_lost_not_failed() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let (running, shell, _) = hanging(&host, Duration::from_secs(60)).await;
    kill("-KILL", &shell);
    let (mut session, error) = running.await.unwrap();
    assert_eq!(
        error,
        SessionError::Lost {
            command: "hang",
            cause: "its shell ended early with signal KILL".to_owned()
        }
    );
    // The connection is whole.
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3
    );
    kill("-KILL", &format!("-{shell}"));
}

#[tokio::test]
async fn the_deadline_ends_our_waiting_and_the_command() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let begun = Instant::now();
    let (running, shell, _) = hanging(&host, Duration::from_secs(2)).await;
    let (mut session, error) = running.await.unwrap();
    assert_eq!(
        error,
        SessionError::Deadline {
            command: "hang",
            seconds: 2
        }
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    // sshd does not pass signals on to sessions of the superuser, whose commands are ended by their own limit alone.
    let refused = || {
        host.sshd
            .log()
            .contains("session signalling requires privilege separation")
    };
    until("the command was asked to end", || {
        !alive(&shell) || refused()
    });
    if refused() {
        kill("-KILL", &format!("-{shell}"));
    }
    // The connection is still good for another command.
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3
    );
}

#[tokio::test]
async fn a_flooding_command_that_is_given_up_does_not_stall_its_connection() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let mut session = host.connect().await;
    let flood = RemoteCommand::new(
        "flood",
        "trap '' TERM; exec cat /dev/zero",
        Duration::from_secs(1),
    );
    assert!(matches!(
        session.run(&flood).await,
        Err(SessionError::Deadline { .. })
    ));
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3
    );
    // The same when the caller itself gives up.
    let endless = command("flood", "cat /dev/zero");
    assert!(
        tokio::time::timeout(Duration::from_millis(300), session.run(&endless))
            .await
            .is_err()
    );
    assert_eq!(
        session.run(&command("probe", "exit 3")).await.unwrap().exit,
        3
    );
}

#[tokio::test]
async fn a_frozen_host_is_noticed() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let settings = RusshSettings {
        keepalive_interval: Duration::from_secs(1),
        keepalive_max: 2,
        ..RusshSettings::default()
    };
    let mut session = RusshTransport::new(settings)
        .connect(&host.endpoint())
        .await
        .unwrap();
    let file = host.file("sshd");
    // The server's process for this connection stops; its shell then has nobody to talk to.
    let body = "echo \"$$ $PPID\" >\"$file\"; kill -STOP $PPID; sleep 100";
    let freeze = command("freeze", body).param("file", file.to_str().unwrap());
    let begun = Instant::now();
    let error = session.run(&freeze).await.unwrap_err();
    assert_eq!(
        error,
        SessionError::Lost {
            command: "freeze",
            cause: "the host stopped answering".to_owned()
        }
    );
    assert!(begun.elapsed() < Duration::from_secs(25));
    let pids = text(&file);
    let (shell, sshd) = pids.trim().split_once(' ').unwrap();
    kill("-KILL", sshd);
    kill("-KILL", &format!("-{shell}"));
}

#[tokio::test]
async fn a_captured_step_survives_the_loss_of_its_connection() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let repo = Repo::new();
    let (go, trace) = (host.file("go"), host.file("trace"));
    let body = "capture 60 sh -c 'echo $PPID >\"$0\"; while [ ! -e \"$1\" ]; do echo noise; sleep 0.05; done; echo ended >\"$0\"' \
                \"$trace\" \"$go\"";
    let guard = |epoch| HostGuard {
        wait_seconds: 30,
        ..repo.guard("alpha", epoch)
    };
    let step = command("step", body)
        .param("trace", trace.to_str().unwrap())
        .param("go", go.to_str().unwrap())
        .guarded(guard(1));
    let mut session = host.connect().await;
    let running = tokio::spawn(async move { session.run(&step).await });
    let seen = trace.clone();
    tokio::task::spawn_blocking(move || until("the step runs", || !text(&seen).is_empty()))
        .await
        .unwrap();
    running.abort();
    assert!(
        running.await.unwrap_err().is_cancelled(),
        "the session is dropped in the middle of the step"
    );

    // Somebody else reconnects and waits for the lock.
    let look = command("look", "cat \"$trace\"")
        .param("trace", trace.to_str().unwrap())
        .guarded(guard(2));
    let mut other = host.connect().await;
    let waiting = tokio::spawn(async move { other.run(&look).await });
    until("the first session's end is seen", || {
        host.sshd.log().contains("Connection closed by")
    });
    std::fs::write(&go, "").unwrap();
    let output = waiting.await.unwrap().unwrap();
    assert_eq!(
        output.stdout.tail, b"ended\n",
        "the step came to its end before anybody else got the lock"
    );
    // The one before is fenced off now.
    let late = command("late", "exit 0").guarded(guard(1));
    assert_eq!(run_on(&host, &late).await.unwrap().exit, 76);
}

#[tokio::test]
async fn fifty_sessions_at_once() {
    if is_left_out("sshd") {
        return;
    }
    let host = Host::start();
    let transport = std::sync::Arc::new(RusshTransport::default());
    let sessions: Vec<_> = (0..50)
        .map(|number: i32| {
            let (transport, endpoint) = (std::sync::Arc::clone(&transport), host.endpoint());
            tokio::spawn(async move {
                let mut session = transport.connect(&endpoint).await.unwrap();
                let probe =
                    command("probe", "exit \"$number\"").param("number", number.to_string());
                let exit = session.run(&probe).await.unwrap().exit;
                session.close().await;
                exit == number
            })
        })
        .collect();
    for session in sessions {
        assert!(session.await.unwrap());
    }
}
