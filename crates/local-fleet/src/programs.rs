//! The stand-ins for what a VPS has and a test machine has not: POSIX shell, written once and linked into every host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::FleetError;

const COMMON: &str = include_str!("standins/common.sh");

const PROGRAMS: [(&str, &str); 8] = [
    ("id", include_str!("standins/id.sh")),
    ("sudo", include_str!("standins/sudo.sh")),
    ("systemctl", include_str!("standins/systemctl.sh")),
    ("bun", include_str!("standins/bun.sh")),
    ("verify-app", include_str!("standins/verify-app.sh")),
    ("journalctl", include_str!("standins/journalctl.sh")),
    ("git", include_str!("standins/git.sh")),
    ("df", include_str!("standins/df.sh")),
];

/// Writes them all into a folder. Before any host runs, since a file that is open for writing cannot be run.
pub(crate) fn write(folder: &Path, git: &Path) -> Result<(), FleetError> {
    fs::create_dir_all(folder).map_err(FleetError::folder(folder))?;
    for (name, text) in PROGRAMS {
        let file = folder.join(name);
        let text = format!("{COMMON}\n{text}").replace("@GIT@", &git.to_string_lossy());
        if fs::read_to_string(&file).is_ok_and(|old| old == text) {
            continue;
        }
        fs::write(&file, text).map_err(FleetError::folder(&file))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .map_err(FleetError::folder(&file))?;
    }
    Ok(())
}
