//! A job of `bascule.toml` with its two ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::judge::{describe, differences};
use crate::peer::{Daemon, Ran, Whose, finish, program};
use crate::scratch::{T0, file, noise};

/// A source with two accounts, a daemon, and a configuration with one job.
pub struct World {
    scratch: tempfile::TempDir,
    /// The target.
    pub daemon: Daemon,
}

impl World {
    /// Starts the daemon; `more` stands at the end of the job.
    ///
    /// # Panics
    /// When a file cannot be written or the daemon does not start.
    pub fn new(whose: Whose, more: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        std::fs::create_dir(root.join("to")).expect("a folder");
        for (seed, name) in
            ["ann/inbox/1.imap", "ann/inbox/2.imap", "joe/inbox/3.imap", "joe/sent/4.imap"]
                .iter()
                .enumerate()
        {
            file(&root.join("from"), name.as_bytes(), &noise(seed as u64, 1000), 0o644, (T0, 5))
                .expect("a file");
        }
        let daemon = Daemon::start(whose, root, &module(root));
        let world = Self { scratch, daemon };
        world.configure(world.daemon.port, more);
        world
    }

    /// Writes the configuration anew, with a daemon on `port`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, port: u16, more: &str) {
        let root = self.root().display();
        let text = format!(
            "state = \"{root}/state\"\n[jobs.mail]\nsources = [\"{root}/from/\"]\n\
             target = \"rsync://127.0.0.1:{port}/mail/\"\n{more}"
        );
        std::fs::write(self.root().join("bascule.toml"), text).expect("a file");
    }

    /// What stands in the daemon's configuration.
    pub fn daemon_config(&self) -> String {
        module(self.root())
    }

    /// The folder in which everything is.
    pub fn root(&self) -> &Path {
        self.scratch.path()
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// `bascule` with these arguments.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("bascule"));
        command.args(words).stdin(Stdio::null());
        command.env("BASCULE_CONFIG", self.at("bascule.toml"));
        command.env("XDG_STATE_HOME", self.at("home"));
        command
    }

    /// Runs `bascule` with these arguments.
    ///
    /// # Panics
    /// When it does not end.
    pub fn bascule(&self, words: &[&str]) -> Ran {
        finish(&mut self.command(words))
    }

    /// The document that `bascule` prints.
    ///
    /// # Panics
    /// When it prints something else.
    pub fn json(&self, words: &[&str]) -> Value {
        let ran = self.bascule(words);
        serde_json::from_str(&ran.said).unwrap_or_else(|error| panic!("{error}: {}", ran.said))
    }

    /// Writes a new message into the source.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str) {
        file(&self.at("from"), name.as_bytes(), &noise(9, 500), 0o644, (T0, 5)).expect("a file");
    }

    /// Both ends are equal.
    ///
    /// # Panics
    /// When they are not.
    pub fn assert_equal(&self) {
        let [from, to] =
            ["from", "to"].map(|name| describe(&self.at(name), false).expect("a tree"));
        let found = differences(&from, &to);
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn module(root: &Path) -> String {
    let to = root.join("to");
    format!(
        "use chroot = no\nuid = root\ngid = root\n[mail]\npath = {}\nread only = no\n",
        to.display()
    )
}
