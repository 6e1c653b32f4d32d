//! The daemon's modules as the session sees them: which there are, who may reach them, how many
//! at a time.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bascule_session::site::{ModuleLine, OpenModule, Peer, Refusal, Site};

use crate::claims::{Counters, unpoisoned};
use crate::client::{Client, session_number};
use crate::config::{self, Config, ConfigErrors, Module};
use crate::hosts::{Lists, Names, check_client};
use crate::modules::{Beside, DaemonModule};
use crate::names::Resolver;
use crate::writers::Writers;

/// The largest message of the day, in bytes.
const LARGEST_MOTD: u64 = 64 << 10;

/// A daemon's modules.
pub struct DaemonSite {
    source: Source,
    counters: Counters,
    writers: Writers,
    names: Box<dyn Names + Send + Sync>,
}

/// Where the configuration comes from.
enum Source {
    /// Made at the start.
    Fixed(Arc<Config>),
    /// A file that is read again for every client, as rsyncd does.
    File { path: PathBuf, overrides: Vec<String>, last: Mutex<Last> },
}

/// The last configuration that made sense, and what was last wrong with the file.
struct Last {
    good: Arc<Config>,
    problem: Option<ConfigErrors>,
}

impl DaemonSite {
    /// Serves a configuration that never changes.
    pub fn fixed(config: Arc<Config>) -> Self {
        Self::new(Source::Fixed(config))
    }

    /// Serves a file. It is read again for every client; while it makes no sense, the last
    /// configuration that did stays in force, and the log says why.
    pub fn following(path: PathBuf, overrides: Vec<String>, config: Arc<Config>) -> Self {
        let last = Mutex::new(Last { good: config, problem: None });
        Self::new(Source::File { path, overrides, last })
    }

    fn new(source: Source) -> Self {
        let (counters, writers) = (Counters::default(), Writers::default());
        Self { source, counters, writers, names: Box::new(Resolver) }
    }

    /// Uses another resolver.
    #[must_use]
    pub fn with_names(mut self, names: Box<dyn Names + Send + Sync>) -> Self {
        self.names = names;
        self
    }

    fn config(&self) -> Arc<Config> {
        let (path, overrides, last) = match &self.source {
            Source::Fixed(config) => return Arc::clone(config),
            Source::File { path, overrides, last } => (path, overrides, last),
        };
        let loaded = config::load(path, overrides);
        let mut last = unpoisoned(last);
        match loaded {
            Ok(config) => {
                if last.problem.take().is_some() {
                    tracing::info!(
                        event = "config.good_again",
                        "the configuration makes sense again"
                    );
                }
                last.good = Arc::new(config);
            }
            Err(problem) => {
                if last.problem.as_ref() != Some(&problem) {
                    for error in &problem.0 {
                        tracing::error!(event = "config.bad", %error, "bad configuration, the last good one stays in force");
                    }
                    last.problem = Some(problem);
                }
            }
        }
        Arc::clone(&last.good)
    }

    /// Reads the file now, as for a client.
    ///
    /// # Errors
    /// What is wrong with it; the last configuration that made sense stays in force.
    pub fn reload(&self) -> Result<Arc<Config>, ConfigErrors> {
        let (config, problem) = self.standing();
        problem.map_or(Ok(config), Err)
    }

    /// The configuration in force, and what is wrong with the file as it is now.
    pub fn standing(&self) -> (Arc<Config>, Option<ConfigErrors>) {
        let config = self.config();
        let problem = match &self.source {
            Source::Fixed(_) => None,
            Source::File { last, .. } => unpoisoned(last).problem.clone(),
        };
        (config, problem)
    }

    /// How many modules there are in the configuration in force.
    pub fn module_count(&self) -> usize {
        match &self.source {
            Source::Fixed(config) => config.modules.len(),
            Source::File { last, .. } => unpoisoned(last).good.modules.len(),
        }
    }

