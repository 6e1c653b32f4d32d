//! The digests of `-c` in what the walker has found.

use std::collections::HashSet;
use std::io::ErrorKind;

use bascule_wire::flist::Kind;

use super::{Found, Walker};
use crate::digest;
use crate::outcome::Fatal;
use crate::path::RelPath;

impl Walker {
    /// Adds the digests of `-c` to what was found from `first` on, all of one argument.
    ///
    /// A file that cannot be read is left out. Where nothing will be asked for it stays, with a
    /// digest of zeros, as rsync's sender has it: who compares learns that it is there.
    pub(super) fn add_digests(
        &self,
        arg: usize,
        found: &mut Vec<Found>,
        first: usize,
    ) -> Result<(), Fatal> {
        let options = &self.run.options;
        if !options.checksum {
            return Ok(());
        }
        let mut places = Vec::new();
        let mut files = Vec::new();
        for (at, found) in found.iter().enumerate().skip(first) {
            if let (Kind::File, Ok(path)) = (found.entry.kind(), RelPath::of_entry(&found.entry)) {
                places.push(at);
                files.push((path, found.entry.size));
            }
        }
        let go_on = || self.run.check_stop().is_ok();
        let digests = digest::of_files(&*self.args[arg].tree, &self.strong, &files, &go_on);
        self.run.check_stop()?;
        let only_lists = options.dry_run || options.list_only;
        // No file has it, so what has it is asked for.
        let none = || vec![0; self.run.negotiated.list_checksum.digest_len()].into();
        let mut left_out = HashSet::new();
        for (at, digest) in places.into_iter().zip(digests) {
            let entry = &mut found[at].entry;
            let digest = match digest {
                Ok(Some(digest)) => digest.as_ref().into(),
                // Serving it decides whether the snapshot will do.
                Ok(None) => none(),
                Err(error) => {
                    self.missed(&entry.path(), &error)?;
                    if !only_lists || error.kind() == ErrorKind::NotFound {
                        left_out.insert(at);
                    }
                    none()
                }
            };
            entry.extra.get_or_insert_default().checksum = Some(digest);
        }
        let mut places = 0..;
        found.retain(|_| places.next().is_none_or(|at| !left_out.contains(&at)));
        Ok(())
    }
}
