//! Whether the daemon is well: its configuration, its certificate, its modules.

use bascule_platform::metrics::Health;
use bascule_platform::mounts;

use super::{Observed, mount_of, path_of};
use crate::config::Module;

/// How the daemon is at this moment.
pub(super) fn of(observed: &Observed) -> Health {
    let (config, errors) = observed.site.standing();
    let mut problems: Vec<String> = errors
        .iter()
        .flat_map(|errors| &errors.0)
        .map(|error| format!("the configuration is bad, the last good one stays in force: {error}"))
        .collect();
    if let Some((_, Some(problem))) =
        observed.certificate.as_ref().map(|certificate| certificate.standing())
    {
        problems.push(format!("the certificate is bad, the last good one stays: {problem}"));
    }
    for module in &config.modules {
        problems.extend(trouble(module).map(|why| format!("module {}: {why}", module.name)));
    }
    let mut health = Health { problems, ..Health::default() };
    health.facts.insert("program".into(), "basculed".into());
    health.facts.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    health.facts.insert("modules".into(), config.modules.len().into());
    health
}

/// Why a module cannot be served.
pub(super) fn trouble(module: &Module) -> Option<String> {
    if module.rules.max_connections < 0 {
        // Somebody has turned it off.
        return None;
    }
    if let Some(dir) = mount_of(module) {
        let shown = dir.display();
        match mounts::is_mount_point(&dir) {
            Ok(true) => {}
            Ok(false) => return Some(format!("no disk is mounted at {shown}: mount it")),
            Err(error) => return Some(format!("no disk is mounted at {shown}: {error}")),
        }
    }
    let path = path_of(module)?;
    let shown = path.display();
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("its path {shown} is no folder")),
        Err(error) => Some(format!("its path {shown} cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn module(text: &str) -> Option<String> {
        let config = config::parse(text.as_bytes(), "f", &[]).expect("a good configuration");
        trouble(&config.modules[0])
    }

    #[test]
    fn a_module_needs_its_folder_and_its_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let here = dir.path().display();
        assert_eq!(module(&format!("[a]\npath = {here}\n")), None);
        let missing = module(&format!("[a]\npath = {here}/x\n")).expect("it is not there");
        assert!(missing.contains("cannot be used"), "{missing}");
        let bare = module(&format!("[a]\npath = {here}\nmounted on = {here}\n"));
        assert!(bare.expect("no disk").contains("no disk is mounted at"));
        let off = format!("[a]\npath = {here}/x\nmax connections = -1\n");
        assert_eq!(module(&off), None, "it was turned off");
        let by_user = "[a]\npath = /home/%RSYNC_USER_NAME%\n";
        assert_eq!(module(by_user), None, "it depends on the client");
    }
}
