//! A host made of a temporary folder: real git, a real shell, stand-ins for what needs root or the network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet_types::{AppSettings, CommitHash, Outcome, Progress, StepTimeouts};
use ssh_exec::LocalShellTransport;
use tempfile::TempDir;
use update_engine::testing::MemoryJournal;
use update_engine::{AttemptSpec, Goal, GuardSpec, run_attempt};

use crate::support::endpoint;

/// One unit. What it does follows from `app.conf` in the repository at the time of its start.
const SYSTEMCTL: &str = r#"
state=$ROLLOUT_TEST_STATE
echo "begin systemctl $*" >>"$state/log"
active=inactive restarts=0 lives=0 pid=0 mode=ok result=success load=loaded
[ -e "$state/unit" ] && . "$state/unit"
[ -e "$state/load" ] && load=$(cat "$state/load")
save() {
  printf 'active=%s restarts=%s lives=%s pid=%s mode=%s result=%s\n' "$active" "$restarts" "$lives" "$pid" "$mode" "$result" |
    tr ' ' '\n' >"$state/unit"
}
code=0
case $1 in
  is-active)
    if [ "$mode" = dies ]; then active=failed result=exit-code pid=0; save; fi
    echo "$active"
    [ "$active" = active ] || code=3
    ;;
  show)
    if [ "$mode" = loop ]; then restarts=$((restarts + 1)) pid=$((pid + 1)); save; fi
    sub=dead
    [ "$active" = active ] && sub=running
    printf '%s\n' Type=simple "MainPID=$pid" "NRestarts=$restarts" "Result=$result" "LoadState=$load" "ActiveState=$active" \
      "SubState=$sub" "TimeoutStartUSec=1min 30s" "TimeoutStopUSec=1min 30s" StartLimitIntervalUSec=2s
    [ -e "$state/old-systemd" ] || printf 'InvocationID=%s\n' "$lives"
    ;;
  restart)
    if [ -e "$state/start-limit" ]; then
      result=start-limit-hit active=failed; save
      echo "Job for $2 failed. See systemctl status." >&2
      echo "end systemctl $1" >>"$state/log"
      exit 1
    fi
    lives=$((lives + 1)) restarts=0 pid=$((1000 + lives * 10)) result=success
    mode=$(sed -n 's/^service=//p' "$state/app/app.conf")
    active=active
    if [ "$(cat "$state/app/node_modules/installed" 2>/dev/null)" != "$(cat "$state/app/release")" ]; then mode=fail; fi
    case $mode in
      fail) active=failed pid=0 result=exit-code; echo "Job for $2 failed because the control process exited." >&2; code=1 ;;
    esac
    cat "$state/app/release" >"$state/running"
    save
    ;;
  reset-failed) rm -f "$state/start-limit" ;;
  status) echo "* $4 - the app: $active" ;;
esac
echo "end systemctl $1" >>"$state/log"
exit $code
"#;

const BUN: &str = r#"
state=$ROLLOUT_TEST_STATE
echo "begin bun $*" >>"$state/log"
code=0
case $(sed -n 's/^install=//p' app.conf) in
  fail) echo 'error: GET https://registry.invalid/left-pad - 503' >&2; code=1 ;;
  touch) echo '# resolved' >>bun.lock ;;
  slow) sleep 1.5 ;;
  hang) sleep 600 ;;
  killed) kill -9 $$ ;;
  255) code=255 ;;
esac
mkdir -p node_modules
[ $code != 0 ] || cat release >node_modules/installed
echo "end bun $code" >>"$state/log"
exit $code
"#;

const SUDO: &str = r#"
state=$ROLLOUT_TEST_STATE
echo "begin sudo $*" >>"$state/log"
echo "end sudo" >>"$state/log"
[ ! -e "$state/no-sudo" ] || { echo 'sudo: a password is required' >&2; exit 1; }
[ "$1" = -n ] && shift
[ "$1" = -l ] && exit 0
[ ! -e "$state/idle-sudo" ] || exit 0
exec "$@"
"#;

/// The real git, behind whatever a test wants to happen first.
const GIT: &str = r#"
sub=
for word; do
  case $word in -c | -C | -* | *=*) ;; *) sub=$word; break ;; esac
done
if [ -e "$ROLLOUT_TEST_STATE/git.sh" ]; then . "$ROLLOUT_TEST_STATE/git.sh"; fi
"#;

#[derive(Debug)]
pub(crate) struct Place {
    root: TempDir,
    login_shell: Option<PathBuf>,
}

