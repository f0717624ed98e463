//! The record layer: takes off the headers of records, and judges their types and lengths.

use super::{Advance, HANDSHAKE, HelloStream, Phase, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, VERSION_MAJOR};
use crate::wire::tls::Outcome;

/// `ContentType change_cipher_spec`.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// `ContentType alert`.
const ALERT: u8 = 21;
/// `ContentType heartbeat`, RFC 6520.
const HEARTBEAT: u8 = 24;

impl HelloStream {
    /// Takes as much of `rest` as belongs to one record header or one fragment.
    pub(super) fn advance(&mut self, rest: &mut &[u8]) -> Advance {
        if rest.is_empty() {
            return Advance::Starved;
        }
        let allowed = self.limits.wire_bytes_max.saturating_sub(self.wire_bytes);
        if allowed == 0 {
            return Advance::Over(Outcome::Oversize);
        }
        if self.record_left == 0 && self.header_bytes == RECORD_HEADER_BYTES {
            self.header_bytes = 0;
        }
        if self.header_bytes < RECORD_HEADER_BYTES {
            return self.header_byte(rest);
        }
        let count = self.record_left.min(allowed).min(rest.len());
        let Some((fragment, _)) = rest.split_at_checked(count) else { return Advance::Starved };
        let [kind, ..] = self.header;
        if kind != HANDSHAKE {
            self.take(rest, count);
            return Advance::Continue;
        }
        self.fragment(fragment, rest)
    }

    /// Takes one byte of a record header; the last one opens the record.
    fn header_byte(&mut self, rest: &mut &[u8]) -> Advance {
        let (Some(byte), Some(place)) = (rest.first(), self.header.get_mut(self.header_bytes)) else {
            return Advance::Starved;
        };
        *place = *byte;
        self.header_bytes = self.header_bytes.saturating_add(1);
        *rest = rest.get(1..).unwrap_or_default();
        self.wire_bytes = self.wire_bytes.saturating_add(1);
        let [kind, major, _, high, low] = self.header;
        match (self.header_bytes, self.phase) {
            (1, _) => self.record_type(kind),
            (2, Phase::First) if major != VERSION_MAJOR => Advance::Over(self.not_a_record()),
            (RECORD_HEADER_BYTES, _) => {
                self.record_left = usize::from(u16::from_be_bytes([high, low]));
                if kind == HANDSHAKE && self.record_left > RECORD_BYTES_MAX {
                    return self.overlong_record();
                }
                Advance::Continue
            }
            _ => Advance::Continue,
        }
    }

    /// Judges the type of a record that begins.
    fn record_type(&mut self, kind: u8) -> Advance {
        match (self.phase, kind) {
            (_, HANDSHAKE) => Advance::Continue,
            (Phase::First, _) => Advance::Over(self.not_a_record()),
            // A hello cut off by another record: no server may join it (RFC 8446 §5.1), but some might.
            (Phase::Watching { ciphered: false }, _) if !self.message.is_empty() && self.is_hello() => {
                Advance::Over(Outcome::Malformed { field: "record type" })
            }
            (_, CHANGE_CIPHER_SPEC) => {
                self.phase = Phase::Watching { ciphered: true };
                self.drop_message();
                Advance::Continue
            }
            (_, ALERT | HEARTBEAT) => {
                self.drop_message();
                Advance::Continue
            }
            // Application data, or nothing that TLS knows.
            _ => Advance::Over(Outcome::Ended),
        }
    }

    /// What a strange record type or version means before the first hello is complete.
    fn not_a_record(&self) -> Outcome<'static> {
        let first_record = self.wire_bytes <= 2;
        if first_record { Outcome::NotTls } else { Outcome::Malformed { field: "record type" } }
    }

    /// A handshake record longer than TLS allows: no server takes it in the clear; encrypted ones have some more.
    fn overlong_record(&self) -> Advance {
        let encrypted = self.phase == Phase::Watching { ciphered: true };
        Advance::Over(if encrypted { Outcome::Ended } else { Outcome::Oversize })
    }

    /// Counts `count` bytes of the current record as taken.
    pub(super) fn take(&mut self, rest: &mut &[u8], count: usize) {
        *rest = rest.get(count..).unwrap_or_default();
        self.record_left = self.record_left.saturating_sub(count);
        self.wire_bytes = self.wire_bytes.saturating_add(count);
    }
}
