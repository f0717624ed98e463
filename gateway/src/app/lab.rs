//! The whole at work on one machine: the demonstration and the audit, with sites and subscribers of their own.

pub mod conformance;
pub mod demo;
mod folder;