impl Place {
    /// A host on the first of these commits, which are on the origin's `main`.
    pub(crate) fn new() -> Self {
        let place = Self {
            root: TempDir::new().unwrap(),
            login_shell: None,
        };
        for folder in ["bin", "home", "state"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let real_git = find("git");
        let git = format!("{GIT}\nexec {} \"$@\"\n", real_git.display());
        let id = "echo 1000\n".to_owned();
        let journalctl = "echo 'app[1]: cannot find module ./routes'\n".to_owned();
        let tools = [
            ("systemctl", SYSTEMCTL.to_owned()),
            ("bun", BUN.to_owned()),
            ("sudo", SUDO.to_owned()),
        ];
        for (name, text) in
            tools
                .into_iter()
                .chain([("git", git), ("id", id), ("journalctl", journalctl)])
        {
            place.write_tool(name, &text);
        }
        place.git_at("", &["init", "--quiet", "-b", "main", "origin"]);
        place.release("one", "service=ok\n");
        place.git_at("", &["clone", "--quiet", "origin", "state/app"]);
        fs::create_dir(place.path("state/app/node_modules")).unwrap();
        place.write("state/app/node_modules/installed", "one");
        place.write("state/app/.git/info/exclude", "node_modules\n");
        place.write("state/running", "one");
        place.write(
            "state/unit",
            "active=active\nrestarts=0\nlives=1\npid=1010\nmode=ok\nresult=success\n",
        );
        place
    }

    pub(crate) fn write_tool(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Hands the exec request to this shell.
    pub(crate) fn with_login_shell(mut self, text: &str) -> Self {
        self.write_tool("login-shell", text);
        self.login_shell = Some(self.path("bin/login-shell"));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Runs git in a folder, past the stand-in, and returns what it printed.
    pub(crate) fn git_at(&self, folder: &str, arguments: &[&str]) -> String {
        let output = self.git_result(folder, arguments);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn git_result(&self, folder: &str, arguments: &[&str]) -> std::process::Output {
        Command::new(find("git"))
            .args([
                "-c",
                "user.name=dev",
                "-c",
                "user.email=dev@example.invalid",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(arguments)
            .current_dir(self.path(folder))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap()
    }

    /// Runs git in the host's clone.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_at("state/app", arguments)
    }

    /// Commits a release on the origin.
    pub(crate) fn release(&self, name: &str, conf: &str) -> CommitHash {
        self.write("origin/release", name);
        self.write("origin/app.conf", conf);
        self.write("origin/bun.lock", &format!("lock of {name}\n"));
        self.write(&format!("origin/only-in-{name}"), name);
        for entry in fs::read_dir(self.path("origin")).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            if file.starts_with("only-in-") && file != format!("only-in-{name}") {
                fs::remove_file(self.path("origin").join(file)).unwrap();
            }
        }
        self.commit_origin(name)
    }

    /// Commits whatever lies in the origin's folder.
    pub(crate) fn commit_origin(&self, message: &str) -> CommitHash {
        self.git_at("origin", &["add", "--all"]);
        self.git_at(
            "origin",
            &["commit", "--quiet", "--allow-empty", "-m", message],
        );
        self.git_at("origin", &["rev-parse", "HEAD"])
            .parse()
            .unwrap()
    }

    pub(crate) fn head(&self) -> CommitHash {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// The branch HEAD is attached to; empty when detached.
    pub(crate) fn branch(&self) -> String {
        let output = self.git_result("state/app", &["symbolic-ref", "-q", "--short", "HEAD"]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Everything that git sees beyond HEAD: changes and untracked files.
    pub(crate) fn status(&self) -> String {
        self.git(&["status", "--porcelain", "--untracked-files=all"])
    }

    /// What the host's stand-ins were asked, without the looks.
    pub(crate) fn acts(&self) -> Vec<String> {
        let acts = [
            "begin bun ",
            "begin systemctl restart",
            "begin systemctl reset-failed",
        ];
        let log = self.read("state/log");
        let lines = log
            .lines()
            .filter(|line| acts.iter().any(|act| line.starts_with(act)));
        lines
            .map(|line| line.trim_start_matches("begin ").to_owned())
            .collect()
    }

    pub(crate) fn transport(&self) -> LocalShellTransport {
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let transport = LocalShellTransport::new()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("ROLLOUT_TEST_STATE", self.path("state"));
        match &self.login_shell {
            Some(shell) => transport.login_shell(shell),
            None => transport,
        }
    }

    pub(crate) fn app(&self) -> AppSettings {
        AppSettings {
            repo: self.path("state/app").to_str().unwrap().parse().unwrap(),
            remote: "origin".parse().unwrap(),
            branch: "main".parse().unwrap(),
            install: "bun install".to_owned(),
            service: "app.service".parse().unwrap(),
            verify: None,
            generated: vec!["bun.lock".to_owned(), "bun.lockb".to_owned()],
            min_free_mib: 1,
            timeouts: StepTimeouts {
                lock: 10,
                reconnect: 5,
                ..StepTimeouts::default()
            },
        }
    }

    pub(crate) fn spec(&self, target: &CommitHash) -> AttemptSpec {
        AttemptSpec {
            endpoint: endpoint(),
            app: self.app(),
            goal: Goal::Update {
                target: target.clone(),
                branch: None,
            },
            settle: Duration::ZERO,
            guard: GuardSpec {
                store: "store-1".to_owned(),
                epoch: 1,
            },
            progress: Progress::default(),
            left_behind: false,
        }
    }

    /// An update to where this branch is said to point.
    pub(crate) fn spec_on(&self, branch: &str, target: &CommitHash) -> AttemptSpec {
        let mut spec = self.spec(target);
        spec.goal = Goal::Update {
            target: target.clone(),
            branch: Some(branch.parse().unwrap()),
        };
        spec
    }

    pub(crate) async fn update(&self, target: &CommitHash) -> Outcome {
        self.attempt(self.spec(target)).await
    }

    pub(crate) async fn attempt(&self, spec: AttemptSpec) -> Outcome {
        let mut journal = MemoryJournal::with_progress(spec.progress.clone());
        run_attempt(spec, &self.transport(), &mut journal)
            .await
            .unwrap()
    }

    /// The host is wholly on this release: HEAD, tree, dependencies and service.
    #[track_caller]
    pub(crate) fn assert_on(&self, version: &CommitHash, release: &str) {
        assert_eq!(&self.head(), version);
        assert_eq!(
            self.status(),
            "",
            "changes or files that do not belong there"
        );
        for file in [
            "state/app/release",
            "state/app/node_modules/installed",
            "state/running",
        ] {
            assert_eq!(self.read(file), release, "{file}");
        }
        assert!(self.read("state/unit").contains("active=active"));
    }
}

fn find(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|path| is_tool(path));
    found.unwrap_or_else(|| panic!("{tool} is needed"))
}

fn is_tool(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file())
}
