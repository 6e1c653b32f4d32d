//! The file list: what an entry is, how it travels, in which order it is indexed (§9, §10).

pub mod decode;
pub mod encode;
pub mod entry;
pub mod flags;
pub mod ids;
pub mod order;
pub mod segment;

pub use decode::{EntryDecoder, ListItem};
pub use encode::EntryEncoder;
pub use entry::{Device, Entry, Extra, HardLink, Kind};
pub use ids::{IdList, IdListDecoder};
pub use segment::{DirTable, Lists, Segment};

#[cfg(test)]
mod tests;
