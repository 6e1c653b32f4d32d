//! Operating system services; nothing here speaks rsync.

pub mod acl;
pub mod command;
pub mod confine;
pub mod hangup;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod mounts;
pub mod output;
pub mod owned;
pub mod paths;
pub mod privileges;
pub mod secret;
pub mod service;
pub mod shell;
pub mod signals;
pub mod snapshot;
pub mod state;
pub mod text;

/// The file mode creation mask of this process; 022 where there is no such thing or it cannot be
/// read without changing it.
pub fn umask() -> u32 {
    #[cfg(target_os = "linux")]
    if let Ok(status) = std::fs::read_to_string("/proc/self/status")
        && let Some(mask) = status.lines().find_map(|line| line.strip_prefix("Umask:"))
        && let Ok(mask) = u32::from_str_radix(mask.trim(), 8)
    {
        return mask & 0o777;
    }
    0o022
}
