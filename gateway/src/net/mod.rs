//! Sockets, clock and metrics: everything that talks to the outside on behalf of `flow`.
//!
//! One worker per core, each a thread with its own single-threaded event loop and its own listening sockets
//! (`SO_REUSEPORT`); nothing on the path of the bytes is shared between workers (decision 23).
//! Nothing here knows the configuration file or the ledger: `app` hands in plain settings and takes
//! [`node::report::Report`]s out.

pub mod admin;
pub mod dns;
pub mod edge;
pub mod ingress;
pub mod kernel;
pub mod lookup;
pub mod node;
pub mod radius;
pub mod sys;
pub mod tcp;
pub mod udp;
pub mod upstream;
