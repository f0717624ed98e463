//! Reads what the ends of a flow say, until it is known who opened it and what it is called.

use allowlist::Transport;
use billing_export::Reason;

use super::side::{Pair, Side};
use super::{End, Flow, State, nameless};
use crate::flow::packets::datagrams::Speaker;
use crate::flow::packets::direction::Reader;
use crate::wire::pcap::transport::Tcp;

impl<N: Default> Flow<N> {
    /// Takes a segment of `source`.
    pub fn segment(&mut self, source: End, segment: &Tcp<'_>) {
        let side = self.side(source);
        if segment.syn {
            self.opening(side, segment);
        }
        if segment.fin || segment.rst {
            self.closed = true;
        }
        // The data of a reset is a message for people (RFC 9293 §3.10.7), and its number may be anything.
        let watched = matches!(self.state, State::Watched(_));
        if !segment.rst && (segment.data_bytes > 0 || (segment.fin && watched)) {
            self.data(side, segment);
        }
    }

    /// Takes a UDP datagram of `source`.
    pub fn datagram(&mut self, source: End, payload: &[u8]) {
        let side = self.side(source);
        if self.opener.is_some_and(|opener| opener != side) {
            return;
        }
        if matches!(self.state, State::Silent) {
            self.state = State::Heard(Box::default());
        }
        let State::Heard(speakers) = &mut self.state else { return };
        let speaker = speakers.of_mut(side).get_or_insert_default();
        speaker.push(payload);
        if speaker.is_client() && self.opener.is_none() {
            self.opener = Some(side);
            *speakers.of_mut(side.other()) = None;
        }
        let settled = |side| speakers.of(side).as_ref().is_some_and(Speaker::is_settled);
        if settled(side) && (self.opener.is_some() || settled(side.other())) {
            self.settle();
        }
    }

    /// Learns from SYN or SYN-ACK who opened the flow, and where its streams start.
    fn opening(&mut self, side: Side, segment: &Tcp<'_>) {
        self.initial.of_mut(side).get_or_insert(segment.sequence);
        if segment.ack {
            let other = side.other();
            self.initial.of_mut(other).get_or_insert(segment.acknowledgment.wrapping_sub(1));
            self.opener.get_or_insert(other);
        } else {
            self.opener.get_or_insert(side);
        }
    }

    /// Reads the data of a segment when its direction may be the client's.
    fn data(&mut self, side: Side, segment: &Tcp<'_>) {
        if self.opener.is_some_and(|opener| opener != side) {
            return;
        }
        if matches!(self.state, State::Silent) {
            self.state = State::Watched(Box::default());
        }
        let State::Watched(readers) = &mut self.state else { return };
        let initial = *self.initial.of(side);
        let reader = readers.of_mut(side).get_or_insert_with(|| Reader::new(initial));
        reader.push(segment);
        let (settled, named) = (reader.is_settled(), reader.is_named());
        if named && self.opener.is_none() {
            // Who names the server is the client; the other direction need not be read.
            self.opener = Some(side);
            *readers.of_mut(side.other()) = None;
        }
        if settled && (!named || self.closed) {
            self.settle_if_sure(side);
        }
    }

    /// Ends the observation when nothing can change what is known.
    fn settle_if_sure(&mut self, side: Side) {
        let State::Watched(readers) = &self.state else { return };
        let other = readers.of(side.other()).as_ref();
        let sure = self.opener.is_some() || other.is_some_and(Reader::is_settled);
        if sure {
            self.settle();
        }
    }

    /// Decides with what has been seen, and lets go of the streams.
    pub fn settle(&mut self) {
        let opener = self.opener;
        match &mut self.state {
            State::Settled(..) => {}
            State::Silent => {
                let nothing = match self.transport {
                    Transport::Tcp => Reader::new(None).outcome(),
                    Transport::Udp => nameless(Reason::NotRecognised),
                };
                self.state = State::Settled(opener.unwrap_or(Side::First), nothing);
            }
            State::Heard(speakers) => {
                let client = opener.unwrap_or(Side::First);
                let identity = speakers.of_mut(client).take().unwrap_or_default().outcome();
                self.state = State::Settled(client, identity);
            }
            State::Watched(readers) => {
                let client = opener.unwrap_or_else(|| likely_client(readers));
                let reader = readers.of_mut(client).take();
                let identity = reader.unwrap_or_else(|| Reader::new(None)).outcome();
                self.state = State::Settled(client, identity);
            }
        }
    }
}

/// The client of a flow without SYN: who sent a hello or request; with a name rather than without.
fn likely_client(readers: &mut Pair<Option<Reader>>) -> Side {
    let mut speaks = |side: Side| {
        readers.of_mut(side).as_mut().map_or((false, false), |reader| {
            reader.complete();
            (reader.is_named(), reader.speaks_first())
        })
    };
    let (first, second) = (speaks(Side::First), speaks(Side::Second));
    if second > first { Side::Second } else { Side::First }
}
