//! QUIC datagrams of a client, raw and properly sealed, so that the fuzzer reaches behind the authentication: bounded
//! memory, latched answers, and no name but the one that a naive joining of the same bytes gives.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

#[path = "../../gateway/support/quic.rs"]
#[allow(dead_code, missing_docs, reason = "a part of it serves here")]
pub mod quic;

use std::collections::BTreeMap;

use gateway::flow::identify::{Progress, QuicIdentifier};
use gateway::wire::quic::{QuicLimits, server_connection_id};
use gateway::wire::tls::{Outcome, hello_message};
use quic::{Initial, crypto};

/// Memory that a flow may take.
const FLOW_BYTES_MAX: usize = 20 * 1024;
/// Connection ids that sealed packets choose from.
const IDS: [[u8; 8]; 4] = [[1; 8], [2; 8], [3; 8], [4; 8]];
/// Versions that sealed packets choose from.
const VERSIONS: [u32; 4] = [quic::V1, quic::V2, quic::DRAFT_29, 0xff00_0022];

/// A ClientHello for this name, with that much in front of the name.
pub fn hello(name: &str, padding: usize) -> Vec<u8> {
    let name = name.as_bytes();
    let block = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let names = block(&[&[0][..], &block(name)].concat());
    let versions = [&[0, 43][..], &block(&[2, 3, 4])].concat();
    let extensions = [&versions[..], &[0, 21], &block(&vec![0; padding]), &[0, 0], &block(&names)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &block(&extensions)].concat();
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// The hellos that pieces are cut from.
fn hellos() -> [Vec<u8>; 4] {
    [hello("listed.edu", 0), hello("LISTED.edu.", 40), hello("other.example", 0), hello("listed.edu", 1500)]
}

/// What a naive reader has of one connection: each byte as it came first, and where others disagreed.
#[derive(Default)]
struct Naive {
    bytes: BTreeMap<u64, u8>,
    disputed: bool,
}

impl Naive {
    /// Takes a piece.
    fn put(&mut self, offset: u64, data: &[u8]) {
        for (place, byte) in (offset..).zip(data) {
            self.disputed |= self.bytes.insert(place, *byte).is_some_and(|before| before != *byte);
        }
    }

    /// The name in the hello at its front.
    fn name(&self) -> Option<String> {
        let front: Vec<u8> = (0..)
            .zip(&self.bytes)
            .take_while(|(place, (at, _))| place == *at)
            .map(|(_, (_, byte))| *byte)
            .collect();
        match hello_message(&front, 16 * 1024) {
            Outcome::Hello(facts) => {
                let name = String::from_utf8_lossy(facts.name?).to_ascii_lowercase();
                Some(name.strip_suffix('.').unwrap_or(&name).to_owned())
            }
            _ => None,
        }
    }
}

/// Takes bytes off the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn pair(&mut self) -> Option<usize> {
        Some(self.byte()? << 8 | self.byte()?)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Steps, each of one byte and what it needs: a raw datagram, raw frames to be sealed, a piece of a hello for the next
/// packet, or the sealing of those pieces.
pub fn run(data: &[u8]) {
    let mut flow = Flow::new();
    let mut input = Input(data);
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    let hellos = hellos();
    while flow.steps(&mut input, &mut pieces, &hellos).is_some() {}
    flow.finish();
}

/// The identifier under test, and the naive readers beside it.
struct Flow {
    identifier: QuicIdentifier,
    naive: BTreeMap<usize, Naive>,
    /// Raw bytes might open by chance, or be a sealed packet that was kept: no naive reader knows them.
    raw: bool,
    datagrams: usize,
}

impl Flow {
    fn new() -> Self {
        let identifier = QuicIdentifier::new(&QuicLimits::default());
        Self { identifier, naive: BTreeMap::new(), raw: false, datagrams: 0 }
    }

    /// One step; `None` at the end of the input.
    fn steps(
        &mut self,
        input: &mut Input<'_>,
        pieces: &mut Vec<(u64, Vec<u8>)>,
        hellos: &[Vec<u8>; 4],
    ) -> Option<()> {
        let step = input.byte()?;
        match step % 4 {
            0 => {
                let length = input.pair()?;
                let datagram = input.take(length);
                self.raw = true;
                let _ = server_connection_id(datagram);
                self.observe(datagram);
            }
            1 => {
                let length = input.pair()?;
                let frames = input.take(length % 4096).to_vec();
                self.raw = true;
                self.observe(&sealed(step, &frames).seal());
            }
            2 => {
                let hello = &hellos[step / 4 % 4];
                let from = input.pair()? % hello.len();
                let to = (from + input.pair()? % hello.len() + 1).min(hello.len());
                pieces.push((from as u64, hello[from..to].to_vec()));
            }
            _ => {
                let frames: Vec<u8> = pieces.iter().flat_map(|(at, data)| crypto(*at, data)).collect();
                let naive = self.naive.entry(step / 4 % 4).or_default();
                for (at, data) in pieces.drain(..) {
                    naive.put(at, &data);
                }
                // What does not fit into a packet is told to the naive reader only.
                if frames.len() < 16_000 {
                    self.observe(&sealed(step, &frames).seal());
                }
            }
        }
        Some(())
    }

    /// Gives a datagram to the identifier and holds it to what it may say.
    fn observe(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        let before = self.identifier.identity().cloned();
        let progress = self.identifier.observe(datagram);
        let after = self.identifier.identity();
        assert_eq!(progress == Progress::Undecided, after.is_none());
        let held = self.identifier.buffer_bytes() + size_of::<QuicIdentifier>();
        assert!(held <= FLOW_BYTES_MAX, "{held} bytes");
        if progress == Progress::Settled {
            assert_eq!(self.identifier.buffer_bytes(), 0);
        }
        assert!(self.datagrams <= QuicLimits::default().datagrams_max || progress != Progress::Undecided);
        match (before, after) {
            (Some(before), Some(after)) => {
                assert_eq!((&before.name, before.ech), (&after.name, after.ech), "the first name is kept");
                assert!(before.gave_up.is_none() || before == *after, "a final answer stays");
            }
            (None, Some(after)) if !self.raw => {
                if let Some(name) = &after.name {
                    let told = |naive: &Naive| naive.name().as_deref() == Some(name.as_str());
                    let known = self.naive.values().any(|naive| naive.disputed || told(naive));
                    assert!(known, "{name} is what no naive reader has");
                }
            }
            (before, None) => assert_eq!(before, None, "an answer is never taken back"),
            (None, Some(_)) => {}
        }
    }

    /// Ends the flow.
    fn finish(&mut self) {
        let before = self.identifier.identity().cloned();
        assert_eq!(self.identifier.finish(), Progress::Settled);
        assert_eq!(self.identifier.buffer_bytes(), 0);
        let after = self.identifier.identity().cloned();
        assert!(after.is_some() && (before.is_none() || before == after));
        assert_eq!(
            self.identifier.observe(&sealed(0, &crypto(0, &hello("late.example", 0))).seal()),
            Progress::Settled
        );
        assert_eq!(self.identifier.identity().cloned(), after);
    }
}

/// An Initial whose version, keys and address follow from a step.
fn sealed(step: usize, frames: &[u8]) -> Initial {
    let initial = Initial::new(frames).to(&IDS[step / 4 % 4]).version(VERSIONS[step / 64 % 4]).sized(0);
    let initial = initial.number((step / 16) as u32, 1 + step / 16 % 4);
    if step & 16 == 0 { initial } else { initial.addressed(&[0x5e; 8]) }
}
