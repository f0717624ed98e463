//! What the gateway is told by a client's datagrams, within the memory a flow may take.

use billing_export::Reason;
use gateway::flow::identify::{Identity, Progress, QuicIdentifier, SeenIn};
use gateway::wire::quic::QuicLimits;

use super::hellos::Hello;
use super::quic::Initial;

/// The most that an undecided flow may hold.
pub const FLOW_BYTES_MAX: usize = 20 * 1024;
/// What a server chose for itself.
pub const SERVER_ID: [u8; 8] = [0x5e; 8];

/// Name and why it does not hold.
pub type Told = (Option<String>, Option<Reason>);

pub fn named(name: &str) -> Told {
    (Some(name.to_owned()), None)
}

pub fn none(reason: Reason) -> Told {
    (None, Some(reason))
}

pub fn told(identity: &Identity) -> Told {
    let name = identity.name.as_ref().map(|name| name.as_str().to_owned());
    assert_eq!(identity.seen_in, name.is_some().then_some(SeenIn::QuicSni));
    (name, identity.gave_up)
}

pub fn observe(identifier: &mut QuicIdentifier, datagram: &[u8]) -> Progress {
    let progress = identifier.observe(datagram);
    assert_eq!(progress == Progress::Undecided, identifier.identity().is_none());
    let held = identifier.buffer_bytes() + size_of::<QuicIdentifier>();
    assert!(held <= FLOW_BYTES_MAX, "{held} bytes held");
    if progress == Progress::Settled {
        assert_eq!(identifier.buffer_bytes(), 0, "freed when settled");
    }
    progress
}

/// What a client's datagrams come to.
pub fn identify<D: AsRef<[u8]>>(datagrams: &[D]) -> Told {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    for datagram in datagrams {
        observe(&mut identifier, datagram.as_ref());
    }
    assert_eq!(identifier.finish(), Progress::Settled);
    assert_eq!(identifier.observe(&Initial::of(&hello("late.example")).seal()), Progress::Settled);
    assert_eq!(identifier.deadline(), Progress::Settled);
    assert_eq!(identifier.buffer_bytes(), 0);
    told(identifier.identity().unwrap())
}

pub fn hello(name: &str) -> Vec<u8> {
    Hello::named(name).message()
}

pub fn post_quantum() -> Vec<u8> {
    let message = Hello::post_quantum("Listed.EDU").message();
    assert!(message.len() > 1400, "more than a datagram");
    message
}
