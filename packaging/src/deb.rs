//! The Debian package: a tree of files that `dpkg-deb` packs, the same bytes for the same sources
//! and programs. Debian's own tools do the work: `strip`, `dpkg-shlibdeps` and `dpkg-deb`.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use md5::{Digest as _, Md5};

use crate::programs::{Programs, System};
use crate::{VERSION, completions, documents, licences, man, moment, schema};

const PACKAGE: &str = "bascule";
const CHANGES: &str = "CHANGELOG.md";
const DOCUMENTS: &str = "usr/share/doc/bascule";
/// The scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes the package in the folder `out`, with the programs of `binaries` or newly built ones; gives
/// its path.
///
/// # Errors
/// Which step failed and why.
pub fn make(binaries: Option<&Path>, out: &Path) -> anyhow::Result<PathBuf> {
    ensure!(cfg!(unix), "Debian packages are made on Debian; here only `zip` is");
    let moment = moment::of_the_sources()?;
    let programs = Programs::of(binaries, System::Linux)?;
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    let tree = Tree { root: scratch.path().join(PACKAGE), moment };
    let (agent, daemon) = (tree.program(&programs.agent)?, tree.program(&programs.daemon)?);
    let depends = depends(scratch.path(), &[agent, daemon])?;
    for page in man::pages(moment)? {
        let path = format!("usr/share/man/man{}/{}.gz", page.section, page.file_name());
        tree.put(&path, &zipped(&page.text)?)?;
    }
    for completion in completions::all() {
        if let Some(place) = completion.place() {
            tree.put(&place, &completion.text)?;
        }
    }
    tree.put("usr/share/bascule/bascule.schema.json", schema::text().as_bytes())?;
    let version = version(&documents::text(CHANGES)?, moment);
    texts(&tree, &version)?;
    control(&tree, &version, &depends)?;
    tree.settle(&tree.root)?;
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let package = out.join(format!("{PACKAGE}_{version}_{}.deb", architecture()?));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build"]);
    pack.args([&tree.root, &package]).env(moment::VARIABLE, moment.as_second().to_string());
    told(&mut pack)?;
    Ok(package)
}

