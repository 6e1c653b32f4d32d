//! Why a session ended early: the engine's [`Fatal`](bascule_engine::outcome::Fatal), with what the opening adds.

pub use bascule_engine::outcome::Fatal as SessionError;
