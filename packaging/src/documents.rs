//! The files of the packages that people have written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The example of a `bascule.toml`, from the repository's root.
pub const EXAMPLE_JOBS: &str = "contrib/bascule.toml";

/// What stands beside the documents as an example: from the repository's root.
pub const EXAMPLES: [&str; 6] = [
    EXAMPLE_JOBS,
    "contrib/basculed.conf",
    "contrib/systemd/basculed.service",
    "contrib/prometheus/bascule-rules.yml",
    "contrib/prometheus/bascule-rules-test.yml",
    "contrib/grafana/bascule.json",
];

/// The root of the repository from which this program was built.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a file of the repository says.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &str) -> anyhow::Result<String> {
    let full = root().join(path);
    fs::read_to_string(&full).with_context(|| format!("cannot read {}", full.display()))
}

/// The documents, by their paths from the repository's root; the links between them stay right where
/// these paths are kept.
///
/// # Errors
/// When the folder of documents cannot be read.
pub fn all() -> anyhow::Result<Vec<String>> {
    let mut all = vec!["README.md".to_owned(), "SECURITY.md".to_owned(), "CHANGELOG.md".to_owned()];
    let folder = root().join("docs");
    let reading = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(&folder).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        let name = name.to_str().context("a document's name is no text")?;
        if name.ends_with(".md") {
            all.push(format!("docs/{name}"));
        }
    }
    all.sort();
    Ok(all)
}
