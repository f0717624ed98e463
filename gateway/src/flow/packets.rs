//! From packets to flows: which packet belongs to which, who opened it, what it was named, how much it carried. Bounded in flows and
//! in bytes held; what is over or silent can be taken out. Who judges the flows, and by what, stands above.

mod datagrams;
mod direction;
pub mod flow;
pub mod tracker;
