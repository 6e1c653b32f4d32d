//! Mail as it comes in and is read: a writer that delivers, flags, moves and deletes messages in a
//! tree, less and less of it as in an evening.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::mail::{Mailer, Shape, collect};

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Deeds per second in the beginning.
    pub first: f64,
    /// After this many seconds it is half of that.
    pub half_life: f64,
    /// It never becomes less than so many per second.
    pub least: f64,
}

impl Rhythm {
    /// Deeds per second after so many seconds.
    fn at(&self, seconds: f64) -> f64 {
        (self.first * (-seconds / self.half_life).exp2()).max(self.least)
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Messages that came in.
    pub delivered: u64,
    /// Messages whose name has changed with their flags.
    pub flagged: u64,
    /// Messages that went to another folder.
    pub moved: u64,
    /// Messages that went.
    pub deleted: u64,
}

/// A writer at work.
pub struct Traffic {
    done: Arc<AtomicBool>,
    writer: JoinHandle<io::Result<Deeds>>,
}

impl Traffic {
    /// Begins with the messages that are in the tree `root`.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn begin(root: &Path, rhythm: Rhythm, seed: u64) -> io::Result<Self> {
        let mut messages = Vec::new();
        collect(root, &mut messages)?;
        messages.retain(|path| path.extension().is_some_and(|end| end == "imap"));
        messages.sort();
        let mut writer = Writer {
            mailer: Mailer::new(Shape::of(messages.len()), seed),
            messages,
            deeds: Deeds::default(),
        };
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let writer = thread::spawn(move || {
            let began = Instant::now();
            while !until.load(Ordering::Relaxed) {
                writer.act()?;
                let pause = 1.0 / rhythm.at(began.elapsed().as_secs_f64());
                thread::sleep(Duration::from_secs_f64(pause.min(1.0)));
            }
            Ok(writer.deeds)
        });
        Ok(Self { done, writer })
    }

    /// Ends it; gives what was done.
    ///
    /// # Errors
    /// What the file system said.
    pub fn end(self) -> io::Result<Deeds> {
        self.done.store(true, Ordering::Relaxed);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    }
}

struct Writer {
    mailer: Mailer,
    messages: Vec<PathBuf>,
    deeds: Deeds,
}

impl Writer {
    /// One of the four: half of all is new mail.
    fn act(&mut self) -> io::Result<()> {
        let at = self.mailer.dice.below(self.messages.len() as u64) as usize;
        let other = self.mailer.dice.below(self.messages.len() as u64) as usize;
        let of_other = self.messages[other].parent().unwrap_or(Path::new("")).to_path_buf();
        match self.mailer.dice.below(20) {
            0..10 => {
                let number = self.messages.len() + self.deeds.delivered as usize;
                let path = of_other.join(format!("new{}", self.mailer.name(number)));
                fs::write(&path, self.mailer.message(number))?;
                self.messages.push(path);
                self.deeds.delivered += 1;
            }
            10..15 => {
                let mut name = self.messages[at].file_stem().unwrap_or_default().to_os_string();
                name.push("s.imap");
                self.rename(at, &self.messages[at].with_file_name(name))?;
                self.deeds.flagged += 1;
            }
            15..17 => {
                let name = self.messages[at].file_name().unwrap_or_default().to_os_string();
                self.rename(at, &of_other.join(name))?;
                self.deeds.moved += 1;
            }
            _ => {
                fs::remove_file(self.messages.swap_remove(at))?;
                self.deeds.deleted += 1;
            }
        }
        Ok(())
    }

    fn rename(&mut self, at: usize, to: &Path) -> io::Result<()> {
        fs::rename(&self.messages[at], to)?;
        self.messages[at] = to.to_path_buf();
        Ok(())
    }
}
