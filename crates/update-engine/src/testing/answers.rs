//! What a simulated host does with each command of the engine, and what it answers.

use fleet_types::CommitHash;
use ssh_exec::{CommandOutput, RemoteCommand};

use super::host::{SimHost, SimOrigin, SimRelease};

/// How far a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// Fails before anything was changed.
    Nothing,
    /// Stopped in the middle.
    Half,
}

/// Exit code and facts.
pub(super) struct Answer(CommandOutput);

impl Answer {
    fn exit(code: i32) -> Self {
        Self(CommandOutput {
            exit: code,
            ..CommandOutput::default()
        })
    }

    fn failed(what: &str) -> Self {
        Self::exit(1).fact("failed", what)
    }

    pub(super) fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.0.facts.insert(name.to_owned(), value.to_string());
        self
    }

    fn said(mut self, line: &str) -> Self {
        self.0.stderr.tail = format!("{line}\n").into_bytes();
        self.0.stderr.total = self.0.stderr.tail.len() as u64;
        self
    }

    pub(super) fn output(self) -> CommandOutput {
        self.0
    }
}

/// Does the command and answers.
pub(super) fn answer(
    host: &mut SimHost,
    origin: &SimOrigin,
    command: &RemoteCommand,
    extent: Extent,
) -> Answer {
    match command.name() {
        "inspect" => host.inspect(origin, command, extent),
        "pull" => host.pull(origin, command, extent),
        "install" | "rollback_install" => host.install(origin, extent),
        "restart" | "rollback_restart" => host.restart(origin, extent),
        "verify" | "rollback_verify" => host.verify(origin, command, extent),
        "rollback_checkout" => host.checkout(command, extent),
        "resolve" => host.resolve(origin, command, extent),
        "health_probe" => host.with_health(Answer::exit(0)),
        "health_restart" => host.start_again(origin, extent),
        other => Answer::exit(127).said(&format!("error: a simulated host does not know {other}")),
    }
}

fn commit(command: &RemoteCommand, name: &str) -> Option<CommitHash> {
    command.get(name)?.parse().ok()
}

impl SimHost {
    fn with_tree(&self, answer: Answer) -> Answer {
        let mixed = u64::from(self.tree.as_ref() != Some(&self.head));
        let mut answer = answer
            .fact("head", &self.head)
            .fact("branch", self.branch.as_deref().unwrap_or_default())
            .fact("dirty", mixed + self.edited.len() as u64);
        let mixed = (mixed == 1).then_some("app.js");
        for (number, file) in mixed
            .into_iter()
            .chain(self.edited.iter().map(String::as_str))
            .enumerate()
        {
            answer = answer.fact(&format!("dirty_{}", number + 1), file);
        }
        answer
    }

    fn with_unit(&self, answer: Answer) -> Answer {
        self.with_unit_as("unit_", answer)
            .fact("unit_Type", "simple")
            .fact("unit_TimeoutStartUSec", "1min 30s")
            .fact("unit_TimeoutStopUSec", "1min 30s")
            .fact("unit_StartLimitIntervalUSec", "10s")
    }

    /// What the health checker asks for.
    fn with_health(&self, answer: Answer) -> Answer {
        self.with_unit_as("", answer)
    }

    fn with_unit_as(&self, prefix: &str, answer: Answer) -> Answer {
        let running = self.running.is_some();
        let (active, sub) = match running {
            true => ("active", "running"),
            false => ("failed", "failed"),
        };
        let load = match self.unit_loaded {
            true => "loaded",
            false => "not-found",
        };
        let process = match running {
            true => 1000 + self.lives + self.restarts,
            false => 0,
        };
        let life = format!("{:016x}{:016x}", self.lives, self.restarts);
        let named = |name: &str| format!("{prefix}{name}");
        answer
            .fact(&named("LoadState"), load)
            .fact(&named("ActiveState"), active)
            .fact(&named("SubState"), sub)
            .fact(&named("MainPID"), process)
            .fact(&named("NRestarts"), self.restarts)
            .fact(&named("InvocationID"), life)
            .fact("boot", self.boots)
    }

    /// The health checker's restart, which leaves a service alone that is active by then.
    fn start_again(&mut self, origin: &SimOrigin, extent: Extent) -> Answer {
        if self.running.is_some() {
            return self.with_health(Answer::exit(0).fact("left_alone", 1));
        }
        let exit = self.restart(origin, extent).0.exit;
        self.with_health(Answer::exit(exit))
    }

