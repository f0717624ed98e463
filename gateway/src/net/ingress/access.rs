//! Who may use a steered listener.
//!
//! A steered listener is an address that anybody may find who can send packets to it. Carried for all, it would lend the
//! gateway's address to the internet; so it serves subscribers and the prefixes that the operator names. Who is cut off by
//! mistake decides how far this goes: without a table nobody is told from a stranger, and all are served.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::flow::session::Sessions;

/// Who is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whoever has an address of these, at most 256 and those of the word "private".
    pub prefixes: Vec<IpNet>,
    /// Whoever is in the subscriber table.
    pub subscribers: bool,
}

impl Access {
    /// Whether a client is served. A table that is configured and empty was never read: then subscribers are not known from
    /// others.
    pub fn admits(&self, client: IpAddr, sessions: &Sessions) -> bool {
        let client = client.to_canonical();
        self.prefixes.iter().any(|prefix| prefix.contains(&client))
            || (self.subscribers && (sessions.is_empty() || sessions.is_held(client)))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use billing_export::Session;

    use super::*;
    use crate::flow::session::Block;

    #[test]
    fn f15_subscribers_and_named_prefixes_are_served_and_without_a_table_everybody() {
        let [table, nobody] = [(); 2].map(|()| Sessions::new(10, RandomState::new()));
        let block = Block::from("203.0.113.0/25".parse::<IpNet>().unwrap());
        // Somebody's, though nobody can tell whose.
        table.replace_static([(block, Session::none())]);
        let prefix = "10.0.0.0/8".parse().unwrap();
        let both = Access { prefixes: vec![prefix], subscribers: true };
        let admits = |access: &Access, client: &str| access.admits(client.parse().unwrap(), &table);
        for client in ["203.0.113.127", "::ffff:203.0.113.1", "10.255.0.1", "::ffff:10.0.0.1"] {
            assert!(admits(&both, client), "{client}");
        }
        for client in ["203.0.113.128", "11.0.0.0", "9.255.255.255", "2001:db8::1"] {
            assert!(!admits(&both, client), "{client}");
            assert!(both.admits(client.parse().unwrap(), &nobody), "{client}");
        }
        let named = Access { subscribers: false, ..both };
        assert!(admits(&named, "10.0.0.1") && !admits(&named, "203.0.113.1"));
        assert!(!named.admits("203.0.113.1".parse().unwrap(), &nobody));
    }
}
