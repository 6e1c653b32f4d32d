//! What shells complete command lines with.

use bascule_agent::cli::Cli as Agent;
use bascule_daemon::cli::Cli as Daemon;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

/// The shells that are served.
pub const SHELLS: [Shell; 4] = [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell];

/// One file for a shell.
#[derive(Debug)]
pub struct Completion {
    /// Whose command lines.
    pub program: &'static str,
    /// The shell.
    pub shell: Shell,
    /// What the shell reads.
    pub text: Vec<u8>,
}

impl Completion {
    /// The file's name, as in a folder of all of them.
    pub fn file_name(&self) -> String {
        let program = self.program;
        match self.shell {
            Shell::Zsh => format!("_{program}"),
            Shell::Fish => format!("{program}.fish"),
            Shell::PowerShell => format!("{program}.ps1"),
            _ => format!("{program}.bash"),
        }
    }

    /// The place where Debian's shells look for it, below the root; PowerShell has none.
    pub fn place(&self) -> Option<String> {
        let program = self.program;
        match self.shell {
            Shell::Bash => Some(format!("usr/share/bash-completion/completions/{program}")),
            Shell::Zsh => Some(format!("usr/share/zsh/vendor-completions/_{program}")),
            Shell::Fish => Some(format!("usr/share/fish/vendor_completions.d/{program}.fish")),
            _ => None,
        }
    }
}

/// All of them.
pub fn all() -> Vec<Completion> {
    let mut all = Vec::new();
    for shell in SHELLS {
        all.push(of("bascule", Agent::command(), shell));
        all.push(of("basculed", Daemon::command(), shell));
    }
    all
}

fn of(program: &'static str, mut command: Command, shell: Shell) -> Completion {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut text);
    Completion { program, shell, text }
}
