//! The kernel path: packets stay in the kernel, verdicts and counts cross over (decision 25).
//!
//! Two programs at the subscribers' interfaces (`gateway/bpf/flow.bpf.c`) count what is forwarded, copy the first bytes of each
//! flow into a ring, and set the mark that a verdict orders. This side reads the ring, has the same engine decide as for flows
//! that we carry ourselves, and writes the ruling into the flow's slot. What goes to a subscriber is counted in front of the
//! interface's queue; a third program (`gateway/bpf/drops.bpf.c`) keeps beside each slot what the queue dropped of it.
//!
//! ```text
//!   kernel:  packet ─► slot (banks, flags) ◄── ruling ──┐
//!               └────► ring of copies                    │
//!   here:    copies ─► taps ─► flow/engine ─► effects ───┘
//!            sweep  ─► readings, ends, free slots
//! ```
//!
//! Nothing here is on the way of a packet: when this process stops, hangs or is killed, packets go on and are counted; marks go
//! on for `edge.marks_timeout`, then all is charged.

pub mod claims;
pub mod copies;
pub mod devices;
pub mod drops;
pub mod layout;
pub mod load;
pub mod part;
pub mod slots;
pub mod taps;
pub mod watch;
