//! Byte offsets to lines and columns.

use crate::document::Place;

/// Bytes between two remembered counts: bounds the work for one place, however long the line.
const STRIDE_BYTES: usize = 256;

/// What is known of the text in front of a stride.
#[derive(Clone, Copy, Default)]
struct Before {
    /// Lines that end there.
    lines: u32,
    /// Characters that start there.
    characters: u32,
    /// Of these, those in front of the line that the stride begins in.
    characters_before_line: u32,
}

/// Finds line and column of a byte offset. Takes a twentieth of the text's memory.
pub(super) struct PlaceIndex<'t> {
    /// The text.
    text: &'t str,
    /// What stands before each multiple of [`STRIDE_BYTES`], and before the end where that is one.
    strides: Vec<Before>,
}

impl Before {
    /// What is known behind more of the text.
    fn behind(self, bytes: &[u8]) -> Before {
        let Some(line) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Before { characters: self.characters.saturating_add(characters(bytes)), ..self };
        };
        let (ended, begun) = bytes.split_at(line.saturating_add(1));
        let before_line = self.characters.saturating_add(characters(ended));
        Before {
            lines: self.lines.saturating_add(count(ended, |byte| byte == b'\n')),
            characters: before_line.saturating_add(characters(begun)),
            characters_before_line: before_line,
        }
    }
}

impl<'t> PlaceIndex<'t> {
    /// Reads the text once.
    pub(super) fn new(text: &'t str) -> PlaceIndex<'t> {
        let mut strides = Vec::with_capacity(text.len() / STRIDE_BYTES + 2);
        let mut before = Before::default();
        strides.push(before);
        for stride in text.as_bytes().chunks_exact(STRIDE_BYTES) {
            before = before.behind(stride);
            strides.push(before);
        }
        PlaceIndex { text, strides }
    }

    /// Line and column of a byte offset, both from 1; an offset past the end is the end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let stride = offset / STRIDE_BYTES;
        let before = self.strides.get(stride).copied().unwrap_or_default();
        let more = self.text.as_bytes().get(stride.saturating_mul(STRIDE_BYTES)..offset).unwrap_or(&[]);
        let Before { lines, characters, characters_before_line } = before.behind(more);
        let column = characters.saturating_sub(characters_before_line).saturating_add(1);
        Place { line: lines.saturating_add(1), column }
    }
}

/// Bytes of a kind in one stride, or in less.
fn count(bytes: &[u8], is_it: impl Fn(u8) -> bool) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| is_it(**byte)).count()).unwrap_or(u32::MAX)
}

/// Characters that start in these bytes.
fn characters(bytes: &[u8]) -> u32 {
    count(bytes, starts_character)
}

/// Whether a byte is the first of a UTF-8 character (RFC 3629 §3).
fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
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
        for length in 0..800 {
            let text: String = (0..length).map(|n| if n % 97 == 90 { '\n' } else { 'ж' }).collect();
            let index = PlaceIndex::new(&text);
            let (mut line, mut column) = (1, 1);
            for (offset, character) in text.char_indices() {
                let place = index.place(offset);
                assert_eq!((place.line, place.column), (line, column), "offset {offset} of {length}");
                (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
        }
        let exact = "x".repeat(512);
        assert_eq!(PlaceIndex::new(&exact).place(512).column, 513);
        assert_eq!(PlaceIndex::new("").place(0).line, 1);
    }
}
