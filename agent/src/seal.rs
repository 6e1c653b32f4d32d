//! `bascule seal`: a password file that only this Windows machine can open.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_platform::secret::{self, sealed};
use bascule_platform::text::unmarked_secret;
use clap::Args;
use zeroize::Zeroizing;

use crate::output::print;

/// Options of `bascule seal`.
#[derive(Debug, Args)]
pub struct Seal {
    /// The file to write, or to replace.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Asks for a password, or reads it from standard input, and writes it to a file, encrypted.
///
/// # Errors
/// On another system than Windows; when nothing was typed, or the file cannot be written.
pub fn seal(cli: &Seal) -> anyhow::Result<ExitCode> {
    let mut typed = Zeroizing::new(Vec::new());
    if std::io::stdin().is_terminal() {
        *typed = rpassword::prompt_password("Password: ")?.into_bytes();
    } else {
        std::io::stdin().read_to_end(&mut typed).context("reading the password")?;
        typed = unmarked_secret(typed).context("reading the password")?;
    }
    let password = typed.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    if password.is_empty() {
        bail!("no password was typed");
    }
    let shown = cli.file.display();
    let content = sealed::seal(password).context("the password cannot be sealed")?;
    secret::write(&cli.file, &content, true).with_context(|| format!("cannot write {shown}"))?;
    print(&format!(
        "{shown} is written; only this machine can open it. In bascule.toml it is password.dpapi.\n"
    ));
    Ok(ExitCode::Success)
}
