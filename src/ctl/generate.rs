//! `kneard-ctl generate DIR`: shell completions and man pages, for those who make packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::settings;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Write shell completions and man pages of kneard and kneard-ctl below a directory
///
/// DIR/share/bash-completion/completions, DIR/share/zsh/site-functions,
/// DIR/share/fish/vendor_completions.d and DIR/share/man/man1, as packages have them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// `ctl` is the command line of kneard-ctl, which its binary defines.
pub fn run(args: &Args, ctl: Command) -> ExitCode {
    let kneard =
        settings::Args::command().subcommand(settings::ReleaseArgs::command().name("release"));
    match [kneard, ctl].into_iter().try_for_each(|command| write(&args.dir, command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kneard-ctl: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path, mut command: Command) -> io::Result<()> {
    // The completions build the command, and then it has a subcommand for help.
    let for_man = without_help(command.clone());
    let name = command.get_name().to_owned();
    for shell in SHELLS {
        let folder = dir.join(match shell {
            Shell::Zsh => "share/zsh/site-functions",
            Shell::Fish => "share/fish/vendor_completions.d",
            _ => "share/bash-completion/completions",
        });
        fs::create_dir_all(&folder)?;
        let file = match shell {
            Shell::Zsh => format!("_{name}"),
            Shell::Fish => format!("{name}.fish"),
            _ => name.clone(),
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut text);
        fs::write(folder.join(file), text)?;
    }
    let folder = dir.join("share/man/man1");
    fs::create_dir_all(&folder)?;
    // One page for the command and one for each subcommand that is to be seen.
    clap_mangen::generate_to(for_man, folder)
}

/// `help` needs no page of its own, for each level.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
