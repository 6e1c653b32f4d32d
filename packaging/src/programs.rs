//! The programs that a package holds: those of a folder, or built for it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::documents::root;

/// What the programs are to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// The system that this program runs on.
    Linux,
    /// Windows on 64 bits.
    Windows,
}

/// Where the two programs are.
#[derive(Debug)]
pub struct Programs {
    /// `bascule`.
    pub agent: PathBuf,
    /// `basculed`.
    pub daemon: PathBuf,
}

impl Programs {
    /// Those in `folder`, or if there is none, those that are built now, which takes minutes.
    ///
    /// # Errors
    /// When they are not there or cannot be built.
    pub fn of(folder: Option<&Path>, system: System) -> anyhow::Result<Self> {
        let built;
        let folder = match folder {
            Some(folder) => folder,
            None => {
                built = build(system)?;
                &built
            }
        };
        let end = if system == System::Windows { ".exe" } else { "" };
        let found = |name: &str| {
            let path = folder.join(format!("{name}{end}"));
            ensure!(path.is_file(), "there is no {}", path.display());
            Ok(path)
        };
        Ok(Self { agent: found("bascule")?, daemon: found("basculed")? })
    }
}

/// Builds both programs as they are shipped; gives their folder.
fn build(system: System) -> anyhow::Result<PathBuf> {
    let crosses = system == System::Windows && !cfg!(windows);
    if system == System::Linux && cfg!(windows) {
        bail!("programs for Debian are built on Debian, not on Windows");
    }
    let mut target = root().join("target");
    let cargo: PathBuf = if crosses {
        // What .ci/windows/toolchain has made.
        let home = env::var_os("WINCROSS_HOME").map(PathBuf::from).or_else(|| {
            env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/wincross"))
        });
        let cargo = home.context("there is no HOME")?.join("bin/wcargo");
        ensure!(
            cargo.is_file(),
            "there is no {}: run .ci/windows/toolchain first, or name the folder of the programs \
             with --binaries",
            cargo.display()
        );
        target.push("win");
        cargo
    } else {
        env::var_os("CARGO").map_or_else(|| "cargo".into(), Into::into)
    };
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--locked", "--profile=shipped", "-p=bascule-agent", "-p=bascule-daemon"])
        .current_dir(root())
        .env("CARGO_TARGET_DIR", &target);
    if crosses {
        // This program's own cargo is of another toolchain.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO");
        target.push("x86_64-pc-windows-gnu");
    }
    let status = command.status().with_context(|| cargo.display().to_string())?;
    ensure!(status.success(), "the programs could not be built ({status})");
    Ok(target.join("shipped"))
}
