//! The name of a gateway in records and names of files.

use std::fmt;
use std::str::FromStr;

use crate::error::UnknownLabel;

/// Longest node id (the file name carries it).
const NODE_ID_LEN_MAX: usize = 32;

/// The name of one gateway: `[a-z0-9-]{1,32}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Box<str>);

impl NodeId {
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<NodeId, UnknownLabel> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > NODE_ID_LEN_MAX || !text.bytes().all(plain) {
            return Err(UnknownLabel::new("node id", text, "1 to 32 of the characters a-z, 0-9 and '-'"));
        }
        Ok(NodeId(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_at_the_limit_and_one_over() {
        assert!("a".repeat(32).parse::<NodeId>().is_ok());
        for text in ["", &"a".repeat(33), "Node", "a_b", "a/b", "ä"] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }
}
