//! Files that hold a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The first line of a file that nobody else can read. The error says what is wrong with it.
pub(crate) fn first_line(path: &Path) -> Result<String, String> {
    let mode = fs::metadata(path)
        .map_err(|error| error.to_string())?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("it has mode {mode:03o}: others can read it"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
