//! What a running service hears from its manager and says to it.

use std::io;
use std::sync::Arc;

/// What the service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again.
    Reload,
    /// End.
    Stop,
}

/// What the manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    /// The service works; a line for people.
    Ready(&'a str),
    /// It reads its configuration; [`Word::Ready`] follows.
    Reloading,
    /// A line for people.
    Status(&'a str),
    /// It ends.
    Stopping(&'a str),
}

/// The way to the manager.
pub(super) trait Link: Send + Sync {
    fn say(&self, word: Word<'_>);
}

/// The connection of a running service to its manager, or to whoever sends it signals.
pub struct Control {
    orders: Orders,
    link: Arc<dyn Link>,
}

enum Orders {
    #[cfg(unix)]
    Signals(crate::signals::Signals),
    #[cfg(windows)]
    Console,
    #[cfg(windows)]
    Manager(tokio::sync::mpsc::UnboundedReceiver<Order>),
}

impl Control {
    /// Listens to signals, and speaks to systemd if that started this process: SIGTERM and Ctrl-C
    /// end it; SIGHUP reloads if it `reloads` and there is no terminal whose end it could tell of,
    /// else it ends it too. On Windows Ctrl-C alone.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn by_signals(reloads: bool) -> io::Result<Self> {
        #[cfg(unix)]
        {
            use std::io::IsTerminal as _;
            let terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
            let orders = Orders::Signals(crate::signals::Signals::catch(reloads && !terminal)?);
            Ok(Self { orders, link: super::systemd::link() })
        }
        #[cfg(windows)]
        {
            let _ = reloads;
            Ok(Self { orders: Orders::Console, link: Arc::new(Nobody) })
        }
    }

    /// Listens to the Service Control Manager.
    #[cfg(windows)]
    pub(super) fn by_manager(
        orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
        link: Arc<dyn Link>,
    ) -> Self {
        Self { orders: Orders::Manager(orders), link }
    }

    /// Waits for the next order.
    ///
    /// # Errors
    /// When none can come any more.
    pub async fn order(&mut self) -> io::Result<Order> {
        match &mut self.orders {
            #[cfg(unix)]
            Orders::Signals(signals) => signals.next().await,
            #[cfg(windows)]
            Orders::Console => tokio::signal::ctrl_c().await.map(|()| Order::Stop),
            #[cfg(windows)]
            Orders::Manager(orders) => Ok(orders.recv().await.unwrap_or(Order::Stop)),
        }
    }

    /// Tells the manager.
    pub fn say(&self, word: Word<'_>) {
        self.link.say(word);
    }
}

/// Nobody listens.
pub(super) struct Nobody;

impl Link for Nobody {
    fn say(&self, _word: Word<'_>) {}
}
