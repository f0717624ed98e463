//! The name of a UDP flow, from the datagrams of its client.
//!
//! The rules are those of TLS over TCP; what is QUIC's own stands in [`crate::wire::quic`]. A name is known with the
//! first hello and may be contradicted by a later one for as long as the flow lives: on one pair of addresses and ports
//! a client may open one connection after another. Once a name is known, only the keys to open later Initials are held.

use billing_export::Reason;

use super::naming::Naming;
use super::{Identity, Progress, SeenIn};
use crate::wire::quic::{InitialReader, Outcome, QuicLimits};

/// Reads the client's datagrams of one UDP flow. No `Debug`: it holds what a subscriber sent.
pub struct QuicIdentifier {
    /// The reader of Initials.
    reader: InitialReader,
    /// What is known.
    naming: Naming,
    /// Nothing more will be learnt.
    settled: bool,
}

impl QuicIdentifier {
    /// Starts before the first datagram of a flow.
    pub fn new(limits: &QuicLimits) -> Self {
        Self { reader: InitialReader::new(*limits), naming: Naming::default(), settled: false }
    }

    /// Takes the client's next datagram, without UDP header. Datagrams after `Settled` are ignored.
    pub fn observe(&mut self, datagram: &[u8]) -> Progress {
        if self.settled {
            return Progress::Settled;
        }
        let naming = &mut self.naming;
        let outcome = self.reader.push(datagram, |facts| naming.hello(facts, SeenIn::QuicSni));
        let reason = match outcome {
            Outcome::NeedMore if self.naming.identity().is_some() => return Progress::Identified,
            Outcome::NeedMore => return Progress::Undecided,
            Outcome::Ended => {
                self.settled = true;
                return Progress::Settled;
            }
            Outcome::Malformed { .. } => Reason::Malformed,
            Outcome::Ambiguous => Reason::Ambiguous,
            Outcome::Oversize => Reason::Oversize,
            Outcome::NotQuic => Reason::NotRecognised,
        };
        self.give_up(reason)
    }

    /// The absolute deadline has passed: without a name the flow is settled as timed out, or as not recognised when
    /// no version that is read was seen. A name stays known, and the watch for a second one goes on.
    pub fn deadline(&mut self) -> Progress {
        match (self.settled, self.naming.identity()) {
            (true, _) => Progress::Settled,
            (false, Some(_)) => Progress::Identified,
            (false, None) => self.give_up_waiting(Reason::Timeout),
        }
    }

    /// The flow has ended: what is incomplete stays so.
    pub fn finish(&mut self) -> Progress {
        if !self.settled && self.naming.identity().is_none() {
            return self.give_up_waiting(Reason::Undecided);
        }
        self.stop()
    }

    /// What the flow is called; `None` while undecided.
    pub fn identity(&self) -> Option<&Identity> {
        self.naming.identity()
    }

    /// [`SeenIn::QuicSni`] once a datagram looked like QUIC of any version.
    pub fn protocol(&self) -> Option<SeenIn> {
        self.reader.looks_like_quic().then_some(SeenIn::QuicSni)
    }

    /// Whether an Initial was opened, which shows that the sender is the client of a connection.
    pub fn is_client(&self) -> bool {
        self.reader.has_opened()
    }

    /// Memory held beyond the value itself, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.reader.buffer_bytes()
    }

    /// Ends the wait for a hello.
    fn give_up_waiting(&mut self, reason: Reason) -> Progress {
        self.give_up(if self.reader.is_readable() { reason } else { Reason::NotRecognised })
    }

    /// Ends the reading for a reason.
    fn give_up(&mut self, reason: Reason) -> Progress {
        self.naming.give_up(reason);
        self.stop()
    }

    /// Ends the reading and lets go of what it held.
    fn stop(&mut self) -> Progress {
        self.reader.stop();
        self.settled = true;
        Progress::Settled
    }
}
