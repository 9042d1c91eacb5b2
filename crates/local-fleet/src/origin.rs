//! The bare repository that every host of a fleet has cloned.

use std::path::{Path, PathBuf};

use crate::error::FleetError;
use crate::git::Git;
use crate::release::{Release, ReleaseSpec};

/// The branch that the hosts follow.
pub(crate) const BRANCH: &str = "main";

/// All commits start here, a minute apart, so that the same releases always get the same hashes.
const FIRST_COMMIT_AT: u64 = 1_750_000_000;

/// The bare origin.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    folder: PathBuf,
    git: Git,
}

impl Origin {
    pub(crate) fn at(folder: PathBuf, git: Git) -> Self {
        Self { folder, git }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the empty repository.
    pub(crate) async fn create(&self) -> Result<(), FleetError> {
        std::fs::create_dir_all(&self.folder).map_err(FleetError::folder(&self.folder))?;
        let branch = format!("--initial-branch={BRANCH}");
        self.git
            .run(
                &self.folder,
                &["init", "--quiet", "--bare", "--template=", &branch],
                None,
            )
            .await?;
        // Loose objects are hard-linked one by one into each clone, a pack in one go.
        self.git
            .run(
                &self.folder,
                &["config", "fastimport.unpackLimit", "1"],
                None,
            )
            .await?;
        Ok(())
    }

    /// Makes commit number `number`, on top of `parent` if there is one, and points the branch at it, wherever it was.
    pub(crate) async fn commit(
        &self,
        spec: &ReleaseSpec,
        number: usize,
        branch: &str,
        parent: Option<&str>,
    ) -> Result<Release, FleetError> {
        let id = format!("r{number}");
        let at = FIRST_COMMIT_AT + 60 * number as u64;
        let mut stream = format!("feature done\ncommit refs/heads/{branch}\nmark :1\n");
        for role in ["author", "committer"] {
            stream.push_str(&format!(
                "{role} Local Fleet <fleet@example.invalid> {at} +0000\n"
            ));
        }
        push_data(&mut stream, &spec.message);
        if let Some(parent) = parent {
            stream.push_str(&format!("from {parent}\n"));
        }
        for (path, text) in files(spec, &id) {
            stream.push_str(&format!("M 100644 inline {path}\n"));
            push_data(&mut stream, &text);
        }
        stream.push_str("\nget-mark :1\ndone\n");
        let commit = self
            .git
            .run(
                &self.folder,
                &["fast-import", "--quiet", "--force"],
                Some(stream),
            )
            .await?;
        Ok(Release {
            commit,
            id,
            message: spec.message.clone(),
        })
    }

    /// The commit that this revision names.
    pub(crate) async fn resolve(&self, revision: &str) -> Result<String, FleetError> {
        let commit = format!("{revision}^{{commit}}");
        self.git
            .run(
                &self.folder,
                &[
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    "--end-of-options",
                    &commit,
                ],
                None,
            )
            .await
    }

    /// Takes a branch away, and with it every object that nothing else needs.
    pub(crate) async fn forget(&self, branch: &str) -> Result<(), FleetError> {
        let name = format!("refs/heads/{branch}");
        self.git
            .run(&self.folder, &["update-ref", "-d", &name], None)
            .await?;
        self.git
            .run(&self.folder, &["repack", "-a", "-d", "-q"], None)
            .await?;
        self.git
            .run(&self.folder, &["prune", "--expire=now"], None)
            .await?;
        Ok(())
    }
}

/// One `data` command of git's import format.
fn push_data(stream: &mut String, text: &str) {
    stream.push_str(&format!("data {}\n{text}\n", text.len()));
}

/// The app: small, but with the parts that an update meets.
fn files(spec: &ReleaseSpec, id: &str) -> [(&'static str, String); 6] {
    let package = format!(
        "{{\n  \"name\": \"local-fleet-app\",\n  \"version\": \"{}.0.0\",\n  \"scripts\": {{ \"start\": \"bun src/server.ts\" }},\n  \
         \"dependencies\": {{ \"left-pad\": \"1.3.0\" }}\n}}\n",
        id.trim_start_matches('r')
    );
    // It differs from release to release, so that a pull over one that an install has rewritten is refused.
    let lock = format!(
        "{{\n  \"lockfileVersion\": 1,\n  \"packages\": {{ \"left-pad\": [\"left-pad@1.3.0\", \"{id}\"] }}\n}}\n"
    );
    let server = "import { release } from \"./release\";\n\nBun.serve({ fetch: () => new Response(release) });\n";
    [
        (".gitignore", "node_modules/\n".into()),
        ("app.conf", spec.configuration(id)),
        ("package.json", package),
        ("bun.lock", lock),
        ("src/server.ts", server.into()),
        (
            "src/release.ts",
            format!("export const release = \"{id}\";\n"),
        ),
    ]
}
