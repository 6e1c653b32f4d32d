//! `bascule-packaging`: makes the packages of Bascule and what they hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bascule_packaging::{completions, deb, man, moment, schema, zip};
use clap::{Args, Parser, Subcommand};

/// Makes the packages of Bascule and what they hold.
#[derive(Debug, Parser)]
#[command(name = "bascule-packaging", version, max_term_width = 100)]
struct Cli {
    /// What to make.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the manual pages into a folder.
    Man {
        /// The folder.
        dir: PathBuf,
    },
    /// Write the completions of bash, zsh, fish and PowerShell into a folder.
    Completions {
        /// The folder.
        dir: PathBuf,
    },
    /// Write the JSON schema of bascule.toml.
    Schema {
        /// The file.
        file: PathBuf,
    },
    /// Make the Debian package, on Debian.
    Deb(Package),
    /// Make the zip for Windows.
    Zip(Package),
}

#[derive(Debug, Args)]
struct Package {
    /// The folder into which the package goes.
    out: PathBuf,
    /// The folder of the programs; without it they are built.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

fn main() -> ExitCode {
    match make(&Cli::parse().command) {
        Ok(made) => {
            println!("{}", made.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bascule-packaging: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes what is asked for; gives where it is.
fn make(command: &Command) -> anyhow::Result<PathBuf> {
    match command {
        Command::Man { dir } => {
            for page in man::pages(moment::of_the_sources()?)? {
                write(&dir.join(page.file_name()), &page.text)?;
            }
            Ok(dir.clone())
        }
        Command::Completions { dir } => {
            for completion in completions::all() {
                write(&dir.join(completion.file_name()), &completion.text)?;
            }
            Ok(dir.clone())
        }
        Command::Schema { file } => {
            write(file, schema::text().as_bytes())?;
            Ok(file.clone())
        }
        Command::Deb(package) => deb::make(package.binaries.as_deref(), &package.out),
        Command::Zip(package) => zip::make(package.binaries.as_deref(), &package.out),
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}
