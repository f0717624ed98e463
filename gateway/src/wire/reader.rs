//! One bounded cursor over a message that is known to be complete.
//!
//! Every step names the field it reads, and a step that cannot be made is [`Malformed`] with that name. The cursor never
//! indexes, never allocates and never panics. Outer framing, which may be incomplete, is not its business: that
//! belongs to the readers that use it.

/// A message breaks its format at the field of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {field}")]
pub struct Malformed {
    /// The field that is missing, too short, too long or of a value its format does not allow.
    pub field: &'static str,
}

/// How many bytes are compared with zero at a time.
const ZERO_BLOCK_BYTES: usize = 32;

/// The bytes of one message that are still to be read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// What has not been read.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`, which end where the message ends.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when fewer are left.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed { field })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Passes over the zero bytes in front of what is left.
    pub fn skip_zeros(&mut self) {
        // Whole blocks first: most of a first QUIC packet is padding, and a block costs what a byte does.
        let is_zero = |block: &&[u8]| block.iter().fold(0, |all, byte| all | byte) == 0;
        let blocks = self.rest.chunks_exact(ZERO_BLOCK_BYTES).take_while(is_zero).count();
        let behind = self.rest.get(blocks.saturating_mul(ZERO_BLOCK_BYTES)..).unwrap_or_default();
        let zeros = behind.iter().take_while(|byte| **byte == 0).count();
        self.rest = behind.get(zeros..).unwrap_or_default();
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when none is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when fewer are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// A variable-length integer of one, two, four or eight bytes, RFC 9000 §16.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when fewer are left than its first two bits say.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let first = *self.rest.first().ok_or(Malformed { field })?;
        let value = match first >> 6 {
            0 => self.u8(field).map(u64::from)?,
            1 => self.array(field).map(u16::from_be_bytes).map(u64::from)? & 0x3fff,
            2 => self.array(field).map(u32::from_be_bytes).map(u64::from)? & 0x3fff_ffff,
            _ => self.array(field).map(u64::from_be_bytes)? & 0x3fff_ffff_ffff_ffff,
        };
        Ok(value)
    }

    /// The bytes behind a variable-length length, RFC 9000 §16.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when the length is missing or promises more than is left.
    pub fn block_varint(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let count = self.varint(field)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX), field)
    }

    /// The bytes behind a one-byte length.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when the length is missing or promises more than is left.
    pub fn block8(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let count = self.u8(field)?;
        self.take(usize::from(count), field)
    }

    /// The bytes behind a two-byte length.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when the length is missing or promises more than is left.
    pub fn block16(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let count = self.u16(field)?;
        self.take(usize::from(count), field)
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// [`Malformed`] with `field` when bytes follow.
    pub fn end(&self, field: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed { field }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_stops_at_the_end_and_names_its_field() {
        let mut reader = Reader::new(&[1, 0, 2, 7, 8, 3, 9]);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.block16("b"), Ok(&[7, 8][..]));
        assert_eq!(reader.block8("c"), Err(Malformed { field: "c" }));
        let mut reader = Reader::new(&[9]);
        assert_eq!(reader.u16("d"), Err(Malformed { field: "d" }));
        assert_eq!(reader.end("e"), Err(Malformed { field: "e" }), "a failed step consumes nothing");
        assert_eq!(reader.u8("f"), Ok(9));
        assert_eq!(reader.end("g"), Ok(()));
        assert_eq!(reader.take(usize::MAX, "h"), Err(Malformed { field: "h" }));
        assert_eq!(reader.take(0, "i"), Ok(&[][..]));
    }

    #[test]
    fn variable_length_integers_are_those_of_rfc_9000_appendix_a1() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!((reader.varint("v"), reader.left()), (Ok(value), 0));
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).varint("v"), Err(Malformed { field: "v" }));
            }
        }
        assert_eq!(Reader::new(&[0xff; 8]).varint("v"), Ok((1 << 62) - 1));
        assert_eq!(Reader::new(&[0xff; 9]).block_varint("v"), Err(Malformed { field: "v" }));
        assert_eq!(Reader::new(&[2, 7, 8, 9]).block_varint("v"), Ok(&[7, 8][..]));
    }

    #[test]
    fn zeros_are_passed_over_up_to_the_first_other_byte() {
        for zeros in [0, 1, 31, 32, 33, 64, 95, 1_000] {
            let bytes = [&vec![0; zeros][..], &[7, 0, 0]].concat();
            let mut reader = Reader::new(&bytes);
            reader.skip_zeros();
            assert_eq!((reader.left(), reader.u8("a")), (3, Ok(7)), "{zeros}");
            reader.skip_zeros();
            assert!(reader.is_empty());
        }
    }
}
