//! Opening the client's Initial packets, with the keys that everyone on the path has.
//!
//! Works on a copy: header and payload are changed in place. Only the client's direction is kept of the two that
//! `rustls` derives. Sections: RFC 9001 §5.2 (keys), §5.4 (header protection), §5.3 (packets); RFC 9369 §3.3.

use core::ops::Range;

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{self, DirectionalKeys};

use super::header::{ConnectionId, Packet, Version};

/// Bytes of ciphertext that mask the header, RFC 9001 §5.4.3.
const SAMPLE_BYTES: usize = 16;
/// Where the sample begins, counted from the packet number, RFC 9001 §5.4.2.
const SAMPLE_AT: usize = 4;
/// The bits of the first byte that say how long the packet number is, RFC 9000 §17.2.
const NUMBER_LENGTH_BITS: u8 = 0x03;

/// What opens a client's Initial packets of one version.
pub(super) struct InitialKeys {
    /// The version whose salt and labels made them.
    pub(super) version: Version,
    /// The client's direction.
    client: DirectionalKeys,
}

impl InitialKeys {
    /// Derives the keys of a connection whose client first wrote to `destination`.
    pub(super) fn derive(destination: &ConnectionId, version: Version) -> Option<Self> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?.quic_suite()?;
        let salt = match version {
            Version::V1 => quic::Version::V1,
            Version::V2 => quic::Version::V2,
            Version::Draft29 => quic::Version::V1Draft,
        };
        // Seen from the server, what is remote is the client's.
        Some(Self { version, client: suite.keys(destination.as_bytes(), Side::Server, salt).remote })
    }

    /// Opens a packet and leaves its frames in `copy`; `false`, with anything in there, when these are not its keys.
    pub(super) fn open(&self, packet: &Packet<'_>, copy: &mut Vec<u8>) -> bool {
        copy.clear();
        copy.extend_from_slice(packet.bytes);
        let Some(frames) = self.open_in_place(packet.number_at, copy) else { return false };
        copy.truncate(frames.end);
        copy.drain(..frames.start);
        true
    }

    /// Opens the packet whose number stands at `number_at`; says where its frames are.
    fn open_in_place(&self, number_at: usize, packet: &mut [u8]) -> Option<Range<usize>> {
        let (head, body) = packet.split_at_mut_checked(number_at)?;
        let sample: [u8; SAMPLE_BYTES] = *body.get(SAMPLE_AT..)?.first_chunk()?;
        let first = head.first_mut()?;
        self.client.header.decrypt_in_place(&sample, first, body.get_mut(..SAMPLE_AT)?).ok()?;
        let number_bytes = usize::from(*first & NUMBER_LENGTH_BITS).saturating_add(1);
        // What was cut off the number's front is zero in the first packets of a connection.
        let number = body.get(..number_bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let start = number_at.saturating_add(number_bytes);
        let (header, payload) = packet.split_at_mut_checked(start)?;
        let frames = self.client.packet.decrypt_in_place(number, header, payload).ok()?;
        Some(start..start.saturating_add(frames.len()))
    }

    /// Memory of the keys, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let header = size_of_val(&*self.client.header);
        header.saturating_add(size_of_val(&*self.client.packet))
    }
}
