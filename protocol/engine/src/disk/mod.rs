//! A side of the transfer on a real disk, everything beneath one root descriptor.
