//! What a node is made of: workers with their open flows, what all of them share, what they report, and what wants attention.

pub mod allowances;
pub mod event;
pub mod flow_record;
pub(in crate::net) mod marking;
pub mod meter;
pub mod policy;
pub mod pool;
pub mod report;
pub mod settings;
pub mod shared;
pub mod worker;
