//! The daemon's figures at one moment.

use bascule_platform::metrics::Registry;
use bascule_platform::metrics::figures::{Gauges, unix_seconds};
use bascule_platform::mounts;

use super::{OUTCOMES, Observed, Step, health, path_of};
use crate::claims::unpoisoned;
use crate::config::Config;

/// All of them.
pub(super) fn of(observed: &Observed) -> Registry {
    let (config, errors) = observed.site.standing();
    begin_at_zero(observed, &config);
    let mut registry = Registry::default();
    let about = &mut registry;
    let mut build = Gauges::default();
    build.set(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    about.register("basculed_build_info", "The version of the program, always 1", build);
    let started = Gauges::one(unix_seconds(observed.since));
    about.register("basculed_start_time_seconds", "When the daemon started, since 1970", started);
    let good = Gauges::one(if errors.is_none() { 1.0 } else { 0.0 });
    about.register(
        "basculed_config_good",
        "Whether the configuration file makes sense; if not, the last good one is in force",
        good,
    );
    if let Some((Some(expires), _)) =
        observed.certificate.as_ref().map(|certificate| certificate.standing())
    {
        about.register(
            "basculed_certificate_expiry_timestamp_seconds",
            "Until when the certificate in force is good, since 1970",
            Gauges::one(expires as f64),
        );
    }
    clients(about, observed, &config);
    counters(about, observed);
    modules(about, &config);
    registry
}

/// A counter that is new has no past: what is known of is there from the beginning on.
fn begin_at_zero(observed: &Observed, config: &Config) {
    let counts = &*observed.tally.0;
    for outcome in OUTCOMES {
        counts.connections.of(&[("outcome", outcome)]);
    }
    for step in Step::ALL {
        counts.refused.of(&[("step", step.as_str())]);
    }
    for module in &config.modules {
        let own = ("module", module.name.as_str());
        for direction in ["push", "pull"] {
            counts.files.of(&[own, ("direction", direction)]);
            counts.sessions.of(&[own, ("direction", direction), ("code", "0")]);
        }
        for counters in [&counts.login_failures, &counts.deleted, &counts.read, &counts.written] {
            counters.of(&[own]);
        }
    }
}

fn clients(about: &mut Registry, observed: &Observed, config: &Config) {
    let (openings, transferring) = observed.crowd.count();
    let mut clients = Gauges::default();
    clients.set(&[("state", "opening")], openings as f64);
    clients.set(&[("state", "transferring")], transferring as f64);
    about.register("basculed_clients", "Clients now: being let in, or transferring", clients);
    let mut transfers = Gauges::default();
    for module in &config.modules {
        transfers.set(&[("module", &module.name)], 0.0);
    }
    for (module, count) in &*unpoisoned(&observed.tally.0.transfers) {
        transfers.set(&[("module", module)], *count as f64);
    }
    about.register("basculed_transfers", "Transfers now", transfers);
}

fn counters(about: &mut Registry, observed: &Observed) {
    let counts = &*observed.tally.0;
    // `_total` is added to the names of counters.
    for (name, help, counters) in [
        ("basculed_connections", "Connections that have ended, by outcome", &counts.connections),
        (
            "basculed_refused",
            "Clients that were refused, by the step they were at",
            &counts.refused,
        ),
        ("basculed_login_failures", "Logins that failed", &counts.login_failures),
        ("basculed_sessions", "Transfers that have ended, by exit code", &counts.sessions),
        (
            "basculed_files",
            "Files whose data travelled in transfers that have ended",
            &counts.files,
        ),
        ("basculed_deleted", "Names deleted in transfers that have ended", &counts.deleted),
        (
            "basculed_read_bytes",
            "Bytes read from clients in transfers that have ended",
            &counts.read,
        ),
        (
            "basculed_written_bytes",
            "Bytes written to clients in transfers that have ended",
            &counts.written,
        ),
    ] {
        about.register(name, help, counters.clone());
    }
}

fn modules(about: &mut Registry, config: &Config) {
    let (mut ready, mut free, mut size) = (Gauges::default(), Gauges::default(), Gauges::default());
    for module in &config.modules {
        let labels = [("module", module.name.as_str())];
        let is_ready = health::trouble(module).is_none();
        ready.set(&labels, if is_ready { 1.0 } else { 0.0 });
        // Below a disk that is not there is another one.
        if is_ready
            && let Some(path) = path_of(module)
            && let Ok(Some(room)) = mounts::room(&path)
        {
            free.set(&labels, room.free as f64);
            size.set(&labels, room.size as f64);
        }
    }
    about.register(
        "basculed_module_ready",
        "Whether the module's folder is there, and its disk mounted",
        ready,
    );
    about.register(
        "basculed_module_free_bytes",
        "What can still be written to the file system of the module",
        free,
    );
    about.register("basculed_module_size_bytes", "The size of that file system", size);
}
