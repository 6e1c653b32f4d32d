//! A tree of this machine as one end: the engine's walker, and where its trouble goes.

use std::sync::Arc;

use bascule_engine::filter::{FilterSet, FilterSide};
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{Fatal, Severity};
use bascule_engine::run::Run;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::walk::{Found, Rules, SourceArg, Walker};
use bascule_wire::Options;
use bascule_wire::filter::Rule;

use super::context::Context;
use super::findings::{Aspect, Difference, End};

/// Lists one end, one directory at a time.
pub struct Tree {
    walker: Walker,
    end: End,
    context: Arc<Context>,
}

impl Tree {
    /// The tree of `arg`, as `end`.
    ///
    /// # Errors
    /// For a filter rule that is not carried out.
    pub fn new(
        context: &Arc<Context>,
        end: End,
        arg: SourceArg,
        options: &Options,
        rules: &[Rule],
    ) -> Result<Self, Fatal> {
        let trouble = Trouble { context: Arc::clone(context), end };
        // Contents are the readers' business, not the walker's.
        let options = Options { checksum: false, ..options.clone() };
        let filters = FilterSet::new(rules, FilterSide::Sender, &options)?;
        let run = Run::alone(options, Arc::new(trouble), context.stop.clone());
        let rules = Rules {
            filters: Arc::new(filters),
            module: None,
            chmod: None,
            symlink_targets: SymlinkTargets::Verbatim,
        };
        let walker = Walker::new(Arc::new(run), vec![arg], rules);
        Ok(Self { walker, end, context: Arc::clone(context) })
    }

    /// Which end it is.
    pub fn end(&self) -> End {
        self.end
    }

    /// The top, with its contents if those were meant.
    ///
    /// # Errors
    /// When the verification was interrupted.
    pub fn first(&mut self) -> Result<Vec<Found>, Fatal> {
        let found = self.walker.first()?;
        self.count(&found);
        Ok(found)
    }

    /// What is directly in a directory.
    ///
    /// # Errors
    /// When the verification was interrupted.
    pub fn contents(&mut self, dir: &Found) -> Result<Vec<Found>, Fatal> {
        let found = self.walker.contents(dir)?;
        self.count(&found);
        Ok(found)
    }

    fn count(&self, found: &[Found]) {
        for found in found {
            self.context.count(self.end, &found.entry);
        }
    }
}

/// Takes down what a walker could not read.
struct Trouble {
    context: Arc<Context>,
    end: End,
}

impl Observer for Trouble {
    fn on(&self, event: &Event<'_>) {
        let Event::Problem(problem) = event else { return };
        match problem.severity {
            Severity::Partial => self.context.unreadable(self.end, &problem.path, &problem.text),
            Severity::Vanished => self.context.findings.add(Difference {
                path: problem.path.clone(),
                aspects: vec![Aspect::InMotion],
                source: None,
                target: None,
                why: Some(problem.text.clone()),
            }),
            Severity::Warning | Severity::DeleteLimit => {
                self.context.findings.say(problem.to_string());
            }
        }
    }
}