    fn inspect(&self, origin: &SimOrigin, command: &RemoteCommand, extent: Extent) -> Answer {
        if extent != Extent::Whole {
            return Answer::failed("scripted");
        }
        let mut answer = self.with_unit(self.with_tree(Answer::exit(0)));
        answer = answer.fact(
            "space",
            format!("/dev/sim 100000000 1 {} 1% /", self.free_mib * 1024),
        );
        answer = answer.fact("inodes", "/dev/sim 1000000 1 999999 1% /");
        if !self.sudo {
            answer = answer.fact("sudo_error", "sudo: a password is required");
        }
        match commit(command, "target") {
            Some(target) if self.known.contains(&target) => {
                let (ahead, behind) = relation(origin, &self.head, &target);
                answer.fact("relation", format!("{ahead}\t{behind}"))
            }
            _ => answer,
        }
    }

    fn pull(&mut self, origin: &SimOrigin, command: &RemoteCommand, extent: Extent) -> Answer {
        let (Some(previous), Some(target)) =
            (commit(command, "previous"), commit(command, "target"))
        else {
            return Answer::failed("scripted");
        };
        let resume = command.get("resume") == Some("1");
        if !resume {
            self.moving = false;
        }
        let attached = command.get("attached").unwrap_or_default();
        let in_place = self.head == previous || (resume && self.head == target);
        if !in_place || self.branch.as_deref().unwrap_or_default() != attached {
            let why = format!("HEAD was moved to {} by somebody else", self.head);
            return self.with_tree(Answer::failed("concurrent").fact("why", why));
        }
        if !resume && !self.edited.is_empty() {
            return self.with_tree(Answer::failed("dirty"));
        }
        self.kept = Some(previous.clone());
        if let Some(answer) = self.fetch(origin, command, &target) {
            return answer;
        }
        let (ahead, behind) = relation(origin, &previous, &target);
        if command.get("direction") == Some("forward") && ahead > 0 {
            return self.with_tree(Answer::failed(if behind == 0 {
                "ahead"
            } else {
                "diverged"
            }));
        }
        self.move_forward(&target, resume, extent)
    }

    fn fetch(
        &mut self,
        origin: &SimOrigin,
        command: &RemoteCommand,
        target: &CommitHash,
    ) -> Option<Answer> {
        let tip = command
            .get("branch_name")
            .and_then(|branch| origin.branches.get(branch));
        let leads_there = command.get("on_branch") != Some("1")
            || tip.is_some_and(|tip| origin.history(tip).contains(target));
        if self.known.contains(target) && leads_there {
            return None;
        }
        if origin.down {
            let answer = Answer::failed("fetch")
                .said("fatal: unable to access the remote: Connection refused");
            return Some(self.with_tree(answer));
        }
        self.known
            .extend(tip.into_iter().flat_map(|tip| origin.history(tip)));
        if self.known.contains(target) && leads_there {
            return None;
        }
        let answer =
            Answer::failed("target_gone").said("fatal: remote error: upload-pack: not our ref");
        Some(self.with_tree(answer))
    }

    fn move_forward(&mut self, target: &CommitHash, resume: bool, extent: Extent) -> Answer {
        let forced = resume && self.moving;
        if !forced && self.head == *target {
            return Answer::exit(0);
        }
        if !forced && (self.untracked_in_the_way || extent == Extent::Nothing) {
            self.moving = false;
            let answer = Answer::failed("move").fact("refused", 1);
            let said = "error: The following untracked working tree files would be overwritten by merge: new.txt";
            return self.with_tree(answer.said(said));
        }
        self.moving = true;
        self.tree = None;
        if extent == Extent::Half {
            return self.with_tree(Answer::failed("move").fact("added_present", 1));
        }
        self.head = target.clone();
        self.tree = Some(target.clone());
        self.edited.clear();
        self.moving = false;
        Answer::exit(0)
    }

