//! How many clients each module has (`max connections`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many clients each module has. The numbers outlive a change of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<HashMap<String, i64>>>);

/// One client of a module, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    counters: Counters,
    module: String,
}

impl Counters {
    /// Counts one more client; `None` when `limit` is reached. 0 is no limit; nobody may enter
    /// when it is negative.
    pub fn claim(&self, module: &str, limit: i64) -> Option<Claim> {
        let mut counts = unpoisoned(&self.0);
        let count = counts.entry(module.to_owned()).or_default();
        if limit != 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(Claim { counters: self.clone(), module: module.to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut counts = unpoisoned(&self.counters.0);
        if let Some(count) = counts.get_mut(&self.module) {
            *count -= 1;
            if *count <= 0 {
                counts.remove(&self.module);
            }
        }
    }
}

/// The data of these locks are whole at any time, whatever happened to their holder.
pub(crate) fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
