//! The host's lock and fence, on real git and a real `flock`.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fleet_testkit::until;
use ssh_exec::{CommandOutput, GuardRefusal, HostGuard, LocalShellTransport, SessionError};

use crate::frame::alive;
use crate::support::{Repo, command, shell, shell_with, text};

/// Runs a body that leaves a trace, under this guard.
async fn run(repo: &Repo, guard: HostGuard) -> CommandOutput {
    let trace = repo.beside("trace");
    let _ = std::fs::remove_file(&trace);
    let output = shell(
        &command("step", ": >\"$trace\"; exit 3")
            .param("trace", trace.to_str().unwrap())
            .guarded(guard),
    )
    .await
    .unwrap();
    assert_eq!(
        trace.exists(),
        output.refusal().is_none(),
        "the body runs exactly when nothing refused it"
    );
    assert_eq!(output.exit == 3, output.refusal().is_none());
    output
}

fn fenced(store: &str, epoch: i64) -> Option<GuardRefusal> {
    Some(GuardRefusal::Fenced {
        store: store.to_owned(),
        epoch,
    })
}

#[tokio::test]
async fn the_record_follows_the_highest_epoch_of_one_store() {
    let repo = Repo::new();
    for (epoch, refusal, record) in [
        (5, None, "alpha 5\n"),
        (5, None, "alpha 5\n"),
        (4, fenced("alpha", 5), "alpha 5\n"),
        (0, fenced("alpha", 5), "alpha 5\n"),
        (6, None, "alpha 6\n"),
        (999_999_999_999_999_999, None, "alpha 999999999999999999\n"),
        (
            7,
            fenced("alpha", 999_999_999_999_999_999),
            "alpha 999999999999999999\n",
        ),
    ] {
        let output = run(&repo, repo.guard("alpha", epoch)).await;
        assert_eq!(output.refusal(), refusal, "epoch {epoch}");
        assert_eq!(text(&repo.kept("fence")), record);
    }
}

