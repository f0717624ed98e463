//! A list cut into its tables, so that one after another is read: the syntax tree of a whole list takes twelve times its
//! text.
//!
//! Only a text of the plain form is cut: every line that begins with a bracket is one of four headers, alone and at the line's
//! beginning, and no string spans lines. All that the project writes has this form. In such a text a line with a header
//! ends a table wherever it stands, so that the parts together say what the whole says; any other text is read as a whole.

/// A table of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[[service]]`
    Service,
    /// `[[service.rule]]`
    Rule,
    /// `[[deny]]`
    Deny,
    /// `[[not_separable]]`
    NotSeparable,
}

impl Kind {
    /// The table that a header line begins.
    fn of(line: &str) -> Option<Kind> {
        match line {
            "[[service]]" => Some(Kind::Service),
            "[[service.rule]]" => Some(Kind::Rule),
            "[[deny]]" => Some(Kind::Deny),
            "[[not_separable]]" => Some(Kind::NotSeparable),
            _ => None,
        }
    }
}

/// Where a table begins.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: Kind,
    /// Offset of its header line.
    header: u32,
    /// Offset of the line behind it.
    body: u32,
}

/// A text cut into its tables.
pub(super) struct Sections<'t> {
    text: &'t str,
    heads: Vec<Head>,
    /// How many rules each service has.
    rules: Vec<usize>,
}

/// One table.
pub(super) struct Section<'t> {
    /// Which.
    pub(super) kind: Kind,
    /// Offset of its header.
    pub(super) header: usize,
    /// Offset of its keys.
    pub(super) body: usize,
    /// Its keys.
    pub(super) text: &'t str,
}

impl<'t> Sections<'t> {
    /// Cuts a text; none when it has another form.
    pub(super) fn of(text: &'t str) -> Option<Sections<'t>> {
        if text.contains("\"\"\"") || text.contains("'''") {
            return None;
        }
        let (mut heads, mut rules) = (Vec::new(), Vec::new());
        let mut offset = 0_usize;
        for line in text.split_inclusive('\n') {
            let end = offset.checked_add(line.len())?;
            if line.starts_with('[') {
                let kind = Kind::of(without_end(line))?;
                match kind {
                    Kind::Service => rules.push(0),
                    Kind::Rule => *rules.last_mut()? += 1,
                    Kind::Deny | Kind::NotSeparable => {}
                }
                // In the middle of a text this is no byte-order mark.
                if text.get(end..)?.starts_with('\u{feff}') {
                    return None;
                }
                let (header, body) = (u32::try_from(offset).ok()?, u32::try_from(end).ok()?);
                heads.push(Head { kind, header, body });
            } else if line.trim_start_matches([' ', '\t']).starts_with('[') {
                return None;
            }
            offset = end;
        }
        Some(Sections { text, heads, rules })
    }

    /// What stands in front of the first table.
    pub(super) fn root(&self) -> &'t str {
        let end = self.heads.first().map_or(self.text.len(), |head| crate::table::place(head.header));
        self.text.get(..end).unwrap_or_default()
    }

    /// How many rules the services have, in their order.
    pub(super) fn rules(&self) -> &[usize] {
        &self.rules
    }

    /// The tables, in the order written.
    pub(super) fn iter(&self) -> impl Iterator<Item = Section<'t>> {
        let ends = self.heads.iter().skip(1).map(|next| crate::table::place(next.header));
        self.heads.iter().zip(ends.chain([self.text.len()])).map(|(head, end)| {
            let (header, body) = (crate::table::place(head.header), crate::table::place(head.body));
            Section { kind: head.kind, header, body, text: self.text.get(body..end).unwrap_or_default() }
        })
    }
}

/// A line without its end, LF or CRLF.
fn without_end(line: &str) -> &str {
    line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Sections};

    #[test]
    fn f18_a_plain_text_is_cut_at_its_headers_and_another_is_not() {
        let text =
            "\u{feff}format = 1\n\n[[service]]\r\nid = \"a\"\n[[service.rule]]\nhost = \"a.kz\"\n\n[[deny]]";
        let sections = Sections::of(text).unwrap();
        assert_eq!((sections.root(), sections.rules()), ("\u{feff}format = 1\n\n", &[1][..]));
        let parts: Vec<_> =
            sections.iter().map(|part| (part.kind, part.header, part.body, part.text)).collect();
        assert_eq!(
            parts,
            [
                (Kind::Service, 15, 28, "id = \"a\"\n"),
                (Kind::Rule, 37, 54, "host = \"a.kz\"\n\n"),
                (Kind::Deny, 69, 77, ""),
            ]
        );
        for other in [
            "[[service.rule]]\n",
            "[deny]\n",
            "[[deny]] # remark\n",
            " [[deny]]\n",
            "[[deny]]\r\r\n",
            "ports = [\n[\n",
            "note = \"\"\"\n[[deny]]\n\"\"\"\n",
            "note = '''\n'''\n",
            "[[deny]]\n\u{feff}host = \"a.kz\"\n",
        ] {
            assert!(Sections::of(other).is_none(), "{other:?}");
        }
        assert_eq!(Sections::of("").unwrap().iter().count(), 0);
    }
}
