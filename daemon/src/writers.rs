//! Clients that write, and those that have gone: what a killed client has sent may still be on its way
//! to the disk when its next run begins, and would put older versions in the place of newer ones.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_platform::hangup::has_hung_up;
use bascule_session::tcp::Line;

use crate::claims::unpoisoned;

/// How long a client waits for what another has left.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits for another of the same address where the system does not say who has gone.
const PATIENCE_UNSEEN: Duration = Duration::from_secs(5);
/// How often it is looked whether another has gone in the meantime.
const LOOK: Duration = Duration::from_millis(100);

/// The clients that write at this moment.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    writing: Mutex<Vec<Entry>>,
    ended: Condvar,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    address: Option<IpAddr>,
    line: Arc<Line>,
}

/// Whether the other side of a connection has gone, as far as the system says.
type Sees = fn(&Line) -> Option<bool>;

/// A client that writes, until it is dropped: nothing of it is on its way any more.
#[derive(Debug)]
pub struct Writing {
    writers: Writers,
    line: Arc<Line>,
}

/// What a client has left is still being written.
#[derive(Debug)]
pub struct StillWriting;

impl Writers {
    /// A client of `address` by the connection `line` begins to write below `path`. It waits for those
    /// that have gone and whose data are still being written there, and calls `waits` before that. A
    /// client without a connection of its own, which nobody would see go, gets `None`.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn enter(
        &self,
        path: &Path,
        (address, line): (Option<IpAddr>, Option<&Arc<Line>>),
        waits: impl FnOnce(),
    ) -> Result<Option<Writing>, StillWriting> {
        let limits = (PATIENCE, PATIENCE_UNSEEN);
        self.enter_within(path, (address, line), waits, has_hung_up, limits)
    }

    fn enter_within(
        &self,
        path: &Path,
        (address, line): (Option<IpAddr>, Option<&Arc<Line>>),
        waits: impl FnOnce(),
        sees: Sees,
        (patience, unseen): (Duration, Duration),
    ) -> Result<Option<Writing>, StillWriting> {
        let began = Instant::now();
        let mut waits = Some(waits);
        let mut writing = unpoisoned(&self.0.writing);
        // Before it waits: who comes later waits for this one too, should it go meanwhile.
        if let Some(line) = line {
            writing.push(Entry { path: path.to_owned(), address, line: Arc::clone(line) });
        }
        let is_own = |other: &Entry| line.is_some_and(|line| Arc::ptr_eq(line, &other.line));
        let has_gone = |other: &Entry| {
            (path.starts_with(&other.path) || other.path.starts_with(path))
                && sees(&other.line)
                    .unwrap_or_else(|| other.address == address && began.elapsed() < unseen)
        };
        while writing.iter().take_while(|other| !is_own(other)).any(has_gone) {
            if let Some(waits) = waits.take() {
                waits();
            }
            if began.elapsed() >= patience {
                writing.retain(|other| !is_own(other));
                self.0.ended.notify_all();
                return Err(StillWriting);
            }
            let woken = self.0.ended.wait_timeout(writing, LOOK);
            writing = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(writing);
        let own = |line: &Arc<Line>| Writing { writers: self.clone(), line: Arc::clone(line) };
        Ok(line.map(own))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let own = &self.line;
        unpoisoned(&self.writers.0.writing).retain(|entry| !Arc::ptr_eq(&entry.line, own));
        self.writers.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection.
    async fn connection() -> (std::net::TcpStream, Arc<Line>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let far = std::net::TcpStream::connect(address).expect("connected");
        let (near, _) = listener.accept().await.expect("accepted");
        (far, Arc::new(Line::of(&near).expect("a handle")))
    }

    fn enter(
        writers: &Writers,
        path: &str,
        line: &Arc<Line>,
        sees: Sees,
    ) -> (bool, Option<Writing>) {
        let mut waited = false;
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let entered = writers.enter_within(
            Path::new(path),
            (here, Some(line)),
            || waited = true,
            sees,
            (Duration::from_millis(300), Duration::from_millis(100)),
        );
        (waited, entered.ok().flatten())
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_comes_waits_for_what_one_that_has_gone_has_left() {
        let sees: Sees = has_hung_up;
        let writers = Writers::default();
        let ((mut one, line_of_one), (_two, line_of_two)) =
            (connection().await, connection().await);
        let (waited, first) = enter(&writers, "/mail", &line_of_one, sees);
        assert!(!waited && first.is_some());
        // Beside each other, while both are there.
        std::io::Write::write_all(&mut one, b"something").expect("sent");
        let (waited, second) = enter(&writers, "/mail/joe", &line_of_two, sees);
        assert!(!waited && second.is_some());
        drop(second);
        drop(one);
        let (waited, refused) = enter(&writers, "/mail/joe", &line_of_two, sees);
        assert!(waited && refused.is_none(), "too long");
        let (waited, elsewhere) = enter(&writers, "/mailbox", &line_of_two, sees);
        assert!(!waited && elsewhere.is_some());
        drop(elsewhere);
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        let (waited, second) = enter(&writers, "/", &line_of_two, sees);
        assert!(waited && second.is_some(), "it has ended");
        ends.join().expect("it ended");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_goes_while_it_waits_is_waited_for_too() {
        let sees: Sees = has_hung_up;
        let writers = Writers::default();
        let ((one, line_of_one), (two, line_of_two)) = (connection().await, connection().await);
        let (_three, line_of_three) = connection().await;
        let (_, first) = enter(&writers, "/mail", &line_of_one, sees);
        drop((one, two));
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        let (waited, second) = enter(&writers, "/mail", &line_of_two, sees);
        assert!(waited && second.is_some(), "in its turn");
        ends.join().expect("it ended");
        let (waited, third) = enter(&writers, "/mail", &line_of_three, sees);
        assert!(waited && third.is_none(), "too long");
        drop(second);
        let (waited, third) = enter(&writers, "/mail", &line_of_three, sees);
        assert!(!waited && third.is_some());
    }

    #[tokio::test]
    async fn where_nobody_sees_who_has_gone_it_waits_a_while_for_its_own_address() {
        let writers = Writers::default();
        let ((_one, line_of_one), (_two, line_of_two)) = (connection().await, connection().await);
        let (waited, first) = enter(&writers, "/mail", &line_of_one, |_| None);
        assert!(!waited && first.is_some());
        let (waited, second) = enter(&writers, "/mail", &line_of_two, |_| None);
        assert!(waited && second.is_some(), "it may be there still");
        drop((first, second));
        let (waited, third) = enter(&writers, "/mail", &line_of_two, |_| None);
        assert!(!waited && third.is_some());
    }
}