    /// The host check of one module.
    fn admit(&self, module: &Module, client: &mut Client) -> Result<bool, String> {
        let rules = &module.rules;
        let allow = rules.hosts_allow.as_deref().map(|text| client.expand(text));
        let deny = rules.hosts_deny.as_deref().map(|text| client.expand(text));
        let lists = Lists {
            allow: allow.as_deref(),
            deny: deny.as_deref(),
            reverse_lookup: rules.reverse_lookup,
            forward_lookup: rules.forward_lookup,
        };
        let verdict = check_client(&lists, client.address, &*self.names)?;
        client.host_name = verdict.host_name;
        Ok(verdict.allowed)
    }

    /// Looks the client's name up, if anything of the module asks for it.
    fn name_client(&self, module: &Module, client: &mut Client) {
        let rules = &module.rules;
        let texts = [&rules.path, &rules.uid, &rules.gid, &rules.secrets_file, &rules.temp_dir];
        let wanted = rules.pre_xfer_exec.is_some()
            || rules.post_xfer_exec.is_some()
            || texts.iter().any(|t| t.as_ref().is_some_and(|t| t.contains("%RSYNC_HOST_NAME%")));
        if wanted && rules.reverse_lookup && client.host_name.is_none() {
            client.host_name = client.address.and_then(|address| self.names.name_of(address));
        }
    }
}

impl Site for DaemonSite {
    fn motd(&self) -> Option<Vec<u8>> {
        let config = self.config();
        let file = config::expand(config.global.motd_file.as_deref()?, &config::environment);
        match read_motd(&bascule_platform::paths::native(&file)) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::warn!(event = "motd.unreadable", file, %error, "cannot read the motd file");
                None
            }
        }
    }

    fn modules(&self, peer: &Peer) -> Vec<ModuleLine> {
        let address = Client { address: peer.address, ..Client::default() }.address_text();
        tracing::info!(event = "modules.listed", address, "modules listed");
        let config = self.config();
        let listed = config.modules.iter().filter(|module| module.rules.list);
        listed
            .map(|module| ModuleLine {
                name: module.name.clone(),
                comment: module.rules.comment.as_deref().map_or_else(String::new, |comment| {
                    config::expand(comment, &config::environment)
                        .chars()
                        .filter(|c| !c.is_control())
                        .collect()
                }),
            })
            .collect()
    }

    fn open(&self, name: &[u8], peer: &Peer) -> Result<Box<dyn OpenModule>, Refusal> {
        let config = self.config();
        let shown = shown(name);
        let mut client = Client {
            module: String::from_utf8_lossy(name).into_owned(),
            address: peer.address,
            number: session_number(),
            ..Client::default()
        };
        let address = client.address_text();
        let unknown = || Refusal(format!("Unknown module '{shown}'"));
        let Some(module) = config.module(name) else {
            tracing::warn!(
                event = "module.unknown",
                module = shown,
                address,
                "unknown module asked for"
            );
            return Err(unknown());
        };
        let allowed = self.admit(module, &mut client).unwrap_or_else(|reason| {
            tracing::error!(
                event = "module.hosts_unusable",
                module = shown,
                reason,
                "hosts allow or hosts deny makes no sense"
            );
            false
        });
        let host = client.host_text();
        if !allowed {
            tracing::warn!(event = "host.denied", module = shown, host, address, "host denied");
            if !module.rules.list {
                return Err(unknown());
            }
            return Err(Refusal(format!("access denied to {shown} from {host} ({address})")));
        }
        if module.rules.require_tls && !peer.is_secure {
            tracing::warn!(
                event = "tls.required",
                module = shown,
                host,
                address,
                "module requires TLS"
            );
            return Err(Refusal(format!(
                "module {shown} requires TLS: connect with rsyncs:// or rsync-ssl"
            )));
        }
        let limit = module.rules.max_connections;
        let Some(claim) = self.counters.claim(&module.name, limit) else {
            tracing::warn!(
                event = "module.full",
                module = shown,
                address,
                limit,
                "max connections reached"
            );
            return Err(Refusal(format!("max connections ({limit}) reached -- try again later")));
        };
        self.name_client(module, &mut client);
        let beside = Beside { writers: self.writers.clone(), line: peer.line.clone() };
        let mut module = DaemonModule::new(Arc::clone(module), client, claim, beside);
        if let Some(user) = &peer.certificate_user {
            module.login_by_certificate(user);
        }
        Ok(Box::new(module))
    }
}

