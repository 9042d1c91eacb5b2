//! `completions` and `man`

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Prints a completion script.
pub(crate) fn completions(shell: Shell, out: Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollout-cli", &mut script);
    out.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes the manual pages.
pub(crate) fn man(dir: Option<&Path>, out: Output) -> Result<Exit, Failure> {
    let command = Cli::command();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(unwritable)?;
        out.data(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(dir).map_err(unwritable)?;
    clap_mangen::generate_to(command, dir).map_err(unwritable)?;
    out.say(format!("the manual pages are in {}", dir.display()));
    out.next(&[(
        format!("man -l {}", dir.join("rollout-cli.1").display()),
        "read the first one",
    )]);
    Ok(Exit::Done)
}

fn unwritable(error: std::io::Error) -> Failure {
    Failure::refused("the manual pages cannot be written").why(error)
}
