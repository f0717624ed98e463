//! The CRYPTO frames of an opened Initial packet.
//!
//! The frames that a client may send in one are PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE (RFC 9000 §17.2.2);
//! reading stops at any other and at one that is cut short, as no server goes on behind it. Layouts: RFC 9000 §19.

use super::super::reader::{Malformed, Reader};

/// Frame types, RFC 9000 §19.
const PADDING: u64 = 0x00;
/// Asks for an acknowledgment.
const PING: u64 = 0x01;
/// Acknowledges packets.
const ACK: u64 = 0x02;
/// The same with counts of congestion marks.
const ACK_ECN: u64 = 0x03;
/// Bytes of the handshake.
const CRYPTO: u64 = 0x06;
/// Ends the connection from the transport.
const CONNECTION_CLOSE: u64 = 0x1c;

/// A piece of the handshake's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crypto<'a> {
    /// Where its first byte stands in the stream.
    pub(super) offset: u64,
    /// The bytes.
    pub(super) data: &'a [u8],
}

/// The CRYPTO frames of a packet, in order.
pub(super) struct CryptoFrames<'a> {
    /// What has not been read.
    reader: Reader<'a>,
}

impl<'a> CryptoFrames<'a> {
    /// Starts at the first frame of an opened packet.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    /// Reads on to the next CRYPTO frame; `None` at the end.
    fn advance(&mut self) -> Result<Option<Crypto<'a>>, Malformed> {
        while !self.reader.is_empty() {
            match self.reader.varint("frame type")? {
                PADDING => self.reader.skip_zeros(),
                PING => {}
                ACK => acknowledgment(&mut self.reader)?,
                ACK_ECN => {
                    acknowledgment(&mut self.reader)?;
                    for _ in 0..3 {
                        self.reader.varint("ecn count")?;
                    }
                }
                CRYPTO => {
                    let offset = self.reader.varint("offset")?;
                    return Ok(Some(Crypto { offset, data: self.reader.block_varint("crypto data")? }));
                }
                CONNECTION_CLOSE => {
                    self.reader.varint("error code")?;
                    self.reader.varint("close frame type")?;
                    self.reader.block_varint("reason phrase")?;
                }
                _ => return Err(Malformed { field: "frame type" }),
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for CryptoFrames<'a> {
    type Item = Crypto<'a>;

    fn next(&mut self) -> Option<Crypto<'a>> {
        let found = self.advance().unwrap_or_default();
        if found.is_none() {
            self.reader = Reader::new(&[]);
        }
        found
    }
}

/// Steps over an ACK frame, RFC 9000 §19.3; the count of its ranges is believed only as far as bytes are there.
fn acknowledgment(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.varint("largest acknowledged")?;
    reader.varint("ack delay")?;
    let mut ranges = reader.varint("ack range count")?;
    reader.varint("first ack range")?;
    while ranges > 0 {
        reader.varint("gap")?;
        reader.varint("ack range length")?;
        ranges = ranges.saturating_sub(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets and lengths of the CRYPTO frames.
    fn frames(payload: &[u8]) -> Vec<(u64, usize)> {
        CryptoFrames::new(payload).map(|frame| (frame.offset, frame.data.len())).collect()
    }

    #[test]
    fn frames_of_an_initial_are_stepped_over_and_any_other_ends_the_packet() {
        let acknowledged = [0x02, 9, 0, 1, 2, 3, 4];
        let counted = [0x03, 9, 0, 0, 2, 1, 2, 3];
        let closed = [0x1c, 1, 6, 2, b'n', b'o'];
        let crypto = [0x06, 5, 2, 7, 7];
        let all = [&[0, 0, 1][..], &acknowledged, &crypto, &counted, &closed, &crypto, &[0]].concat();
        assert_eq!(frames(&all), [(5, 2), (5, 2)]);
        for stop in [0x04_u8, 0x05, 0x07, 0x08, 0x1d, 0x1e, 0x30] {
            assert_eq!(frames(&[&crypto[..], &[stop], &crypto].concat()), [(5, 2)], "{stop:#x}");
        }
    }

    #[test]
    fn q9_cut_frames_and_promised_ranges_end_the_packet() {
        assert_eq!(frames(&[0x06, 5, 3, 7, 7]), []);
        let ranges = [&[0x02, 9, 0][..], &[0xff; 8], &[0; 64]].concat();
        assert_eq!(frames(&ranges), [], "2^62-1 ranges are promised");
        assert_eq!(
            frames(&[0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7]),
            [((1 << 62) - 1, 1)]
        );
        assert_eq!(frames(&[0x40]), []);
    }
}
