//! A conversation between honest programs, recorded to be played again and cut anywhere.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::talk::PATIENCE;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// The daemon.
    Daemon,
}

/// What both ends said, in turns.
#[derive(Debug, Clone, Default)]
pub struct Recording(Vec<(Speaker, Vec<u8>)>);

/// How long a player waits for what the other end said in the recording: it may say less now.
const PAUSE: Duration = Duration::from_millis(500);

impl Recording {
    /// Records the next client of the port that `run` is told, which is served by the daemon at
    /// `daemon`.
    ///
    /// # Panics
    /// When the connections cannot be made.
    pub fn of(daemon: u16, run: impl FnOnce(u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let tape = Arc::new(Mutex::new(Self::default()));
        let writing = Arc::clone(&tape);
        let relay = thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            let server = TcpStream::connect(("127.0.0.1", daemon)).expect("a daemon");
            let ends = [&client, &server].map(|end| end.try_clone().expect("a handle"));
            let (from_client, from_server) = (ends, [server, client]);
            thread::scope(|scope| {
                for (speaker, [from, to]) in
                    [(Speaker::Client, from_client), (Speaker::Daemon, from_server)]
                {
                    let writing = &writing;
                    // Whoever hangs up ends the recording.
                    scope.spawn(move || drop(copy(speaker, from, to, writing)));
                }
            });
        });
        run(port);
        relay.join().expect("no panic");
        let recorded = tape.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.clone()
    }

    /// Bytes that one end said.
    pub fn len(&self, speaker: Speaker) -> usize {
        self.0.iter().filter(|(who, _)| *who == speaker).map(|(_, said)| said.len()).sum()
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says on `stream` the first `budget` bytes of what one end said, each when its turn has come,
    /// and hangs up; then waits until the other end has.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn play(&self, speaker: Speaker, budget: usize, stream: TcpStream) -> io::Result<()> {
        let said = self.say(speaker, budget, &stream);
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        io::copy(&mut &stream, &mut io::sink())?;
        said
    }

    fn say(&self, speaker: Speaker, mut budget: usize, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE))?;
        for (who, said) in &self.0 {
            if *who == speaker {
                let now = said.len().min(budget);
                stream.write_all(&said[..now])?;
                budget -= now;
                if now < said.len() {
                    return Ok(());
                }
            } else if let Err(error) = stream.read_exact(&mut vec![0; said.len()])
                && error.kind() != io::ErrorKind::WouldBlock
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn note(&mut self, speaker: Speaker, said: &[u8]) {
        match self.0.last_mut() {
            Some((last, before)) if *last == speaker => before.extend_from_slice(said),
            _ => self.0.push((speaker, said.to_vec())),
        }
    }
}

fn copy(
    speaker: Speaker,
    mut from: TcpStream,
    mut to: TcpStream,
    tape: &Mutex<Recording>,
) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return to.shutdown(Shutdown::Write);
        }
        // Noted before it is passed on: the answer comes after it.
        tape.lock().unwrap_or_else(PoisonError::into_inner).note(speaker, &piece[..read]);
        to.write_all(&piece[..read])?;
    }
}
