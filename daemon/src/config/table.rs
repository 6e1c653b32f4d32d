//! The table of rsyncd.conf's parameters: name, scope, type, and how far this daemon carries
//! each of them out. A new parameter is a new row.

use super::params::Field::*;
use super::params::Scope::*;
use super::params::Support::*;
use super::params::{Field, Parameter, Scope, Support, boolean, is_unset};
use super::reader::shorten;
use crate::{auth, hosts};

/// The parameters of rsyncd.conf(5) as of rsync 3.5, and those that are Bascule's own: TLS, walls,
/// limits, metrics and shadow copies.
#[rustfmt::skip]
pub const PARAMETERS: &[Parameter] = &[
    // The daemon.
    row("address", Global, Text(|s| &mut s.global.address), Works),
    row("listen backlog", Global, Integer(1..=65535, |s| &mut s.global.listen_backlog), Works),
    row("handshake timeout", Global, Integer(1..=3600, |s| &mut s.global.handshake_timeout), Works),
    row("max openings", Global, Integer(1..=100_000, |s| &mut s.global.max_openings), Works),
    row("max openings per address", Global, Integer(1..=100_000, |s| &mut s.global.max_openings_per_address), Works),
    row("max transfers", Global, Integer(1..=100_000, |s| &mut s.global.max_transfers), Works),
    row("max transfers per address", Global, Integer(1..=100_000, |s| &mut s.global.max_transfers_per_address), Works),
    row("log file", GlobalForNow, Text(|s| &mut s.global.log_file), Works),
    row("metrics address", Global, Text(|s| &mut s.global.metrics_address), Checked(check_metrics_address)),
    row("motd file", Global, Text(|s| &mut s.global.motd_file), Works),
    row("pid file", Global, Text(|s| &mut s.global.pid_file), Works),
    row("port", Global, Integer(0..=65535, |s| &mut s.global.port), Works),
    row("tls certificate", Global, Path(|s| &mut s.global.tls_certificate), Checked(check_absolute)),
    row("tls client ca", Global, Path(|s| &mut s.global.tls_client_ca), Checked(check_absolute)),
    row("tls key", Global, Path(|s| &mut s.global.tls_key), Checked(check_absolute)),
    row("tls port", Global, Integer(0..=65535, |s| &mut s.global.tls_port), Works),
    row("daemon chroot", Global, AnyText, NotYet),
    row("daemon gid", Global, AnyText, NotYet),
    row("daemon uid", Global, AnyText, NotYet),
    row("proxy protocol", Global, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
    row("proxy protocol hosts", Global, AnyText, NoEffect("counts only with the proxy protocol")),
    row("socket options", Global, AnyText, OnlyIf(always_set_socket_options, "only TCP_NODELAY and SO_KEEPALIVE are, which are always on")),
    // Modules.
    row("auth users", Module, Text(|s| &mut s.rules.auth_users), Checked(auth::check_rules)),
    row("comment", Module, Text(|s| &mut s.rules.comment), Works),
    row("exclude", Module, Text(|s| &mut s.rules.exclude), Works),
    row("exclude from", Module, Text(|s| &mut s.rules.exclude_from), Works),
    row("filter", Module, Text(|s| &mut s.rules.filter), Works),
    row("forward lookup", Module, Bool(|s| &mut s.rules.forward_lookup), Works),
    row("gid", Module, Text(|s| &mut s.rules.gid), Works),
    row("hosts allow", Module, Text(|s| &mut s.rules.hosts_allow), Checked(hosts::check)),
    row("hosts deny", Module, Text(|s| &mut s.rules.hosts_deny), Checked(hosts::check)),
    row("include", Module, Text(|s| &mut s.rules.include), Works),
    row("include from", Module, Text(|s| &mut s.rules.include_from), Works),
    row("incoming chmod", Module, Text(|s| &mut s.rules.incoming_chmod), Checked(check_chmod)),
    row("landlock", Module, Bool(|s| &mut s.rules.landlock), Works),
    row("durable", Module, Bool(|s| &mut s.rules.durable), Works),
    row("list", Module, Bool(|s| &mut s.rules.list), Works),
    row("max connections", Module, Integer(-0x7fff_ffff..=0x7fff_ffff, |s| &mut s.rules.max_connections), Works),
    row("max entries", Module, Integer(1..=0x7fff_ffff, |s| &mut s.rules.max_entries), Works),
    row("max list memory", Module, Integer(1..=0x7fff_ffff, |s| &mut s.rules.max_list_memory), Works),
    row("mounted on", Module, Path(|s| &mut s.rules.mounted_on), Works),
    row("munge symlinks", Module, Switch(|s| &mut s.rules.munge_symlinks), Works),
    row("numeric ids", Module, Switch(|s| &mut s.rules.numeric_ids), Works),
    row("outgoing chmod", Module, Text(|s| &mut s.rules.outgoing_chmod), Checked(check_chmod)),
    row("path", Module, Path(|s| &mut s.rules.path), Checked(check_absolute)),
    row("post-xfer exec", Module, Text(|s| &mut s.rules.post_xfer_exec), Works),
    row("pre-xfer exec", Module, Text(|s| &mut s.rules.pre_xfer_exec), Works),
    row("read only", Module, Bool(|s| &mut s.rules.read_only), Works),
    row("refuse options", Module, Text(|s| &mut s.rules.refuse_options), Works),
    row("require tls", Module, Bool(|s| &mut s.rules.require_tls), Works),
    row("reverse lookup", Module, Bool(|s| &mut s.rules.reverse_lookup), Works),
    row("secrets file", Module, Text(|s| &mut s.rules.secrets_file), Works),
    row("shadow copy", Module, Bool(|s| &mut s.rules.shadow_copy), Checked(check_shadow_copy)),
    row("strict modes", Module, Bool(|s| &mut s.rules.strict_modes), Works),
    row("temp dir", Module, Path(|s| &mut s.rules.temp_dir), Works),
    row("timeout", Module, Integer(0..=0x7fff_ffff, |s| &mut s.rules.timeout), Works),
    row("uid", Module, Text(|s| &mut s.rules.uid), Works),
    row("use chroot", Module, Switch(|s| &mut s.rules.use_chroot), Works),
    row("write only", Module, Bool(|s| &mut s.rules.write_only), Works),
    // Known, and not carried out, or only as far as nothing is asked for.
    row("auth digest", Module, AnyText, NotYet),
    row("charset", Module, AnyText, NotYet),
    row("dont compress", Module, AnyText, OnlyIf(compresses_as_usual, "patterns other than * are, and have no effect in rsyncd either")),
    row("early exec", Module, AnyText, NotYet),
    row("fake super", Module, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
    row("ignore errors", Module, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
    row("ignore nonreadable", Module, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
    row("insecure links", Module, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
    row("lock file", Module, AnyText, NoEffect("one process counts the connections")),
    row("log format", Module, AnyText, NoEffect("counts only with transfer logging")),
    row("max verbosity", Module, AnyInteger, NoEffect("clients cannot make the log longer")),
    row("name converter", Module, AnyText, NotYet),
    row("open noatime", Module, AnySwitch, OnlyIf(is_no_or_unset, "only \"no\" is")),
    row("syslog facility", Module, AnyText, NoEffect("nothing is sent to syslog")),
    row("syslog tag", Module, AnyText, NoEffect("nothing is sent to syslog")),
    row("transfer logging", Module, AnySwitch, OnlyIf(is_no, "only \"no\" is")),
];

const fn row(name: &'static str, scope: Scope, field: Field, support: Support) -> Parameter {
    Parameter { name, scope, field, support }
}

fn check_chmod(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    bascule_engine::chmod::Chmod::parse(value, 0).map(drop).map_err(|error| error.to_string())
}

fn check_absolute(value: &str) -> Result<(), String> {
    if value.is_empty() || std::path::Path::new(value).has_root() {
        return of_this_system(value);
    }
    of_this_system(value)?;
    Err(format!("\"{}\" must be an absolute path", shorten(value)))
}

/// A path of Windows means nothing elsewhere, unless somebody made a folder `/cygdrive`.
fn of_this_system(value: &str) -> Result<(), String> {
    let is_drive =
        value.as_bytes().get(1) == Some(&b':') && value.as_bytes()[0].is_ascii_alphabetic();
    let is_share = value.starts_with(r"\\");
    let is_cygwin = value.starts_with("/cygdrive/") && !std::path::Path::new("/cygdrive").exists();
    if cfg!(windows) || !(is_drive || is_share || is_cygwin) {
        return Ok(());
    }
    Err(format!(
        "\"{}\" is a path of Windows and means nothing on this system; name the folder that takes its \
         place (basculed import-deltacopy --map does so for all of a DeltaCopy server)",
        shorten(value)
    ))
}

fn check_metrics_address(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    bascule_platform::metrics::endpoint::parse_address(value).map(drop)
}

fn check_shadow_copy(value: &str) -> Result<(), String> {
    if cfg!(windows) || boolean(value) == Some(false) {
        return Ok(());
    }
    Err("there are no shadow copies on this system, only on Windows; remove the line".to_owned())
}

fn is_no(value: &str) -> bool {
    boolean(value) == Some(false)
}

fn is_no_or_unset(value: &str) -> bool {
    is_no(value) || is_unset(value)
}

fn always_set_socket_options(value: &str) -> bool {
    value.split([',', ' ', '\t']).filter(|word| !word.is_empty()).all(|word| {
        let (name, setting) = word.split_once('=').unwrap_or((word, "1"));
        setting == "1"
            && (name.eq_ignore_ascii_case("TCP_NODELAY")
                || name.eq_ignore_ascii_case("SO_KEEPALIVE"))
    })
}

fn compresses_as_usual(value: &str) -> bool {
    value.split_whitespace().all(|pattern| pattern != "*")
}
