//! Where sealed records go, one file per kind of receiver.

pub(crate) mod file;
