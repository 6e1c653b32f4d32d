//! Figures for Prometheus and a word on the health, over HTTP.
//!
//! [`endpoint`] answers `GET /metrics` and `GET /healthz`, [`text`] writes the figures in the form
//! that was asked for, [`figures`] are handy to make. There is no authentication and no TLS: the
//! address should be one of the loopback interface.

pub mod endpoint;
pub mod figures;
pub mod text;

use std::sync::Arc;

pub use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

/// What an endpoint tells. Both are called on one thread of their own, one call after the other,
/// and may look at disks.
#[derive(Clone)]
pub struct Sources {
    /// The figures of this moment.
    pub figures: Arc<dyn Fn() -> Registry + Send + Sync>,
    /// How the program is.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
}

/// How a program is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// What is wrong, each with what to do; nothing is if this is empty.
    pub problems: Vec<String>,
    /// What else is worth knowing.
    pub facts: Map<String, Value>,
}

impl Health {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// The document that tells it: `status` is `ok` or `failing`.
    pub fn document(&self) -> Value {
        let mut document = self.facts.clone();
        let status = if self.is_good() { "ok" } else { "failing" };
        document.insert("status".into(), status.into());
        document.insert("problems".into(), self.problems.clone().into());
        Value::Object(document)
    }
}
