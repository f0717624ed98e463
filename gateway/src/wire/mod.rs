//! Bytes to facts: the formats a flow's first bytes may be in.
//!
//! Every reader here takes bytes as they come, in any cutting, and answers with facts, with "more is needed", or with
//! the field that is wrong. Nothing here opens a socket or file, reads a clock, logs, or decides what a name is worth;
//! names are handed out as the raw bytes of the wire. Every buffer has a limit, and the limit is an argument.

pub mod certificate;
pub mod dns;
pub mod dnstap;
pub mod http1;
pub mod icmp;
pub mod pcap;
pub mod proxy_protocol;
pub mod quic;
pub mod radius;
pub mod reader;
pub mod tls;
