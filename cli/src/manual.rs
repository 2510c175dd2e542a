//! `grapnel completions` and `grapnel man`: what is made of the command line's own description.

use std::{path::Path, process::ExitCode};

use crate::{args, exit::Failure, out};

/// Prints a shell's completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "grapnel", &mut script);
    out::text(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page of every command to a directory, or prints that of `grapnel` where none is named.
pub fn pages(directory: Option<&Path>) -> Result<ExitCode, Failure> {
    let command = args::command();
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        out::text(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| {
        Failure::failed(format!("the pages cannot be written to {}: {error}", directory.display()))
    })?;
    out::line(&format!("man pages       {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_gets_completions_of_every_command() {
        let shells = clap_complete::Shell::value_variants();
        assert!(shells.len() >= 5, "{shells:?}");
        for shell in shells {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut args::command(), "grapnel", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in args::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn the_documentation_names_every_command() {
        let text = std::fs::read_to_string("../docs/cli.md").unwrap();
        let named = |name: &str| text.contains(&format!("`{name}")) || text.contains(&format!(" {name}"));
        for command in args::command().get_subcommands() {
            assert!(named(command.get_name()), "{}", command.get_name());
            for below in command.get_subcommands() {
                let listed_in_part = ["credential", "endpoint"].contains(&command.get_name());
                assert!(listed_in_part || named(below.get_name()), "{command} {below}");
            }
        }
    }

    #[test]
    fn every_command_gets_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join("man");
        clap_mangen::Man::new(args::command()).render(&mut Vec::new()).unwrap();
        std::fs::create_dir_all(&into).unwrap();
        clap_mangen::generate_to(args::command(), &into).unwrap();
        for page in ["grapnel.1", "grapnel-deployment-promote.1", "grapnel-hook-create.1"] {
            let text = std::fs::read_to_string(into.join(page)).unwrap();
            assert!(text.contains(".SH NAME"), "{page}: {text}");
        }
        let pages = std::fs::read_dir(&into).unwrap().count();
        assert!(pages > 50, "{pages}");
    }
}
