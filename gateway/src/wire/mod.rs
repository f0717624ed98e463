//! Bytes to facts.

pub mod pcap;
