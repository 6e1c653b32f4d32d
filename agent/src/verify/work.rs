//! Runs a comparison between two trees of this machine, or between one and a daemon's.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, bail};
use bascule_engine::observe::{Observer, Silent};
use bascule_engine::outcome::{ExitCode, Fatal};
use bascule_engine::run::{IO_ERROR_GENERAL, Run};
use bascule_engine::walk::SourceArg;
use bascule_wire::Options;
use bascule_wire::filter::Rule;

use super::compare::Comparison;
use super::context::Context;
use super::ends::Side;
use super::findings::{Aspect, End};
use super::hash::Pool;
use super::judge::Judge;
use super::listener::{Listener, SecondLook, Survey};
use super::options::Verify;
use super::remote::Daemon;
use super::state::State;
use super::tree::Tree;

/// What is asked for, and what all parts of it need.
pub struct Work<'a> {
    /// The command line.
    pub cli: &'a Verify,
    /// What the threads share.
    pub context: Arc<Context>,
    /// What counts as the same.
    pub judge: Judge,
    /// What is listed.
    pub options: Options,
    /// Which names take part.
    pub rules: Vec<Rule>,
}

impl Work<'_> {
    /// Compares the two ends; gives what counted as the same in the end.
    ///
    /// # Errors
    /// When the command line makes no sense or this machine has no threads. The inner error ended
    /// the verification early.
    pub async fn compare(&self, sides: &[Side; 2]) -> anyhow::Result<Result<Judge, Fatal>> {
        let (daemon, listed, here) = match sides {
            [Side::Here { arg: source, .. }, Side::Here { arg: target, .. }] => {
                return self.two_trees(source, target).await;
            }
            [Side::There { remote, path }, Side::Here { arg, .. }] => {
                ((remote, path), End::Source, arg)
            }
            [Side::Here { arg, .. }, Side::There { remote, path }] => {
                ((remote, path), End::Target, arg)
            }
            _ => bail!("the source and the target cannot both be remote"),
        };
        let (remote, path) = daemon;
        let daemon = Daemon {
            remote,
            path,
            connection: &self.cli.connection,
            options: &self.options,
            rules: &self.rules,
            list_limits: self.cli.list_limits.limits(),
            context: &self.context,
        };
        self.with_daemon(&daemon, listed, here).await
    }

    /// Compares two trees of this machine.
    async fn two_trees(
        &self,
        source: &SourceArg,
        target: &SourceArg,
    ) -> anyhow::Result<Result<Judge, Fatal>> {
        let alone = Run::alone(Options::default(), Arc::new(Silent), self.context.stop.clone());
        self.context.agree(&alone.negotiated);
        let begun = self
            .tree(End::Source, source)
            .and_then(|listed| Ok((listed, self.begin(End::Target, target)?)));
        let (listed, comparison) = match begun {
            Ok(begun) => begun,
            Err(fatal) => return Ok(Err(fatal)),
        };
        let walking = tokio::task::spawn_blocking(move || walk(listed, comparison));
        Ok(walking.await.context("the comparison failed")?.map(|()| self.judge))
    }

    /// Compares a daemon's end with a tree of this machine.
    async fn with_daemon(
        &self,
        daemon: &Daemon<'_>,
        listed: End,
        here: &SourceArg,
    ) -> anyhow::Result<Result<Judge, Fatal>> {
        let context = &self.context;
        let comparison = match self.begin(listed.other(), here) {
            Ok(comparison) => comparison,
            Err(fatal) => return Ok(Err(fatal)),
        };
        let none = HashSet::new();
        let root = daemon.to_string();
        let spared = match self.survey(daemon, &root).await? {
            Ok(spared) => spared,
            Err(fatal) => return Ok(Err(fatal)),
        };
        let listener = Listener::new(Arc::clone(context), listed, root, comparison, spared.clone());
        let listener = Arc::new(listener);
        let observer = || -> Arc<dyn Observer> { Arc::<Listener>::clone(&listener) };
        let (mut report, mut outcome) =
            daemon.list(true, &spared, observer(), &context.stop).await?;
        if outcome.is_ok() && !spared.is_empty() {
            listener.hear_spared();
            let (more, ended) = daemon.list(false, &none, observer(), &context.stop).await?;
            report.partial |= more.partial;
            report.io_error |= more.io_error;
            outcome = ended;
        }
        let heard = listener.heard().and_then(|heard| outcome.map(|()| heard));
        let (comparison, entries) = match heard {
            Ok(heard) => heard,
            Err(fatal) => return Ok(Err(fatal)),
        };
        if entries == 0 {
            let texts = context.findings.sum().texts.join("; ");
            return Ok(Err(Fatal::new(
                ExitCode::FileSelection,
                format!("the daemon lists nothing at {}: {texts}", daemon.remote),
            )));
        }
        let judge = comparison.judge;
        let finishing = tokio::task::spawn_blocking(move || comparison.finish());
        if let Err(fatal) = finishing.await.context("the comparison failed")? {
            return Ok(Err(fatal));
        }
        if let Some(look) = SecondLook::at(context).map(Arc::new) {
            let observer: Arc<dyn Observer> = Arc::<SecondLook>::clone(&look);
            let (_, outcome) = daemon.list(false, &none, observer, &context.stop).await?;
            if let Err(fatal) = outcome {
                return Ok(Err(fatal));
            }
            look.conclude(context, listed);
        }
        let could_not_read = report.partial || report.io_error & IO_ERROR_GENERAL != 0;
        if could_not_read && !context.findings.sum().counts.contains_key(&Aspect::Unreadable) {
            let why = "the daemon could not read everything; see its messages";
            context.unreadable(listed, b"", why);
        }
        Ok(Ok(judge))
    }

    /// What the daemon need not read again, by the state of an interrupted verification.
    async fn survey(
        &self,
        daemon: &Daemon<'_>,
        root: &str,
    ) -> anyhow::Result<Result<HashSet<Vec<u8>>, Fatal>> {
        let context = &self.context;
        if context.state.as_ref().is_none_or(State::is_new) {
            return Ok(Ok(HashSet::new()));
        }
        let survey = Arc::new(Survey::new(Arc::clone(context), root.to_owned()));
        let observer: Arc<dyn Observer> = Arc::<Survey>::clone(&survey);
        let (_, outcome) = daemon.list(false, &HashSet::new(), observer, &context.stop).await?;
        Ok(outcome.map(|()| survey.spared()))
    }

    /// Begins a comparison with the held end.
    fn begin(&self, held: End, arg: &SourceArg) -> Result<Comparison, Fatal> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = self.cli.threads.map_or(processors, usize::from);
        let pool = Pool::start(&self.context, threads).map_err(|error| {
            Fatal::new(ExitCode::Memory, format!("no threads to read with: {error}"))
        })?;
        let held = self.tree(held, arg)?;
        Comparison::begin(Arc::clone(&self.context), held, self.judge, pool)
    }

    fn tree(&self, end: End, arg: &SourceArg) -> Result<Tree, Fatal> {
        Tree::new(&self.context, end, arg.clone(), &self.options, &self.rules)
    }
}

/// Lists a tree of this machine into a comparison.
fn walk(mut listed: Tree, mut comparison: Comparison) -> Result<(), Fatal> {
    let mut dirs = Vec::new();
    let mut next = Some(listed.first()?);
    while let Some(found) = next {
        for found in found {
            comparison.take(&found.entry, Some(&found.metadata))?;
            // The root's contents come with it.
            if found.entry.content_dir && !found.entry.is_root() {
                dirs.push(found);
            }
        }
        next = dirs.pop().map(|dir| listed.contents(&dir)).transpose()?;
    }
    comparison.finish()
}
