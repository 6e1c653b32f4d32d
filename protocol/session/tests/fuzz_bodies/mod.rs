//! The bodies of the fuzz targets of the two whole sessions, called by libFuzzer and by
//! `cargo test` alike.
//!
//! An input is a byte that chooses what this end wants, a byte that chooses how the rest
//! comes, and all that the peer ever says. Whatever that is, the session ends when it ends, no
//! thread panics, and nothing outside of the module or the destination changes.

pub(crate) mod ends;
mod script;
pub(crate) mod world;

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use bascule_session::error::SessionError;
use tokio::runtime::Runtime;

use script::Script;
use world::World;

/// A target: its name, which is also that of its corpus, and its body.
pub(crate) type Target = (&'static str, fn(&[u8]) -> Result<(), SessionError>);

/// Both targets.
pub(crate) const TARGETS: [Target; 2] = [("server", server), ("client", client)];

/// A session that still runs after this has not noticed that its peer is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the body of one target.
#[allow(dead_code, reason = "the tests run both")]
pub(crate) fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    // Most peers are wrong: that is no finding.
    let _ = body(input);
}

/// A daemon serves a peer that says `input`.
fn server(input: &[u8]) -> Result<(), SessionError> {
    let [_, pace, said @ ..] = input else { return Ok(()) };
    if said.windows(3).any(|part| part == b"bwl") {
        // A peer may ask to be served slowly; there is nothing in it but waiting.
        return Ok(());
    }
    let world = World::new();
    let served = ended(ends::serve(&world, Script::new(said, *pace)));
    world.assert_safe();
    sound(served)
}

/// An agent pushes to or pulls from a peer that says `input`.
fn client(input: &[u8]) -> Result<(), SessionError> {
    let [mode, pace, said @ ..] = input else { return Ok(()) };
    let world = World::new();
    let outcome = ended(ends::transfer(&world, *mode, Script::new(said, *pace)));
    world.assert_safe();
    sound(outcome)
}

/// The outcome, unless a thread panicked.
fn sound(outcome: Result<(), SessionError>) -> Result<(), SessionError> {
    if let Err(error) = &outcome {
        // The whole text: a peer may well say a part of it.
        let failed = error
            .text
            .strip_prefix("the ")
            .and_then(|text| text.strip_suffix(" failed: this is a fault of Bascule"));
        assert!(failed.is_none_or(|part| part.contains(' ')), "{error}");
    }
    outcome
}

/// Runs a session to its end.
pub(crate) fn ended<T>(session: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
        });
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, session).await })
            .expect("a session ends with its peer")
    })
}
