//! Byte offsets to lines and columns.

use crate::document::Place;

/// Bytes between two remembered character counts: bounds the work for one column, however long the line.
const STRIDE_BYTES: usize = 256;

/// Finds line and column of a byte offset.
pub(super) struct PlaceIndex<'t> {
    /// The text.
    text: &'t str,
    /// Byte offset of the start of each line.
    line_starts: Vec<usize>,
    /// Characters that start before each multiple of [`STRIDE_BYTES`].
    characters_before: Vec<usize>,
}

impl<'t> PlaceIndex<'t> {
    /// Reads the text once.
    pub(super) fn new(text: &'t str) -> PlaceIndex<'t> {
        let mut line_starts = vec![0];
        let mut characters_before = Vec::with_capacity(text.len() / STRIDE_BYTES + 1);
        let mut characters: usize = 0;
        for (offset, byte) in text.bytes().enumerate() {
            if offset % STRIDE_BYTES == 0 {
                characters_before.push(characters);
            }
            if starts_character(byte) {
                characters = characters.saturating_add(1);
            }
            if byte == b'\n' {
                line_starts.push(offset.saturating_add(1));
            }
        }
        PlaceIndex { text, line_starts, characters_before }
    }

    /// Line and column of a byte offset, both from 1; an offset past the end is the end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let lines = self.line_starts.partition_point(|start| *start <= offset);
        let line_start =
            lines.checked_sub(1).and_then(|line| self.line_starts.get(line)).copied().unwrap_or(0);
        let column = self
            .characters_before(offset)
            .saturating_sub(self.characters_before(line_start))
            .saturating_add(1);
        Place { line: narrow(lines), column: narrow(column) }
    }

    /// Characters that start before a byte offset.
    fn characters_before(&self, offset: usize) -> usize {
        let stride = offset / STRIDE_BYTES;
        let Some(known) = self.characters_before.get(stride) else {
            // An offset at the end of a text whose length is a multiple of the stride.
            return self.text.chars().count();
        };
        let from = stride.saturating_mul(STRIDE_BYTES);
        let more = self.text.as_bytes().get(from..offset).unwrap_or(&[]);
        known.saturating_add(more.iter().filter(|byte| starts_character(**byte)).count())
    }
}

/// Whether a byte is the first of a UTF-8 character (RFC 3629 §3).
fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// Lines and columns are shown as 32-bit numbers; texts are bounded far below.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::PlaceIndex;

    #[test]
    fn places_count_characters_not_bytes_over_strides_and_at_the_end() {
        let text = format!("aб\n{}x\n", "ж".repeat(1000));
        let index = PlaceIndex::new(&text);
        for (offset, line, column) in [
            (0, 1, 1),
            (1, 1, 2),
            (3, 1, 3),
            (4, 2, 1),
            (6, 2, 2),
            (2004, 2, 1001),
            (2006, 3, 1),
            (9999, 3, 1),
        ] {
            let place = index.place(offset);
            assert_eq!((place.line, place.column), (line, column), "offset {offset}");
        }
        let exact = "x".repeat(512);
        assert_eq!(PlaceIndex::new(&exact).place(512).column, 513);
        assert_eq!(PlaceIndex::new("").place(0).line, 1);
    }
}