#[tokio::test]
async fn another_stores_record_is_replaced_only_by_naming_it() {
    let repo = Repo::new();
    run(&repo, repo.guard("alpha", 9)).await;
    let beta = |replace: Option<(&str, i64)>| HostGuard {
        replace: replace.map(|(store, epoch)| (store.to_owned(), epoch)),
        ..repo.guard("beta", 2)
    };
    for replace in [
        None,
        Some(("alpha", 8)),
        Some(("gamma", 9)),
        Some(("alpha", 10)),
    ] {
        assert_eq!(
            run(&repo, beta(replace)).await.refusal(),
            fenced("alpha", 9),
            "{replace:?}"
        );
    }
    assert_eq!(run(&repo, beta(Some(("alpha", 9)))).await.refusal(), None);
    assert_eq!(text(&repo.kept("fence")), "beta 2\n");
    // The same write again: its reply may have been lost.
    assert_eq!(run(&repo, beta(Some(("alpha", 9)))).await.refusal(), None);
    // Our own store's higher record, met after a restored backup.
    let own = HostGuard {
        replace: Some(("beta".to_owned(), 2)),
        ..repo.guard("beta", 1)
    };
    assert_eq!(run(&repo, own).await.refusal(), None);
    assert_eq!(text(&repo.kept("fence")), "beta 1\n");
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_kept_until_it_is_named() {
    let repo = Repo::new();
    run(&repo, repo.guard("alpha", 1)).await;
    for content in [
        "",
        "alpha",
        "alpha x\n",
        "alpha -1\n",
        "alpha 1 2\n",
        "alpha 1\nalpha 2\n",
        " 1\n",
        "al/pha 1\n",
        "alpha 007\n",
        "alpha 1000000000000000000\n",
        "\u{1b}[1m\n",
    ] {
        std::fs::write(repo.kept("fence"), content).unwrap();
        let Some(GuardRefusal::Fenced { store, epoch }) =
            run(&repo, repo.guard("alpha", 50)).await.refusal()
        else {
            panic!("{content:?} was accepted");
        };
        assert!(store.starts_with("unreadable:"), "{store}");
        assert_eq!(text(&repo.kept("fence")), content);
        let other = HostGuard {
            replace: Some((format!("{store}0"), epoch)),
            ..repo.guard("alpha", 50)
        };
        assert!(run(&repo, other).await.refusal().is_some());
        let named = HostGuard {
            replace: Some((store, epoch)),
            ..repo.guard("alpha", 50)
        };
        assert_eq!(run(&repo, named).await.refusal(), None, "{content:?}");
        assert_eq!(text(&repo.kept("fence")), "alpha 50\n");
    }
}

/// Someone else who holds the lock.
fn hold(repo: &Repo) -> Child {
    std::fs::create_dir_all(repo.kept("")).unwrap();
    let ready = repo.beside("ready");
    let holder = Command::new("flock")
        .arg(repo.kept("lock"))
        .args(["sh", "-c", ": >\"$0\"; exec sleep 300"])
        .arg(&ready)
        .process_group_of_its_own()
        .spawn()
        .unwrap();
    until("the lock is held", || ready.exists());
    holder
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

fn release(holder: &mut Child) {
    let group = format!("-{}", holder.id());
    assert!(
        Command::new("kill")
            .args(["-KILL", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    holder.wait().unwrap();
}

#[tokio::test]
async fn a_lock_that_stays_taken_is_busy() {
    let repo = Repo::new();
    let mut holder = hold(&repo);
    for wait_seconds in [0, 1] {
        let guard = HostGuard {
            wait_seconds,
            ..repo.guard("alpha", 1)
        };
        assert_eq!(run(&repo, guard).await.refusal(), Some(GuardRefusal::Busy));
    }
    assert!(
        !repo.kept("fence").exists(),
        "who has not the lock writes nothing"
    );
    release(&mut holder);
    assert_eq!(run(&repo, repo.guard("alpha", 1)).await.refusal(), None);
}

#[tokio::test]
async fn a_waiting_command_goes_on_when_the_lock_is_free() {
    let repo = Repo::new();
    let mut holder = hold(&repo);
    let (output, ()) = tokio::join!(run(&repo, repo.guard("alpha", 1)), async {
        // The waiter has its own open file of the lock as soon as it waits.
        let waiting = repo.kept("lock");
        let seen =
            tokio::task::spawn_blocking(move || until("someone waits", || waiters(&waiting) > 0));
        seen.await.unwrap();
        release(&mut holder);
    });
    assert_eq!(output.refusal(), None);
}

/// How many wait for the lock on this file, as the kernel tells.
fn waiters(lock: &std::path::Path) -> usize {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = std::fs::metadata(lock) else {
        return 0;
    };
    let inode = format!(":{} ", metadata.ino());
    text(std::path::Path::new("/proc/locks"))
        .lines()
        .filter(|l| l.contains("->") && l.contains(&inode))
        .count()
}

#[tokio::test]
async fn what_a_command_leaves_running_keeps_the_lock() {
    let repo = Repo::new();
    let file = repo.beside("pid");
    let leave = command(
        "step",
        "setsid sh -c 'echo $$ >\"$0\"; exec sleep 300' \"$file\" >/dev/null 2>&1 &",
    )
    .param("file", file.to_str().unwrap())
    .guarded(repo.guard("alpha", 1));
    assert_eq!(shell(&leave).await.unwrap().exit, 0);
    until("the child runs", || !text(&file).trim().is_empty());
    let guard = HostGuard {
        wait_seconds: 0,
        ..repo.guard("alpha", 2)
    };
    assert_eq!(
        run(&repo, guard.clone()).await.refusal(),
        Some(GuardRefusal::Busy)
    );
    assert!(
        Command::new("kill")
            .arg(text(&file).trim())
            .status()
            .unwrap()
            .success()
    );
    until("the lock is free", || {
        Command::new("flock")
            .arg("-n")
            .arg(repo.kept("lock"))
            .arg("true")
            .status()
            .unwrap()
            .success()
    });
    assert_eq!(run(&repo, guard).await.refusal(), None);
}

async fn assert_unusable(repo: &Repo, guard: HostGuard, said: &str) {
    let refusal = run(repo, guard).await.refusal();
    assert!(
        matches!(&refusal, Some(GuardRefusal::Unusable(why)) if why.contains(said)),
        "{said}: {refusal:?}"
    );
}

#[tokio::test]
async fn without_a_place_for_lock_and_record_nothing_runs() {
    let repo = Repo::new();
    let elsewhere = HostGuard {
        repo: repo.beside("none").to_str().unwrap().to_owned(),
        ..repo.guard("alpha", 1)
    };
    assert_unusable(&repo, elsewhere, "there is no git repository at").await;

    std::fs::write(repo.beside("app/.git/rollout"), "in the way").unwrap();
    assert_unusable(&repo, repo.guard("alpha", 1), "cannot be made").await;

    std::fs::remove_file(repo.beside("app/.git/rollout")).unwrap();
    std::fs::create_dir_all(repo.kept("lock")).unwrap();
    assert_unusable(&repo, repo.guard("alpha", 1), "cannot be opened").await;

    std::fs::remove_dir(repo.kept("lock")).unwrap();
    std::fs::create_dir(repo.kept("fence.new")).unwrap();
    assert_unusable(&repo, repo.guard("alpha", 1), "cannot be written").await;
}

#[tokio::test]
async fn a_read_only_repository_is_unusable() {
    let repo = Repo::new();
    let open = |mode: &str| {
        assert!(
            Command::new("chmod")
                .arg(mode)
                .arg(repo.beside("app/.git"))
                .status()
                .unwrap()
                .success()
        );
    };
    open("555");
    // The superuser writes wherever it likes, so the shell drops to another user where it can.
    let superuser = !Command::new("test")
        .arg("-O")
        .arg("/")
        .status()
        .is_ok_and(|status| !status.success());
    let transport = if superuser {
        let wrapper = repo.beside("as-nobody");
        std::fs::write(
            &wrapper,
            "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups /bin/sh \"$@\"\n",
        )
        .unwrap();
        assert!(
            Command::new("chmod")
                .arg("755")
                .arg(&wrapper)
                .arg(repo.beside(""))
                .status()
                .unwrap()
                .success()
        );
        LocalShellTransport::new().login_shell(wrapper)
    } else {
        LocalShellTransport::new()
    };
    let output = shell_with(
        transport,
        &command("step", "exit 3").guarded(repo.guard("alpha", 1)),
    )
    .await
    .unwrap();
    open("755");
    assert!(
        matches!(output.refusal(), Some(GuardRefusal::Unusable(_))),
        "{output:?}"
    );
    assert_eq!(output.exit, 77);
}

#[tokio::test]
async fn a_broken_repository_can_still_be_locked() {
    let repo = Repo::new();
    std::fs::remove_file(repo.beside("app/.git/HEAD")).unwrap();
    assert_eq!(run(&repo, repo.guard("alpha", 1)).await.refusal(), None);
    assert_eq!(text(&repo.kept("fence")), "alpha 1\n");
}

#[tokio::test]
async fn variables_that_name_another_repository_are_not_followed() {
    let (repo, other) = (Repo::new(), Repo::new());
    let transport = LocalShellTransport::new().env("GIT_DIR", other.beside("app/.git"));
    let step = command("step", "exit 3").guarded(repo.guard("alpha", 1));
    assert_eq!(shell_with(transport, &step).await.unwrap().exit, 3);
    assert!(repo.kept("fence").exists() && !other.kept("fence").exists());
}

#[tokio::test]
async fn stores_and_epochs_that_the_record_cannot_hold_are_not_sent() {
    let repo = Repo::new();
    for (store, epoch) in [
        ("", 1),
        ("two words", 1),
        ("a\nb", 1),
        ("alpha", -1),
        ("alpha", i64::MAX),
    ] {
        let result = shell(&command("step", "true").guarded(repo.guard(store, epoch))).await;
        assert!(
            matches!(result, Err(SessionError::Unsendable { .. })),
            "{store:?} {epoch}"
        );
    }
}

#[tokio::test]
async fn scratch_folders_are_private_and_do_not_stay() {
    let repo = Repo::new();
    std::fs::create_dir_all(repo.kept("run.abcdef")).unwrap();
    let body = "capture 10 sh -c 'stat -c %a \"$0\"/run.*' \"$kept\"";
    let step = command("step", body)
        .param("kept", repo.kept("").to_str().unwrap())
        .guarded(repo.guard("alpha", 1));
    assert_eq!(shell(&step).await.unwrap().stdout.text(), "700\n");
    let left: Vec<_> = std::fs::read_dir(repo.kept(""))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "lock" || name == "fence"),
        "{left:?}"
    );
}

/// Starts a guarded step in a shell whose connection we hold in our hands.
fn start(repo: &Repo, body: &'static str, guard: HostGuard) -> (Child, String) {
    let step = command("step", body)
        .param("trace", repo.beside("trace").to_str().unwrap())
        .param("go", repo.beside("go").to_str().unwrap())
        .guarded(guard);
    let frame = ssh_exec::Frame::render(&step).unwrap();
    let mut child = Command::new("/bin/sh")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group_of_its_own()
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &frame.stdin()).unwrap();
    let pid = child.id().to_string();
    (child, pid)
}

const LONG: &str = "capture \"${limit:-60}\" sh -c 'echo begun >\"$0\"; while [ ! -e \"$1\" ]; do echo noise; sleep 0.05; done; \
    echo ended >\"$0\"' \"$trace\" \"$go\"\necho after >>\"$trace\"";

#[test]
fn a_lost_connection_does_not_end_a_captured_command() {
    let repo = Repo::new();
    let (mut child, _) = start(&repo, LONG, repo.guard("alpha", 1));
    until("the command runs", || {
        text(&repo.beside("trace")) == "begun\n"
    });
    // The connection is gone: nobody reads any more.
    drop((child.stdout.take(), child.stderr.take()));
    let holder = Command::new("flock")
        .arg("-n")
        .arg(repo.kept("lock"))
        .arg("true")
        .status()
        .unwrap();
    assert!(!holder.success(), "the command still has the lock");
    std::fs::write(repo.beside("go"), "").unwrap();
    until("it came to its end", || {
        text(&repo.beside("trace")) == "ended\nafter\n"
    });
    until("the lock is free", || {
        Command::new("flock")
            .arg("-n")
            .arg(repo.kept("lock"))
            .arg("true")
            .status()
            .unwrap()
            .success()
    });
    child.wait().unwrap();
}

#[test]
fn a_termination_is_passed_on_and_the_rest_does_not_run() {
    let repo = Repo::new();
    let (mut child, pid) = start(&repo, LONG, repo.guard("alpha", 1));
    until("the command runs", || {
        text(&repo.beside("trace")) == "begun\n"
    });
    // What sshd does with a signal request: the whole process group of the session.
    assert!(
        Command::new("kill")
            .args(["-TERM", "--", &format!("-{pid}")])
            .status()
            .unwrap()
            .success()
    );
    child.wait().unwrap();
    until("the lock is free", || {
        Command::new("flock")
            .arg("-n")
            .arg(repo.kept("lock"))
            .arg("true")
            .status()
            .unwrap()
            .success()
    });
    assert_eq!(text(&repo.beside("trace")), "begun\n");
}

#[test]
fn a_termination_does_not_reach_a_command_without_limit() {
    let repo = Repo::new();
    let body = "capture 0 sh -c 'echo $$ >\"$0\"; while [ ! -e \"$1\" ]; do sleep 0.05; done; echo ended >\"$0\"' \"$trace\" \"$go\"";
    let (mut child, pid) = start(&repo, body, repo.guard("alpha", 1));
    until("the command runs", || {
        !text(&repo.beside("trace")).trim().is_empty()
    });
    let inner = text(&repo.beside("trace")).trim().to_owned();
    assert!(
        Command::new("kill")
            .args(["-TERM", "--", &format!("-{pid}")])
            .status()
            .unwrap()
            .success()
    );
    child.wait().unwrap();
    assert!(alive(&inner));
    let holder = Command::new("flock")
        .arg("-n")
        .arg(repo.kept("lock"))
        .arg("true")
        .status()
        .unwrap();
    assert!(!holder.success(), "it still has the lock");
    std::fs::write(repo.beside("go"), "").unwrap();
    until("it came to its end", || {
        text(&repo.beside("trace")) == "ended\n"
    });
}

#[test]
fn who_lost_its_connection_while_waiting_changes_nothing() {
    let repo = Repo::new();
    let mut holder = hold(&repo);
    let (mut child, _) = start(&repo, "echo ran >\"$trace\"", repo.guard("alpha", 1));
    until("it waits", || waiters(&repo.kept("lock")) > 0);
    drop((child.stdout.take(), child.stderr.take()));
    release(&mut holder);
    child.wait().unwrap();
    assert_eq!(text(&repo.beside("trace")), "");
    assert!(!repo.kept("fence").exists());
}

#[tokio::test]
async fn steps_of_several_speakers_never_overlap() {
    let repo = Repo::new();
    let body = "mkdir \"$trace\" || exit 9\nsleep 0.05\nrmdir \"$trace\"";
    let steps: Vec<_> = (0..8)
        .map(|_| {
            let step = command("step", body)
                .param("trace", repo.beside("inside").to_str().unwrap())
                .guarded(repo.guard("alpha", 1));
            tokio::spawn(async move { shell(&step).await.unwrap().exit })
        })
        .collect();
    for step in steps {
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(30), step)
                .await
                .unwrap()
                .unwrap(),
            0
        );
    }
}

#[tokio::test]
async fn one_that_still_waits_is_refused_once_a_later_one_of_a_higher_epoch_was_first() {
    let repo = Repo::new();
    run(&repo, repo.guard("alpha", 1)).await;
    let mut holder = hold(&repo);
    let trace = repo.beside("orphan");
    let orphan = command("step", ": >\"$trace\"")
        .param("trace", trace.to_str().unwrap())
        .guarded(repo.guard("alpha", 1));
    let (output, ()) = tokio::join!(shell(&orphan), async {
        let waiting = repo.kept("lock");
        let seen = tokio::task::spawn_blocking(move || {
            until("the orphan waits", || waiters(&waiting) > 0);
        });
        seen.await.unwrap();
        // The one sent after it was first at the lock: this is what it leaves.
        std::fs::write(repo.kept("fence"), "alpha 2\n").unwrap();
        release(&mut holder);
    });
    assert_eq!(output.unwrap().refusal(), fenced("alpha", 2));
    assert!(!trace.exists(), "it changed nothing");
    assert_eq!(text(&repo.kept("fence")), "alpha 2\n");
}
