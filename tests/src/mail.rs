//! Mail trees like those of an IceWarp server, and what happens to them between two runs.
//!
//! `DIR/domN.example/userNNN/FOLDER/DATE-ID.imap`: few folders are huge (Pareto), sizes are
//! log-normal, times are spread over five years with nanoseconds, content is text or base64 with a
//! header of its own. The same seed makes the same tree.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The newest message is from this moment: 2025-10-09.
const NOW: u64 = 1_760_000_000;
const FIVE_YEARS: u64 = 5 * 365 * 86_400;
const FOLDERS: [&str; 6] = ["inbox", "Sent", "Trash", "Drafts", "Spam", "Archive"];
const WORDS: [&str; 24] = [
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be",
    "invoice", "meeting", "regards", "attached", "please", "delivery", "order", "contract",
    "customer", "Thursday",
];
/// Bytes of shared text from which bodies are cut.
const POOL: usize = 32 << 20;

/// What a tree shall be like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Files in all.
    pub files: usize,
    /// Accounts, spread over four domains.
    pub accounts: usize,
    /// Folders of each account.
    pub folders: usize,
    /// Median size of a message in bytes.
    pub median: f64,
    /// Mean size of a message in bytes.
    pub mean: f64,
    /// Largest message in bytes.
    pub largest: u64,
    /// Chooses the tree.
    pub seed: u64,
}

impl Shape {
    /// A tree of `files` messages with usual sizes.
    pub fn of(files: usize) -> Self {
        Self {
            files,
            accounts: 200.min(files / 20 + 1),
            folders: 20,
            median: 8192.0,
            mean: 25_600.0,
            largest: 2 << 20,
            seed: 1,
        }
    }
}

/// What was written or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Random numbers that are the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number in (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn pareto(&mut self, alpha: f64) -> f64 {
        self.unit().powf(-1.0 / alpha)
    }
}

/// Makes messages.
pub(crate) struct Mailer {
    pub(crate) dice: Dice,
    text: Vec<u8>,
    base64: Vec<u8>,
    shape: Shape,
}

impl Mailer {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut text = Vec::with_capacity(POOL);
        let mut column = 0;
        while text.len() < POOL {
            let word = WORDS[dice.below(WORDS.len() as u64) as usize];
            text.extend_from_slice(word.as_bytes());
            column += word.len() + 1;
            text.extend_from_slice(if column > 72 { b"\r\n" } else { b" " });
            column %= 73;
        }
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut base64 = Vec::with_capacity(POOL);
        while base64.len() < POOL {
            let mut bits = dice.next();
            for _ in 0..10 {
                base64.push(ALPHABET[(bits % 64) as usize]);
                bits /= 64;
            }
            if base64.len() % 80 > 69 {
                base64.extend_from_slice(b"\r\n");
            }
        }
        Self { dice, text, base64, shape }
    }

    fn size(&mut self) -> u64 {
        let Shape { median, mean, largest, .. } = self.shape;
        let sigma = (2.0 * (mean / median).ln()).max(0.0).sqrt();
        let size = (median.ln() + sigma * self.dice.normal()).exp();
        (size as u64).clamp(600, largest)
    }

    fn time(&mut self) -> (u64, u32) {
        (NOW - self.dice.below(FIVE_YEARS), self.dice.below(1_000_000_000) as u32)
    }

    pub(crate) fn name(&mut self, number: usize) -> String {
        let (date, _) = self.time();
        let end = if self.dice.below(50) == 0 { "tmp" } else { "imap" };
        format!("{date}{number:08x}.{end}")
    }

    pub(crate) fn message(&mut self, number: usize) -> Vec<u8> {
        let size = self.size() as usize;
        let id = self.dice.next();
        let mut message = format!(
            "Return-Path: <sender{}@example.org>\r\nMessage-ID: <{id:016x}{number:08x}@example.org>\r\n\
             From: sender{}@example.org\r\nTo: user@example.com\r\nSubject: message {number}\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
            id % 1_000_000,
            id % 999_983,
        )
        .into_bytes();
        message.truncate(size);
        let pool = if self.dice.below(3) < 2 { &self.text } else { &self.base64 };
        let rest = size - message.len();
        let from = self.dice.below((pool.len() - rest) as u64) as usize;
        message.extend_from_slice(&pool[from..from + rest]);
        message
    }
}

/// Writes a tree into `root`, which may exist.
///
/// # Errors
/// What the file system says.
pub fn tree(root: &Path, shape: Shape) -> io::Result<Made> {
    let mut mailer = Mailer::new(shape, shape.seed);
    let mut folders = Vec::new();
    for account in 0..shape.accounts {
        let home = root.join(format!("dom{}.example/user{account:03}", account % 4));
        for number in 0..shape.folders {
            let folder = home.join(folder_name(number));
            fs::create_dir_all(&folder)?;
            folders.push(folder);
        }
    }
    let mut made = Made::default();
    for folder in folders.iter().take(shape.files / 8) {
        // The small index files that change with every delivery.
        for (name, size) in [("flags.dat", 2048), ("imapindex.dat", 4096)] {
            let from = mailer.dice.below((POOL - size) as u64) as usize;
            let data = mailer.base64[from..from + size].to_vec();
            let time = mailer.time();
            put(&folder.join(name), &data, time, &mut made)?;
        }
    }
    let weights: Vec<f64> = folders.iter().map(|_| mailer.dice.pareto(1.2)).collect();
    let all: f64 = weights.iter().sum();
    let wanted = shape.files - made.files;
    let mut number = 0;
    let mut share = 0.0;
    for (folder, weight) in folders.iter().zip(weights) {
        share += weight;
        let until = (share / all * wanted as f64).round() as usize;
        while number < until.min(wanted) {
            let name = mailer.name(number);
            let message = mailer.message(number);
            let time = mailer.time();
            put(&folder.join(name), &message, time, &mut made)?;
            number += 1;
        }
    }
    Ok(made)
}

fn folder_name(number: usize) -> String {
    FOLDERS.get(number).map_or_else(|| format!("Project{number:02}"), |name| (*name).to_owned())
}

fn put(path: &Path, data: &[u8], (seconds, nanos): (u64, u32), made: &mut Made) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(data)?;
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    file.set_times(FileTimes::new().set_modified(time))?;
    made.files += 1;
    made.bytes += data.len() as u64;
    Ok(())
}

/// Changes, adds and deletes `share` of the files each, as a day of mail does. Gives how many.
///
/// # Errors
/// What the file system says.
pub fn churn(root: &Path, share: f64, seed: u64) -> io::Result<usize> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let each = (files.len() as f64 * share) as usize;
    let mut mailer = Mailer::new(Shape::of(files.len()), seed);
    let mut picked = Vec::with_capacity(2 * each);
    for _ in 0..2 * each {
        let at = mailer.dice.below(files.len() as u64) as usize;
        picked.push(files.swap_remove(at));
    }
    for path in &picked[..each] {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let middle = file.metadata()?.len() / 2;
        file.seek(SeekFrom::Start(middle))?;
        file.write_all(b"changed in the middle")?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(b"X-Flag: changed\r\n")?;
    }
    for path in &picked[each..] {
        fs::remove_file(path)?;
    }
    let mut made = Made::default();
    for number in 0..each {
        let at = mailer.dice.below(files.len() as u64) as usize;
        let folder = files[at].parent().unwrap_or(root).to_path_buf();
        let name = format!("n{seed:x}{}", mailer.name(number));
        let message = mailer.message(number);
        put(&folder.join(name), &message, (NOW + seed, number as u32), &mut made)?;
    }
    Ok(each)
}

pub(crate) fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
