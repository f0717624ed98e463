//! From facts to a verdict: who is named, may it be exempt, how much was carried.
//!
//! Everything here is pure: no socket, file, clock, thread or log. Bytes, values and a time go in,
//! values and reasons come out; `net` does the talking and `app` the wiring.
//!
//! ```text
//!  client bytes ─► identify ─► Identity ─► decide ─► Verdict ─► Account of the flow
//!                                            ▲                      │   (and its mark)
//!              list (allowlist::Matcher) ────┤                      ▼
//!              trusted answers (binding) ────┘         tally: bytes not yet reported
//!              subscriber (session)  ──────────────────────────────►┘
//! ```
//!
//! [`engine`] runs this for one flow, from its first byte to its last.

pub mod address;
pub mod allowance;
pub mod belief;
pub mod binding;
pub mod decide;
pub mod dns_tunnel;
pub mod engine;
pub mod identify;
pub mod ip_bytes;
pub mod mark;
pub mod packets;
pub mod race;
pub mod rating;
pub mod room;
pub mod sent;
pub mod session;
pub mod silence;
pub mod stall;
pub mod steer;
pub mod tally;
pub mod time;
pub mod verdict;
