//! Many clones of one repository, faster than `git clone` makes them and no different from what it makes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FleetError;
use crate::git::Git;

/// A clone read into memory, to be written again and again.
#[derive(Debug)]
pub(crate) struct Template {
    root: PathBuf,
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Never written to by git once they are there, so that clones may share them, as `git clone --local` does.
    objects: Vec<PathBuf>,
}

impl Template {
    /// Clones `origin` into `root` and reads what came.
    pub(crate) async fn clone(git: &Git, origin: &Path, root: PathBuf) -> Result<Self, FleetError> {
        let target = root.as_os_str();
        let words = ["clone", "--quiet", "--local", "--template="].map(std::ffi::OsStr::new);
        let arguments: Vec<_> = words
            .into_iter()
            .chain([origin.as_os_str(), target])
            .collect();
        git.run(origin, &arguments, None).await?;
        let mut template = Self {
            root,
            folders: Vec::new(),
            files: Vec::new(),
            objects: Vec::new(),
        };
        template.read(Path::new(""))?;
        Ok(template)
    }

    fn read(&mut self, below: &Path) -> Result<(), FleetError> {
        let folder = self.root.join(below);
        for entry in fs::read_dir(&folder).map_err(FleetError::folder(&folder))? {
            let entry = entry.map_err(FleetError::folder(&folder))?;
            let path = below.join(entry.file_name());
            if entry
                .file_type()
                .map_err(FleetError::folder(&folder))?
                .is_dir()
            {
                self.folders.push(path.clone());
                self.read(&path)?;
            } else if path.starts_with(".git/objects") {
                self.objects.push(path);
            } else {
                let file = self.root.join(&path);
                let bytes = fs::read(&file).map_err(FleetError::folder(&file))?;
                self.files.push((path, bytes));
            }
        }
        Ok(())
    }

    /// Writes the clone once more.
    pub(crate) fn write(&self, target: &Path) -> Result<(), FleetError> {
        fs::create_dir_all(target).map_err(FleetError::folder(target))?;
        for folder in &self.folders {
            let folder = target.join(folder);
            fs::create_dir(&folder).map_err(FleetError::folder(&folder))?;
        }
        for (path, bytes) in &self.files {
            let file = target.join(path);
            fs::write(&file, bytes).map_err(FleetError::folder(&file))?;
        }
        for path in &self.objects {
            let file = target.join(path);
            link_or_copy(&self.root.join(path), &file).map_err(FleetError::folder(&file))?;
        }
        Ok(())
    }
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    // File systems limit the links of one file; a copy serves as well.
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}