/// A client's module name, fit for a text.
fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 100;
    let mut text = bascule_wire::shown(&name[..name.len().min(LONGEST)]).to_string();
    if name.len() > LONGEST {
        text.push('…');
    }
    text
}

fn read_motd(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_MOTD).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> DaemonSite {
        let config = config::parse(text.as_bytes(), "f", &[]).expect("a good configuration");
        DaemonSite::fixed(Arc::new(config))
    }

    fn refusal(site: &DaemonSite, name: &str, address: &str) -> Option<String> {
        let peer = Peer { address: address.parse().ok(), ..Peer::default() };
        site.open(name.as_bytes(), &peer).err().map(|Refusal(text)| text)
    }

    #[test]
    fn refusals_have_rsyncds_texts() {
        let site = site(
            "[open]\npath=/x\n\
             [shut]\npath=/x\nhosts allow = 10.0.0.1\n\
             [hidden]\npath=/x\nhosts allow = 10.0.0.1\nlist = no\n\
             [off]\npath=/x\nmax connections = -1\n",
        );
        for (name, address, text) in [
            ("open", "192.0.2.1", None),
            ("Open", "192.0.2.1", Some("Unknown module 'Open'")),
            ("a\nb\u{1b}", "192.0.2.1", Some("Unknown module 'a\\nb\\x1b'")),
            ("shut", "10.0.0.1", None),
            ("shut", "::ffff:10.0.0.1", None),
            ("shut", "192.0.2.1", Some("access denied to shut from UNDETERMINED (192.0.2.1)")),
            ("hidden", "192.0.2.1", Some("Unknown module 'hidden'")),
            ("hidden", "10.0.0.1", None),
            ("off", "10.0.0.1", Some("max connections (-1) reached -- try again later")),
        ] {
            assert_eq!(refusal(&site, name, address).as_deref(), text, "{name} {address}");
        }
    }

    #[test]
    fn a_list_that_makes_no_sense_after_expansion_admits_nobody() {
        let site = site("[m]\npath=/x\nhosts deny = %RSYNC_MODULE_NAME%/8\n");
        let text = refusal(&site, "m", "192.0.2.1").expect("refused");
        assert!(text.starts_with("access denied to m"), "{text}");
    }

    #[test]
    fn listing_leaves_out_what_is_not_listed() {
        let site = site("[a]\npath=/x\ncomment = the \u{7f}first\n[b]\npath=/x\nlist=no\n");
        let lines = site.modules(&Peer::default());
        assert_eq!(lines, [ModuleLine { name: "a".to_owned(), comment: "the first".to_owned() }]);
    }

    #[test]
    fn connections_count_until_they_end() {
        let site = site("[m]\npath=/x\nmax connections = 2\n");
        let peer = Peer::default();
        let open = || site.open(b"m", &peer).map_err(|Refusal(text)| text);
        let first = open().expect("one");
        let _second = open().expect("two");
        assert_eq!(open().err().as_deref(), Some("max connections (2) reached -- try again later"));
        drop(first);
        assert!(open().is_ok());
    }

    #[test]
    fn the_file_is_read_for_every_client_and_the_last_good_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        let write = |text: &str| std::fs::write(&path, text).expect("write");
        write("[a]\npath=/x\n");
        let config = Arc::new(config::load(&path, &[]).expect("good"));
        let site = DaemonSite::following(path.clone(), Vec::new(), config);
        assert_eq!(refusal(&site, "a", "::1"), None);
        write("[b]\npath=/x\n");
        assert_eq!(refusal(&site, "b", "::1"), None);
        assert!(refusal(&site, "a", "::1").is_some());
        write("[c]\npath=/x\nbogus=1\n");
        assert_eq!(refusal(&site, "b", "::1"), None);
        assert!(refusal(&site, "c", "::1").is_some());
    }

    #[test]
    fn the_message_of_the_day_is_read_each_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("motd");
        let site = site(&format!("motd file = {}\n", path.display()));
        assert_eq!(site.motd(), None);
        std::fs::write(&path, "hello\n").expect("write");
        assert_eq!(site.motd().as_deref(), Some(&b"hello\n"[..]));
    }
}
