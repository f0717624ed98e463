//! The system below: sockets, clocks, memory, interfaces' queues, signs of life, and how the operator is told. Knows no other room.

pub mod attention;
pub mod batch;
pub mod beats;
pub mod clock;
pub mod control;
pub mod egress;
pub mod header_lengths;
pub mod notice;
pub mod overload;
pub mod socket;
pub mod tcp_info;
