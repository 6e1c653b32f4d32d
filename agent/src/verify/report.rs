//! The report of a verification: a document for machines that carries a digest of itself.

use std::path::Path;

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_wire::flist::{Entry, Kind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::{Compared, Names};
use super::findings::{Aspect, Difference, Found};
use super::state::hex;

/// The version of the form.
const FORMAT: &str = "bascule-verify/1";
/// What stands before the digits of the digest.
const DIGEST: &str = "blake3:";

/// All that is known at the end of a verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The form of this document.
    pub format: String,
    /// Who made it.
    pub program: String,
    /// The source, without user and password.
    pub source: String,
    /// The target.
    pub target: String,
    /// When it began.
    pub began: String,
    /// When it ended.
    pub ended: String,
    /// Whether both ends are the same in all that was compared.
    pub identical: bool,
    /// The exit code.
    pub exit_code: u8,
    /// What was compared, and how.
    pub proof: Proof,
    /// What the source has.
    pub source_names: Names,
    /// What the target has.
    pub target_names: Names,
    /// The contents that were compared.
    pub compared: Compared,
    /// How many names differ in each aspect.
    pub counts: std::collections::BTreeMap<Aspect, u64>,
    /// The names that differ, sorted.
    pub differences: Vec<Listed>,
    /// Names that differ and are not listed, because there are too many.
    pub unlisted: u64,
    /// What the other end had to say.
    pub texts: Vec<String>,
    /// BLAKE3 of this document without this field, in its canonical form.
    #[serde(default)]
    pub digest: String,
}

/// What was compared, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The digest of contents.
    pub digest: String,
    /// How exact times are.
    pub times: String,
    /// Whether permissions were compared.
    pub permissions: bool,
    /// Whether owners and groups were compared.
    pub owners: bool,
}

/// A name that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The path below both ends.
    pub path: Text,
    /// In what it differs.
    pub differs: Vec<Aspect>,
    /// What the source has.
    pub source: Option<Seen>,
    /// What the target has.
    pub target: Option<Seen>,
    /// What happened, where there is more to say.
    pub why: Option<String>,
}

/// What one end has under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// What it is.
    pub kind: String,
    /// The size of a file in bytes.
    pub size: Option<u64>,
    /// The modification time.
    pub mtime: String,
    /// Permissions, in octal digits.
    pub mode: String,
    /// Owner and group.
    pub owner: [u32; 2],
    /// The target of a symlink.
    pub link: Option<Text>,
}

/// A name: as text, and where it is no UTF-8 its bytes as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Utf8(String),
    /// Anything else.
    Bytes {
        /// For the eye.
        text: String,
        /// The bytes, in hexadecimal digits.
        hex: String,
    },
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes { text: bytes.escape_ascii().to_string(), hex: hex(bytes) },
        }
    }
}

impl Seen {
    fn of(entry: &Entry) -> Self {
        Self {
            kind: kind_name(entry.kind()).to_owned(),
            size: (entry.kind() == Kind::File).then_some(entry.size),
            mtime: time(entry),
            mode: format!("{:04o}", entry.permissions()),
            owner: [entry.uid, entry.gid],
            link: entry.link().map(Text::of),
        }
    }
}

/// What a file is, for people.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::BlockDevice => "block device",
        Kind::CharDevice => "character device",
        Kind::Fifo => "pipe",
        Kind::Socket => "socket",
    }
}

/// The modification time of an entry, in UTC.
pub(super) fn time(entry: &Entry) -> String {
    match Timestamp::new(entry.mtime, entry.nanos.cast_signed()) {
        // A negative second with a positive fraction is not how this type counts.
        Ok(time) if entry.mtime >= 0 => time.to_string(),
        _ => format!("{}+{:09}ns", entry.mtime, entry.nanos),
    }
}

/// What a report says apart from what was found.
#[derive(Debug)]
pub struct Circumstances {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
    /// When it began.
    pub began: Timestamp,
    /// What was compared.
    pub proof: Proof,
    /// What each end has, source first.
    pub names: [Names; 2],
    /// The contents that were compared.
    pub compared: Compared,
}

impl Report {
    /// Puts a report together, and signs it with its digest.
    ///
    /// # Errors
    /// Never for what a verification finds.
    pub fn new(about: Circumstances, found: &Found) -> anyhow::Result<Self> {
        let exit = exit_code(found);
        let listed = |difference: &Difference| Listed {
            path: Text::of(&difference.path),
            differs: difference.aspects.clone(),
            source: difference.source.as_ref().map(Seen::of),
            target: difference.target.as_ref().map(Seen::of),
            why: difference.why.clone(),
        };
        let [source_names, target_names] = about.names;
        let mut report = Self {
            format: FORMAT.to_owned(),
            program: concat!("bascule ", env!("CARGO_PKG_VERSION")).to_owned(),
            source: about.source,
            target: about.target,
            began: about.began.to_string(),
            ended: Timestamp::now().to_string(),
            identical: exit == ExitCode::Success,
            exit_code: exit.code(),
            proof: about.proof,
            source_names,
            target_names,
            compared: about.compared,
            counts: found.counts.clone(),
            differences: found.differences.iter().map(listed).collect(),
            unlisted: found.unlisted,
            texts: found.texts.clone(),
            digest: String::new(),
        };
        report.digest = report.own_digest()?;
        Ok(report)
    }

    /// The digest of the canonical form: JSON without the digest, keys sorted, no white space.
    fn own_digest(&self) -> anyhow::Result<String> {
        let mut document = serde_json::to_value(self)?;
        document.sort_all_objects();
        if let Some(fields) = document.as_object_mut() {
            fields.remove("digest");
        }
        Ok(format!("{DIGEST}{}", blake3::hash(&serde_json::to_vec(&document)?).to_hex()))
    }

    /// Writes the report to a file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = || format!("the report cannot be written to {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        std::io::Write::write_all(&mut file, b"\n").with_context(failed)?;
        file.persist(path).with_context(failed)?;
        Ok(())
    }
}

/// The exit code of what was found.
pub fn exit_code(found: &Found) -> ExitCode {
    let differs = |(aspect, count): (&Aspect, &u64)| *aspect != Aspect::InMotion && *count > 0;
    if found.counts.iter().any(differs) {
        ExitCode::Partial
    } else if found.counts.is_empty() {
        ExitCode::Success
    } else {
        ExitCode::Vanished
    }
}

/// Reads a report; `Ok(None)` when it is not as it was written.
///
/// # Errors
/// When there is no report.
pub fn check(path: &Path) -> anyhow::Result<Option<Report>> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    let document: serde_json::Value = serde_json::from_slice(&text)
        .with_context(|| format!("{}: this is no JSON", path.display()))?;
    if document.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
        bail!("{}: this is no report of a verification", path.display());
    }
    // Another field, or a field twice, is as good as another value.
    let Ok(report) = serde_json::from_slice::<Report>(&text) else { return Ok(None) };
    let is_unaltered = report.digest == report.own_digest()?;
    Ok(is_unaltered.then_some(report))
}
