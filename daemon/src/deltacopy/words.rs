//! What the import says: reasons, notes, and what to do next.

use std::path::Path;

use bascule_platform::shell;

use super::Made;
use super::places::System;
use super::translate::SecretsCopy;
use crate::config::Config;

pub(super) const INCLUDES: &str =
    "included files are not imported; put their text into deltacd.conf and try again";
pub(super) const NO_MODULES: &str =
    "there is no virtual directory in it; make one in DeltaCopy, or see basculed init --help";
pub(super) const UNKNOWN: &str = "no parameter of rsync's; DeltaCopy's rsync ignored it as well";
pub(super) const STRICT_MODES: &str =
    "the passwords are copied to files that only their owner can read";
pub(super) const OWN_ACCOUNT: &str = "basculed writes as the account that it runs as";
pub(super) const OF_THE_SERVICE: &str = "a service of basculed has its own, see docs/services.md";
pub(super) const HOOK: &str = "a command of DeltaCopy's Cygwin would not run here";
pub(super) const NO_USERS: &str = "without auth users nobody is asked for a password";
pub(super) const COPIED: &str = " (copied: only its owner can read the new file)";
pub(super) const ACL: &str =
    "Modes say nothing here: the ACL lets in administrators, LocalSystem and the owner.";
pub(super) const NOT_THERE: &str = "This is not there yet: make it before the first client comes.";
pub(super) const MOUNT: &str = "Not into the empty folder below a disk that is not there.";
pub(super) const OPEN: &str =
    "Nobody is asked for a password here: add auth users and a secrets file.";
pub(super) const OWN_IDS: &str = "DeltaCopy wrote as its service's account; so does this.";

pub(super) fn is_no(value: &str) -> bool {
    ["no", "false", "0"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// A value of the old file within a comment or a note.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn no_folder(module: &str) -> String {
    format!("The virtual directory [{module}] has no folder yet and is left out.")
}

pub(super) fn open(module: &str, writable: bool, some_hosts: bool) -> String {
    let what = if writable { "read, change and delete" } else { "read" };
    let who =
        if some_hosts { "each machine of its hosts allow" } else { "whoever reaches the port" };
    format!("[{module}]: nobody is asked for a password: {who} can {what} everything in it")
}

pub(super) fn module_not_ascii(module: &str) -> String {
    format!(
        "[{module}]: the name has accents: clients may write them in another encoding and not find it; \
         choose plain letters"
    )
}

/// A line that ends with a backslash.
pub(super) const CONTINUED: &str = "the line ends with a backslash, which makes the next line a part of it; write a path without \
     the backslash at its end, everything else on one line";

pub(super) fn no_password(user: &str, file: &Path) -> String {
    format!("{user} has no password in {} and cannot log in", file.display())
}

pub(super) fn not_ascii(user: &str, file: &Path) -> String {
    format!(
        "the name or the password of {} in {} has accents: clients may write them in another encoding \
         and be refused; choose plain letters",
        one_line(user),
        file.display()
    )
}

pub(super) fn serves_passwords(dir: &Path, served: &Path) -> String {
    format!(
        "{} is served with {}: its clients can read DeltaCopy's passwords; move DeltaCopy or exclude it",
        dir.display(),
        served.display()
    )
}

pub(super) fn header(conf: &Path, encoding: &str) -> String {
    format!(
        "# Made by basculed import-deltacopy of {}, read as {encoding}.\n\
         # What has no comment is as it was there. The parameters are those of rsyncd.conf and of\n\
         # docs/daemon.md; basculed check-config says whether they are right.\n\
         # DeltaCopy's clients have no TLS: what they send can be read and changed on the way.\n",
        one_line(&conf.display().to_string())
    )
}

/// What is to be done now.
pub(super) fn instructions(made: &Made<'_>, config: &Config, system: System) -> String {
    let file = made.file.display();
    let mut text = format!("{file} is written, with {} module(s):\n\n", config.modules.len());
    for module in &config.modules {
        let path = module.rules.path.as_deref().unwrap_or_default().replace("%%", "%");
        text.push_str(&format!("  {:<15} {path}\n", module.name));
    }
    for SecretsCopy { from, to } in made.secrets {
        text.push_str(&format!(
            "\nThe passwords of {} are now also in {}.\n",
            from.display(),
            to.display()
        ));
    }
    text.push_str(&notes(made.notes));
    text.push_str(match system {
        System::Windows => {
            "\nStop DeltaCopy's service first: it holds port 873. Then install this one:\n\n  \
             sc.exe stop DeltaCopyService\n  \
             sc.exe config DeltaCopyService start= disabled\n"
        }
        System::Unix => "\nInstall the service:\n\n",
    });
    let option = shell::word(&format!("--config={file}"));
    text.push_str(&format!("  basculed service install {option}\n"));
    text.push_str(match system {
        System::Windows => {
            "\nDeltaCopy's clients go on unchanged. Back again: basculed service uninstall, then\n\
             sc.exe config DeltaCopyService start= auto and sc.exe start DeltaCopyService.\n"
        }
        System::Unix => {
            "\nIn the profiles of DeltaCopy's clients, only the server's name changes to this machine's.\n"
        }
    });
    text.push_str(
        "\nThe rsync.exe beside them must speak protocol 30 or newer: rsync.exe --version says so. An\n\
         older one is refused. docs/deltacopy.md says what to do then.\n",
    );
    text
}

/// The notes as a list.
pub(super) fn notes(notes: &[String]) -> String {
    let mut text = String::new();
    if !notes.is_empty() {
        text.push_str("\nNotes:\n\n");
    }
    for note in notes {
        text.push_str(&format!("  - {note}\n"));
    }
    text
}
