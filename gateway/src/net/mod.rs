//! Sockets, clock and metrics: everything that talks to the outside on behalf of `flow`.
//!
//! One worker per core, each a thread with its own single-threaded event loop and its own listening sockets
//! (`SO_REUSEPORT`); nothing on the path of the bytes is shared between workers (decision 23).
//! Nothing here knows the configuration file or the ledger: `app` hands in plain settings and takes
//! [`report::Report`]s out.

pub mod accept;
pub mod access;
pub mod admin;
pub mod allowances;
pub mod answers;
pub mod attention;
pub mod beats;
pub mod candidates;
pub mod clock;
pub mod control;
pub mod datagram;
pub mod dial;
pub mod dns;
pub mod edge;
pub mod egress;
pub mod flow_record;
pub mod header_lengths;
pub mod inherited;
pub mod local;
pub mod lookup;
mod marking;
pub mod meter;
pub mod nft;
pub mod notice;
pub mod overload;
pub mod own_addresses;
pub mod own_ends;
pub mod patience;
pub mod policy;
pub mod pool;
pub mod proxied;
pub mod relay;
pub mod report;
pub mod settings;
pub mod shared;
pub mod silence;
pub mod socket;
pub mod splice;
pub mod steered;
pub mod stream;
pub mod tcp_info;
pub mod transparent;
pub mod worker;