/// The package's version. Until the changelog has a section for that of the programs, it comes before
/// it and after each older state: apt does not install what it takes for the same.
fn version(changes: &str, moment: Timestamp) -> String {
    let is_released = changes
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .any(|heading| heading.split([' ', '[', ']']).any(|word| word == VERSION));
    if is_released {
        return VERSION.to_owned();
    }
    format!("{VERSION}~{}", moment.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S"))
}

/// What is there to be read.
fn texts(tree: &Tree, version: &str) -> anyhow::Result<()> {
    for path in documents::all()? {
        let text = documents::text(&path)?;
        if path == CHANGES {
            tree.put(&format!("{DOCUMENTS}/{path}.gz"), &zipped(text.as_bytes())?)?;
        } else {
            tree.put(&format!("{DOCUMENTS}/{path}"), text.as_bytes())?;
        }
    }
    for path in documents::EXAMPLES {
        let name = path.rsplit('/').next().unwrap_or(path);
        // An editor finds the schema where the package has it.
        let text = documents::text(path)?.replace(
            "#:schema bascule.schema.json",
            "#:schema file:///usr/share/bascule/bascule.schema.json",
        );
        tree.put(&format!("{DOCUMENTS}/examples/{name}"), text.as_bytes())?;
    }
    let changes = format!(
        "{PACKAGE} ({version}) unstable; urgency=medium\n\n  \
         * Bascule {VERSION}: CHANGELOG.md.gz beside this file says what is new.\n\n \
         -- {}  {}\n",
        maintainer(),
        tree.moment.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000"),
    );
    tree.put(&format!("{DOCUMENTS}/changelog.gz"), &zipped(changes.as_bytes())?)?;
    tree.put(&format!("{DOCUMENTS}/copyright"), copyright()?.as_bytes())?;
    tree.put(
        &format!("{DOCUMENTS}/THIRD-PARTY.gz"),
        &zipped(licences::text(System::Linux)?.as_bytes())?,
    )
}

/// The licence, in Debian's form of such files.
fn copyright() -> anyhow::Result<String> {
    let licence = documents::text("LICENSE-MIT")?;
    let (_, licence) =
        licence.split_once("\n\nPermission").context("LICENSE-MIT is not as it was")?;
    let mut shown = String::new();
    for line in format!("Permission{licence}").trim_end().lines() {
        writeln!(shown, " {}", if line.is_empty() { "." } else { line })?;
    }
    Ok(documents::text("packaging/debian/copyright")?.replace("@MIT@\n", &shown))
}

/// What dpkg itself reads.
fn control(tree: &Tree, version: &str, depends: &str) -> anyhow::Result<()> {
    let mut sums = String::new();
    let mut size = 0;
    for path in tree.files()? {
        let bytes = fs::read(tree.root.join(&path)).context("what was just written")?;
        size += bytes.len().div_ceil(1024);
        let sum: String = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(sums, "{sum}  {path}")?;
    }
    tree.put("DEBIAN/md5sums", sums.as_bytes())?;
    let control = format!(
        "Package: {PACKAGE}\nVersion: {version}\nArchitecture: {}\nMaintainer: {}\n\
         Installed-Size: {size}\nDepends: {depends}\n{}",
        architecture()?,
        maintainer(),
        documents::text("packaging/debian/control")?,
    );
    tree.put("DEBIAN/control", control.as_bytes())?;
    for script in SCRIPTS {
        let text = documents::text(&format!("packaging/debian/{script}"))?;
        tree.write(&format!("DEBIAN/{script}"), text.as_bytes(), 0o755)?;
    }
    Ok(())
}

/// Who answers for the package: as Debian's own tools take it from the environment.
fn maintainer() -> String {
    let set = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let name = set("DEBFULLNAME").unwrap_or_else(|| "The Bascule developers".to_owned());
    let mail = set("DEBEMAIL").unwrap_or_else(|| "bascule@packages.invalid".to_owned());
    format!("{name} <{mail}>")
}

fn architecture() -> anyhow::Result<String> {
    Ok(told(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

/// The packages that the programs need, with the versions that their symbols ask for.
fn depends(scratch: &Path, programs: &[PathBuf]) -> anyhow::Result<String> {
    // It looks for the source package that it thinks it is in.
    let debian = scratch.join("debian");
    fs::create_dir(&debian).and_then(|()| {
        fs::write(
            debian.join("control"),
            format!("Source: {PACKAGE}\n\nPackage: {PACKAGE}\nArchitecture: any\n"),
        )
    })?;
    let mut look = Command::new("dpkg-shlibdeps");
    let said = told(look.arg("-O").args(programs).current_dir(scratch))?;
    let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.with_context(|| format!("dpkg-shlibdeps found nothing: {said}"))?.to_owned())
}

/// A file that is compressed as well as can be, and tells no time.
fn zipped(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gz.write_all(bytes)?;
    Ok(gz.finish()?)
}

/// Runs a tool; gives what it says.
fn told(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").output().with_context(|| {
        format!("{name} cannot be started: Debian's packages dpkg-dev and binutils are needed")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {} ({})", said.trim(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files of the package, below a folder.
struct Tree {
    root: PathBuf,
    moment: Timestamp,
}

impl Tree {
    fn put(&self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.write(path, bytes, 0o644)
    }

    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let full = self.place(path)?;
        fs::write(&full, bytes).with_context(|| full.display().to_string())?;
        set_mode(&full, mode)
    }

    /// A program without what only debuggers read.
    fn program(&self, from: &Path) -> anyhow::Result<PathBuf> {
        let name = from.file_name().and_then(|name| name.to_str()).context("a program's name")?;
        let to = self.place(&format!("usr/bin/{name}"))?;
        let mut strip = Command::new("strip");
        strip.args(["--remove-section=.comment", "--remove-section=.note", "-o"]);
        told(strip.args([to.as_path(), from]))?;
        set_mode(&to, 0o755)?;
        Ok(to)
    }

    /// The full path; its folders are made.
    fn place(&self, path: &str) -> anyhow::Result<PathBuf> {
        let full = self.root.join(path);
        if let Some(folder) = full.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(full)
    }

    /// All files, by their paths from the root, in order.
    fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Ok(path) = entry.path().strip_prefix(&self.root) {
                    files.push(path.to_str().context("a name that is no text")?.to_owned());
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Gives everything the time of the sources, and folders the mode that all have.
    fn settle(&self, folder: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.settle(&path)?;
            } else {
                File::open(&path)?.set_modified(self.moment.into())?;
            }
        }
        set_mode(folder, 0o755)?;
        Ok(File::open(folder)?.set_modified(self.moment.into())?)
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

/// Nothing is made there.
#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_between_releases_comes_before_the_next() {
        let moment = Timestamp::from_second(1_700_000_000).expect("a moment");
        let between = format!("{VERSION}~20231114221320");
        assert_eq!(version("# Changelog\n\n## Unreleased\n", moment), between);
        assert_eq!(version(&format!("It will be {VERSION}.\n## 0.0.1\n"), moment), between);
        for heading in [format!("## {VERSION}"), format!("## [{VERSION}] - 2026-12-01")] {
            assert_eq!(version(&heading, moment), VERSION);
        }
    }
}
