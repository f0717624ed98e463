//! Where an entry of a list document stands in its text.

/// Where an entry stands in its text. Places compare equal, so that documents compare by content.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl PartialEq for Place {
    fn eq(&self, _other: &Place) -> bool {
        true
    }
}

impl Eq for Place {}
