//! `init`

use std::io::Write;
use std::path::{Path, PathBuf};

use fleet_types::{BranchName, RepoPath, ServiceName, UserName};

use crate::cli::{Global, Init};
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Writes a configuration from flags, or from three questions.
pub(crate) fn run(arguments: &Init, global: &Global, out: Output) -> Result<Exit, Failure> {
    let places = environment::places(global);
    let here = places.current_dir.clone().unwrap_or_default();
    let path = here.join(
        places
            .config
            .clone()
            .unwrap_or_else(|| PathBuf::from("rollout.toml")),
    );
    if path.exists() && !arguments.force {
        return Err(
            Failure::usage(format!("{} is there already", path.display()))
                .why("nothing was changed")
                .help("say --force to replace it, or name another with --config"),
        );
    }
    let answers = Answers::gather(arguments, places.home.as_deref(), places.user.clone(), out)?;
    let text = answers.file();
    write(&path, &text, arguments.force)?;
    // What was written must be readable; a mistake of ours shows here and not at the first update.
    let written = Global {
        config: Some(path.clone()),
        ..global.clone()
    };
    environment::settings(&written, Default::default())?;
    if out.json {
        out.object(&serde_json::json!({ "file": path.display().to_string() }))?;
    }
    out.say(format!("wrote {}", path.display()));
    out.next(&[
        (
            "rollout-cli doctor".to_owned(),
            "look whether everything is in place",
        ),
        (
            "rollout-cli hosts add NAME --address A".to_owned(),
            "add a host; hosts import FILE adds many",
        ),
    ]);
    Ok(Exit::Done)
}

struct Answers {
    repo: RepoPath,
    service: ServiceName,
    user: UserName,
    branch: Option<BranchName>,
    key: Option<PathBuf>,
}

impl Answers {
    fn gather(
        arguments: &Init,
        home: Option<&Path>,
        login: Option<String>,
        out: Output,
    ) -> Result<Self, Failure> {
        let asker = Asker { out };
        let repo = asker.answer(
            arguments.repo.clone(),
            "repo",
            "Where is the git clone on the hosts?",
            "/srv/app",
        )?;
        let service = asker.answer(
            arguments.service.clone(),
            "service",
            "Which systemd unit runs it?",
            "app.service",
        )?;
        let login = login.unwrap_or_else(|| "root".to_owned());
        let user = asker.answer(
            arguments.user.clone(),
            "user",
            "As which user do you sign in over SSH?",
            &login,
        )?;
        let key = arguments.key.clone().or_else(|| usual_key(home?));
        Ok(Self {
            repo,
            service,
            user,
            branch: arguments.branch.clone(),
            key,
        })
    }

    fn file(&self) -> String {
        let key = match &self.key {
            Some(key) => format!("key = {}\n", quoted(&key.display().to_string())),
            None => {
                "# key = \"~/.ssh/id_ed25519\"   # without it the ssh-agent is used\n".to_owned()
            }
        };
        let branch = match &self.branch {
            Some(branch) => format!("branch = {}\n", quoted(branch.as_str())),
            None => "# branch = \"main\"\n".to_owned(),
        };
        format!(
            "# How rollout-cli updates your fleet. rollout-cli config show lists every setting.\n\n\
             [app]\nrepo = {}\nservice = {}\n{branch}\
             # install = \"bun install\"\n\
             # verify = \"curl -fsS http://127.0.0.1:3000/health\"   # must succeed after the restart\n\n\
             [ssh]\nuser = {}\n{key}\n\
             [rollout]\n# stages = [10, 50, 100]\n# max_failures = \"30%\"\n# concurrency = 5\n# settle = \"5s\"\n",
            quoted(self.repo.as_str()),
            quoted(self.service.as_str()),
            quoted(self.user.as_str()),
        )
    }
}

/// The key that OpenSSH would try first.
fn usual_key(home: &Path) -> Option<PathBuf> {
    let names = ["id_ed25519", "id_ecdsa", "id_rsa"];
    let found = names
        .iter()
        .find(|name| home.join(".ssh").join(name).is_file())?;
    Some(Path::new("~/.ssh").join(found))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

struct Asker {
    out: Output,
}

impl Asker {
    /// The flag, or the answer to a question.
    fn answer<T>(
        &self,
        flag: Option<T>,
        name: &str,
        question: &str,
        default: &str,
    ) -> Result<T, Failure>
    where
        T: std::str::FromStr<Err: ToString>,
    {
        if let Some(value) = flag {
            return Ok(value);
        }
        if !self.out.can_ask() {
            return Err(Failure::usage(format!("--{name} was not said, and there is nobody to ask"))
                .help(format!("rollout-cli init --repo DIR --service UNIT --user USER; for example --{name} {default}")));
        }
        loop {
            let Some(answer) = self.out.prompt(&format!("{question} [{default}] ")) else {
                return Err(Failure::usage("there was no answer").why("nothing was written"));
            };
            let answer = if answer.is_empty() { default } else { &answer };
            match answer.parse() {
                Ok(value) => return Ok(value),
                Err(error) => self.out.shout(format!("  {}", error.to_string())),
            }
        }
    }
}

/// All of the file or nothing of it.
fn write(path: &Path, text: &str, replace: bool) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| {
        Failure::refused(format!("{} cannot be written", path.display())).why(error)
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(unwritable)?;
    let kept = if replace {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    kept.map_err(|error| unwritable(error.error))?;
    Ok(())
}
