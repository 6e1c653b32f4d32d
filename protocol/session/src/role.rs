//! Runs one role of the engine over an opened connection, on threads of its own, and ends the
//! conversation properly (§16).

use std::io;
use std::sync::Arc;

use bascule_engine::ledger::ListLimits;
use bascule_engine::link::{WireReader, WireWriter};
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{ExitCode, Fatal, Report};
use bascule_engine::run::{Run, Side};
use bascule_engine::stop::Stop;
use bascule_wire::message::Message;
use bascule_wire::{Negotiated, Options};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::pace::Pace;
use crate::pump::Pump;

/// What every role needs.
pub(crate) struct Conversation<S> {
    pub(crate) stream: S,
    /// What the opening read too far.
    pub(crate) leftover: BytesMut,
    /// Bytes that the opening read and wrote.
    pub(crate) opening: (u64, u64),
    pub(crate) negotiated: Negotiated,
    pub(crate) options: Options,
    pub(crate) pace: Pace,
    pub(crate) side: Side,
    pub(crate) list_limits: ListLimits,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) stop: Stop,
    /// Confines the thread of the engine, and those that it starts.
    pub(crate) enter_thread: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
}

/// What a role does: blocking work with the engine.
pub(crate) type Work = Box<dyn FnOnce(&Arc<Run>, &mut WireReader) -> Result<(), Fatal> + Send>;

impl<S: AsyncRead + AsyncWrite + Send + 'static> Conversation<S> {
    /// Runs `work` and ends the conversation.
    ///
    /// # Errors
    /// What ended the run early, on either side.
    pub(crate) async fn run(self, work: Work) -> (Report, Result<(), Fatal>) {
        let Self {
            stream, leftover, opening, negotiated, options, pace, side, observer, stop, ..
        } = self;
        let (pump, inlet, outlet) = Pump::start(stream, options.timeout, pace, &stop);
        pump.traffic.add(opening.0, opening.1);
        let writer = WireWriter::new(outlet);
        let limits = self.list_limits;
        let run = Arc::new(Run::new(negotiated, options, side, limits, observer, stop, writer));
        run.on(&Event::Agreed(&run.negotiated));
        pump.discard_after(&run.abandon);
        let traffic = Arc::clone(&pump.traffic);
        let adopt = Arc::clone(&pump.traffic);
        run.on_io_timeout(move |seconds| adopt.adopt_timeout(seconds));
        let mut reader = WireReader::new(inlet, leftover, Box::new(|_| Ok(())));
        let threads_run = Arc::clone(&run);
        let enter_thread = self.enter_thread;
        let (ended, end) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new().name("engine".into()).spawn(move || {
            let entered = enter_thread.map_or(Ok(()), |enter| enter());
            let outcome = entered
                .map_err(|error| {
                    Fatal::new(
                        ExitCode::FileIo,
                        format!("the session could not confine itself to the module: {error}"),
                    )
                })
                .and_then(|()| work(&threads_run, &mut reader));
            let outcome = conclude(&threads_run, &mut reader, outcome);
            // The task that waits may have been cancelled with its connection.
            let _ = ended.send(outcome);
        });
        let outcome = match spawned {
            Ok(_) => end.await.unwrap_or_else(|_| {
                Err(Fatal::new(ExitCode::Protocol, "the engine failed: this is a fault of Bascule"))
            }),
            Err(error) => {
                Err(Fatal::new(ExitCode::Memory, format!("no thread for the engine: {error}")))
            }
        };
        let mut report = run.report();
        // The writer ends when the last handle on it goes.
        drop(run);
        pump.finish().await;
        report.counters.wire_read = traffic.read();
        report.counters.wire_written = traffic.written();
        (report, outcome)
    }
}

/// Ends the conversation: both ends learn the code of a failed run (§16).
fn conclude(
    run: &Arc<Run>,
    reader: &mut WireReader,
    outcome: Result<(), Fatal>,
) -> Result<(), Fatal> {
    let Err(fatal) = outcome else { return Ok(()) };
    let writer = &run.writer;
    let error_exit = run.negotiated.version.has_error_exit();
    if run.stop.is_stopped() {
        return Err(fatal);
    }
    if fatal.is_connection_lost() {
        // What has arrived already may hold the reason.
        let heard = Arc::clone(run);
        reader.set_sink(Box::new(move |message| heard.common_message(message).map(drop)));
        reader.drop_flush();
        return match reader.drain() {
            Err(reason) if reason.from_peer => Err(reason),
            _ => Err(fatal),
        };
    }
    // The peer may be stuck writing to us: what comes is read past, so that it takes what follows.
    run.abandon.stop();
    if fatal.from_peer {
        if error_exit {
            let _ = writer.message(&Message::ErrorExit(None));
        }
    } else {
        if run.side == Side::Server {
            let text = Bytes::from(format!("bascule: {fatal}\n"));
            let _ = writer.message(&Message::Error(text));
        }
        if error_exit && fatal.exit != ExitCode::Interrupted {
            let _ = writer.message(&Message::ErrorExit(Some(fatal.exit.code().into())));
        }
    }
    // The run has failed already, whether or not the peer hears of it.
    let _ = writer.flush();
    Err(fatal)
}