    fn checkout(&mut self, command: &RemoteCommand, extent: Extent) -> Answer {
        let previous = commit(command, "previous");
        let other = commit(command, "other");
        let (Some(previous), true) = (
            previous.clone(),
            [previous, other].contains(&Some(self.head.clone())),
        ) else {
            let why = format!("HEAD was moved to {} by somebody else", self.head);
            return self.with_tree(Answer::failed("concurrent").fact("why", why));
        };
        match extent {
            Extent::Nothing => return self.with_tree(Answer::failed("move")),
            Extent::Half => {
                self.tree = None;
                return self.with_tree(Answer::failed("move"));
            }
            Extent::Whole => {}
        }
        let attached = command.get("attached").unwrap_or_default();
        self.branch = (!attached.is_empty()).then(|| attached.to_owned());
        self.head = previous.clone();
        self.tree = Some(previous);
        self.edited.clear();
        self.moving = false;
        self.with_tree(Answer::exit(0))
    }

    fn install(&mut self, origin: &SimOrigin, extent: Extent) -> Answer {
        let failed = Answer::exit(1)
            .fact("rc", 1)
            .said("error: the registry does not answer");
        if extent == Extent::Nothing {
            return failed;
        }
        self.installed = None;
        let Some(tree) = self.tree.clone().filter(|_| extent == Extent::Whole) else {
            return failed;
        };
        if self.release(&tree, origin) == SimRelease::InstallFails {
            return failed;
        }
        self.installed = Some(tree);
        Answer::exit(0).fact("rc", 0)
    }

    fn restart(&mut self, origin: &SimOrigin, extent: Extent) -> Answer {
        let failed = |host: &Self| {
            let said =
                "Job for app.service failed because the control process exited with error code.";
            host.with_unit(Answer::exit(1).fact("rc", 1).said(said))
        };
        if extent == Extent::Nothing || !self.sudo || !self.unit_loaded {
            return failed(self);
        }
        if extent == Extent::Half {
            self.running = None;
            return failed(self);
        }
        self.start(origin);
        match self.running {
            Some(_) => self.with_unit(Answer::exit(0).fact("rc", 0)),
            None => failed(self),
        }
    }

    /// Another life of the service, on the files as they are.
    pub(super) fn start(&mut self, origin: &SimOrigin) {
        self.lives += 1;
        self.restarts = 0;
        let whole = self
            .tree
            .clone()
            .filter(|tree| self.installed.as_ref() == Some(tree));
        self.running = whole.filter(|tree| self.release(tree, origin) != SimRelease::StartFails);
    }

    fn verify(&mut self, origin: &SimOrigin, command: &RemoteCommand, extent: Extent) -> Answer {
        if extent != Extent::Whole {
            return Answer::failed("scripted");
        }
        let release = self
            .running
            .as_ref()
            .map(|commit| self.release(commit, origin));
        match release {
            Some(SimRelease::CrashLoops) => self.restarts += 1,
            Some(SimRelease::Dies) => self.running = None,
            _ => {}
        }
        let word = if self.running.is_some() {
            "active"
        } else {
            "failed"
        };
        let mut answer = Answer::exit(0).fact("is_active", word);
        if word == "active"
            && command
                .get("verify")
                .is_some_and(|verify| !verify.is_empty())
        {
            let code = if release == Some(SimRelease::VerifyFails) {
                1
            } else {
                0
            };
            answer = answer.fact("rc", code).fact("verify_rc", code);
        }
        self.with_tree(self.with_unit(answer))
    }

    fn resolve(&mut self, origin: &SimOrigin, command: &RemoteCommand, extent: Extent) -> Answer {
        if extent != Extent::Whole || origin.down {
            return Answer::failed("fetch").fact("why", "the remote does not answer");
        }
        let wanted = commit(command, "commit");
        let branch = command.get("branch_name").unwrap_or_default();
        let tip = origin.branches.get(branch).cloned();
        let found = match &wanted {
            Some(commit) => wanted
                .clone()
                .filter(|_| self.known.contains(commit) || origin.commits.contains_key(commit)),
            None => tip,
        };
        match found {
            Some(commit) => {
                self.known
                    .extend(wanted.iter().flat_map(|commit| origin.history(commit)));
                Answer::exit(0).fact("commit", commit)
            }
            None => Answer::failed("target_gone")
                .fact("why", format!("the remote origin has no branch {branch}")),
        }
    }
}

/// How many commits each side has that the other lacks.
fn relation(origin: &SimOrigin, host: &CommitHash, target: &CommitHash) -> (usize, usize) {
    let (ours, theirs) = (origin.history(host), origin.history(target));
    let only_in = |one: &[CommitHash], other: &[CommitHash]| {
        one.iter().filter(|c| !other.contains(c)).count()
    };
    (only_in(&ours, &theirs), only_in(&theirs, &ours))
}
