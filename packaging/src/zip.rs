//! The zip for Windows, with a script that installs what is in it.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_complete::Shell;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::programs::{Programs, System};
use crate::{VERSION, completions, documents, licences, moment, schema};

/// What is written for Windows alone: from the repository's root, and its name in the zip.
const FOR_WINDOWS: [(&str, &str); 2] = [
    ("packaging/windows/install.ps1", "install.ps1"),
    ("packaging/windows/README.txt", "README.txt"),
];
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Makes the zip in the folder `out`, with the programs of `binaries` or newly built ones; gives its
/// path.
///
/// # Errors
/// Which step failed and why.
pub fn make(binaries: Option<&Path>, out: &Path) -> anyhow::Result<PathBuf> {
    let moment = moment::of_the_sources()?;
    let programs = Programs::of(binaries, System::Windows)?;
    let name = format!("bascule-{VERSION}-windows-x86_64");
    let mut packed = Packed::new(&name, moment)?;
    for program in [&programs.agent, &programs.daemon] {
        let name = program.file_name().and_then(|name| name.to_str()).context("a name")?;
        let bytes = fs::read(program).with_context(|| program.display().to_string())?;
        packed.put(name, &bytes)?;
    }
    for (path, name) in FOR_WINDOWS {
        packed.text(name, &documents::text(path)?)?;
    }
    for path in LICENCES {
        packed.text(&format!("{path}.txt"), &documents::text(path)?)?;
    }
    packed.text("THIRD-PARTY.txt", &licences::text(System::Windows)?)?;
    for path in documents::all()? {
        packed.text(&path, &documents::text(&path)?)?;
    }
    packed.text("bascule.schema.json", &schema::text())?;
    for completion in completions::all() {
        if completion.shell == Shell::PowerShell {
            let name = format!("completions/{}", completion.file_name());
            packed.text(&name, std::str::from_utf8(&completion.text)?)?;
        }
    }
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let path = out.join(format!("{name}.zip"));
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    file.write_all(&packed.finish()?).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A zip that is being written: everything in one folder, with one time.
struct Packed {
    folder: String,
    options: SimpleFileOptions,
    writer: ZipWriter<Cursor<Vec<u8>>>,
}

impl Packed {
    fn new(folder: &str, moment: Timestamp) -> anyhow::Result<Self> {
        // A zip has no time zone and knows no year before 1980.
        let time = moment.to_zoned(TimeZone::UTC);
        let number = |number: i8| u8::try_from(number).unwrap_or_default();
        let time = DateTime::from_date_and_time(
            u16::try_from(time.year()).unwrap_or_default(),
            number(time.month()),
            number(time.day()),
            number(time.hour()),
            number(time.minute()),
            number(time.second()),
        )
        .unwrap_or_default();
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .last_modified_time(time)
            .unix_permissions(0o644);
        let writer = ZipWriter::new(Cursor::new(Vec::new()));
        Ok(Self { folder: folder.to_owned(), options, writer })
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer
            .start_file(format!("{}/{name}", self.folder), self.options)
            .and_then(|()| Ok(self.writer.write_all(bytes)?))
            .with_context(|| name.to_owned())
    }

    /// A text, with the ends of lines that Notepad and PowerShell of any age understand.
    fn text(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let lines = text.replace("\r\n", "\n").replace('\n', "\r\n");
        // Windows PowerShell takes a script for one of the code page unless it begins like this.
        let mark = if name.ends_with(".ps1") && !text.is_ascii() { "\u{feff}" } else { "" };
        self.put(name, format!("{mark}{lines}").as_bytes())
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        Ok(self.writer.finish().context("the zip's end")?.into_inner())
    }
}
