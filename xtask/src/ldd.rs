//! `cargo xtask ldd`: the release binaries need the C library and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::metadata;
use crate::process;

/// Names of shared libraries that every Linux with the GNU C library has, up to their version.
const ALLOWED: &[&str] = &[
    "linux-vdso.so",
    "linux-gate.so",
    "libc.so",
    "libm.so",
    "libgcc_s.so",
    "ld-linux",
];

/// Builds every program under `bins/` and looks at what it is linked with.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("ldd takes no arguments, not {argument:?}");
    }
    let metadata = metadata::read(&["--no-deps"])?;
    let root = PathBuf::from(metadata::text(&metadata, "workspace_root")?);
    let programs = programs(&metadata, &root.join("bins"))?;
    if programs.is_empty() {
        bail!("there is no program under bins/");
    }
    let mut clean = true;
    for Program { package, name } in &programs {
        process::run(process::cargo().args([
            "build",
            "--release",
            "--locked",
            "-p",
            package,
            "--bin",
            name,
        ]))?;
        let file = Path::new(metadata::text(&metadata, "target_directory")?)
            .join("release")
            .join(name);
        clean &= inspect(name, &file)?;
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Program {
    package: String,
    name: String,
}

/// The programs of all packages below a folder.
fn programs(metadata: &Value, folder: &Path) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for package in metadata::list(metadata, "packages")? {
        if !Path::new(metadata::text(package, "manifest_path")?).starts_with(folder) {
            continue;
        }
        for target in metadata::list(package, "targets")? {
            if metadata::list(target, "kind")?
                .iter()
                .any(|kind| kind == "bin")
            {
                let (package, name) = (
                    metadata::text(package, "name")?,
                    metadata::text(target, "name")?,
                );
                programs.push(Program {
                    package: package.to_owned(),
                    name: name.to_owned(),
                });
            }
        }
    }
    Ok(programs)
}

/// Prints what a program is linked with; whether that is allowed.
fn inspect(name: &str, file: &Path) -> anyhow::Result<bool> {
    let content = fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    if !content.starts_with(b"\x7fELF") {
        // ldd says of such a file what it says of a program that is linked with nothing.
        bail!("{} is no program", file.display());
    }
    let output = process::command("ldd")
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .context("could not start ldd")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if text.contains("not a dynamic executable") || text.contains("statically linked") {
        println!("xtask ldd: {name}: linked with nothing");
        return Ok(true);
    }
    if !output.status.success() {
        bail!(
            "ldd {} failed: {}: {}",
            file.display(),
            output.status,
            text.trim()
        );
    }
    let libraries = libraries(&text);
    if libraries.is_empty() {
        bail!(
            "ldd {} printed nothing that could be read: {}",
            file.display(),
            text.trim()
        );
    }
    println!("xtask ldd: {name}: {}", libraries.join(", "));
    let unwanted: Vec<_> = libraries
        .into_iter()
        .filter(|library| !is_allowed(library))
        .collect();
    if !unwanted.is_empty() {
        println!(
            "xtask ldd: {name}: not every machine has {}",
            unwanted.join(", ")
        );
    }
    Ok(unwanted.is_empty())
}

/// The file names of the libraries that ldd lists, without folders.
fn libraries(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| name.rsplit('/').next().unwrap_or(name))
        .collect()
}

fn is_allowed(library: &str) -> bool {
    ALLOWED.iter().any(|allowed| {
        library
            .strip_prefix(allowed)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use serde_json::json;

    use super::{Program, inspect, is_allowed, libraries, programs};

    const LDD: &str = "\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f01)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f02)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f03)
\tlibpq.so.5 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f04)
";

    #[test]
    fn libraries_are_read_by_name() {
        let expected = [
            "linux-vdso.so.1",
            "libgcc_s.so.1",
            "libm.so.6",
            "libc.so.6",
            "libpq.so.5",
            "ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(LDD), expected);
    }

    #[test]
    fn only_the_c_library_is_allowed() {
        let unwanted: Vec<_> = libraries(LDD)
            .into_iter()
            .filter(|library| !is_allowed(library))
            .collect();
        assert_eq!(unwanted, ["libpq.so.5"]);
        for (library, allowed) in [
            ("ld-linux-aarch64.so.1", true),
            ("ld-linux.so.2", true),
            ("libm.so.6", true),
            ("libcrypto.so.3", false),
            ("libcurl.so.4", false),
            ("libmagic.so.1", false),
            ("libstdc++.so.6", false),
            ("libsqlite3.so.0", false),
        ] {
            assert_eq!(is_allowed(library), allowed, "{library}");
        }
    }

    #[test]
    fn this_very_program_needs_the_c_library_alone() {
        let file = std::env::current_exe().unwrap();
        assert!(inspect("xtask", &file).unwrap());
        // A text has no libraries either, and is not taken for a program.
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(inspect("text", &text).is_err());
    }

    #[test]
    fn programs_are_those_under_the_folder() {
        let metadata = json!({"packages": [
            {"name": "cli", "manifest_path": "/w/bins/cli/Cargo.toml", "targets": [
                {"name": "cli", "kind": ["bin"]}, {"name": "integration", "kind": ["test"]}]},
            {"name": "xtask", "manifest_path": "/w/xtask/Cargo.toml", "targets": [{"name": "xtask", "kind": ["bin"]}]},
            {"name": "types", "manifest_path": "/w/crates/types/Cargo.toml", "targets": [{"name": "types", "kind": ["lib"]}]},
        ]});
        let expected = Program {
            package: "cli".to_owned(),
            name: "cli".to_owned(),
        };
        assert_eq!(
            programs(&metadata, Path::new("/w/bins")).unwrap(),
            [expected]
        );
    }
}
