//! What a reload came to, for whoever shows it.

use crate::app::node::input::InputFault;

/// What a reload came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// What is wrong with the list; the last good one stays.
    pub list: Option<InputFault>,
    /// What is wrong with the subscriber table; the last good one stays.
    pub subscribers: Option<InputFault>,
    /// What is wrong with secrets of RADIUS clients; those before stay.
    pub radius: Option<InputFault>,
    /// What of the list's chain could not be proven, while that edition is the newest.
    pub unproven: Option<String>,
    /// What else is worth a word.
    pub notes: Vec<InputFault>,
}
