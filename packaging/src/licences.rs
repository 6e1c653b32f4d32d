//! The licences of the libraries that the programs hold: most ask that their text goes with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use walkdir::WalkDir;

use crate::documents::root;
use crate::programs::System;

/// The programs whose libraries count.
const PROGRAMS: [&str; 2] = ["bascule-agent", "bascule-daemon"];
/// How the names of files with licences begin.
const BEGINNINGS: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// All libraries by name with their licences, then the texts, each once.
///
/// # Errors
/// When cargo cannot tell what the programs are built from.
pub fn text(system: System) -> anyhow::Result<String> {
    let metadata = metadata(system)?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for library in libraries(&metadata)? {
        let word = |key: &str| library.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{} {}", word("name"), word("version"));
        writeln!(list, "{name}: {}  {}", word("license"), word("repository"))?;
        let folder = Path::new(word("manifest_path")).parent().context("a manifest's folder")?;
        for text in texts_in(folder).with_context(|| folder.display().to_string())? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut all = format!(
        "The programs of Bascule hold these libraries. Where a licence leaves a choice, Bascule takes them\n\
         under any of those named.\n\n{list}"
    );
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, names) in texts {
        write!(all, "\n{}\n{}:\n\n{text}\n", "-".repeat(80), names.join(", "))?;
    }
    Ok(all)
}

/// What cargo knows of the workspace.
fn metadata(system: System) -> anyhow::Result<Value> {
    let triple = match system {
        System::Linux => "x86_64-unknown-linux-gnu",
        System::Windows => "x86_64-pc-windows-gnu",
    };
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", triple])
        .current_dir(root())
        .output()
        .context("cargo cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata: {said}");
    serde_json::from_slice(&output.stdout).context("what cargo metadata says")
}

/// The libraries from elsewhere that become part of the programs, by name and version.
fn libraries(metadata: &Value) -> anyhow::Result<Vec<&Value>> {
    let packages = metadata["packages"].as_array().context("cargo tells of no packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo tells of no nodes")?;
    let nodes: BTreeMap<&str, &Value> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let ours = packages
        .iter()
        .filter(|package| package["name"].as_str().is_some_and(|name| PROGRAMS.contains(&name)));
    let mut open: Vec<&str> = ours.filter_map(|package| package["id"].as_str()).collect();
    ensure!(open.len() == PROGRAMS.len(), "the programs are not in this workspace");
    let mut seen: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(node) = open.pop().and_then(|id| nodes.get(id)) {
        for needed in node["deps"].as_array().into_iter().flatten() {
            // The kind of what is part of a program, and not of its tests or its making, is null.
            let kinds = needed["dep_kinds"].as_array();
            let is_part =
                kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()));
            open.extend(needed["pkg"].as_str().filter(|id| is_part && seen.insert(id)));
        }
    }
    let mut libraries: Vec<&Value> = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| seen.contains(id)))
        .filter(|package| !package["source"].is_null())
        .collect();
    libraries.sort_by_key(|package| (package["name"].as_str(), package["version"].as_str()));
    Ok(libraries)
}

/// The licences in a folder and below, where libraries in C have theirs, in the order of their paths.
fn texts_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_one = BEGINNINGS.iter().any(|begin| name.starts_with(begin));
        // A library may have a module of that name.
        if is_one && entry.file_type().is_file() && !name.ends_with(".rs") {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_a_licence_and_its_text() {
        let text = text(System::Linux).expect("the licences");
        let (list, texts) = text.split_once("\n----").expect("two parts");
        let libraries: Vec<&str> = list.lines().filter(|line| line.contains("  http")).collect();
        assert!(libraries.len() > 100, "{list}");
        for library in libraries {
            let (_, licence) = library.split_once(": ").expect("a licence");
            assert!(!licence.starts_with(' '), "{library}");
        }
        for name in ["rustls ", "ring ", "tokio "] {
            assert!(list.contains(&format!("\n{name}")) && texts.contains(name), "{name}");
        }
        assert!(!list.contains("\nbascule-") && !list.contains("\nproptest "), "{list}");
    }
}
