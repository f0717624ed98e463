//! Which record numbers of a node's epoch are taken.

use postgres::Transaction;

use super::error::Fault;
use super::load::number;
use crate::manifest::Manifest;

/// Numbers that came with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The first.
    first: u64,
    /// The last.
    last: u64,
    /// Earliest local day of that file.
    pub(super) first_day: String,
    /// Latest local day of that file.
    pub(super) last_day: String,
}

/// The spans that have numbers of a file, in order.
pub(super) fn overlapping(
    work: &mut Transaction<'_>,
    schema: &str,
    gateway: i64,
    manifest: &Manifest,
) -> Result<Vec<Span>, Fault> {
    let text = format!(
        "SELECT lower(seqs), upper(seqs), first_day::text, last_day::text FROM {schema}.span
         WHERE int8range(number, number, '[]') && int8range($1, $1, '[]') AND int8range(epoch, epoch, '[]') && int8range($2, $2, '[]')
             AND seqs && int8range($3, $4, '[]') ORDER BY 1"
    );
    let (first, last) = (number(manifest.first_seq), number(manifest.last_seq));
    let rows = work.query(&text, &[&gateway, &i64::from(manifest.epoch), &first, &last])?;
    let spans = rows.iter().map(|row| {
        let (from, behind): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Span {
            first: from.unsigned_abs(),
            last: behind.unsigned_abs().saturating_sub(1),
            first_day: row.try_get(2)?,
            last_day: row.try_get(3)?,
        })
    });
    spans.collect()
}

/// SQL: whether the number of a staged row, under this alias, is taken. `$1` is the node's number.
pub(super) fn taken(schema: &str, alias: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM {schema}.span p WHERE int8range(p.number, p.number, '[]') && int8range($1, $1, '[]')
             AND int8range(p.epoch, p.epoch, '[]') && int8range({alias}.epoch, {alias}.epoch, '[]')
             AND p.seqs && int8range({alias}.record_seq, {alias}.record_seq, '[]'))"
    )
}

/// The numbers from `first` to `last` that no span has, as ranges in order.
pub(super) fn without(known: &[Span], first: u64, last: u64) -> Vec<(u64, u64)> {
    let mut fresh = Vec::new();
    let mut next = first;
    for span in known {
        if span.first > next {
            fresh.push((next, span.first.saturating_sub(1).min(last)));
        }
        next = next.max(span.last.saturating_add(1));
    }
    if next <= last {
        fresh.push((next, last));
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_no_span_has() {
        let span = |first, last| Span { first, last, first_day: String::new(), last_day: String::new() };
        for (known, fresh) in [
            (vec![], vec![(5, 9)]),
            (vec![span(5, 9)], vec![]),
            (vec![span(1, 20)], vec![]),
            (vec![span(1, 5)], vec![(6, 9)]),
            (vec![span(9, 12)], vec![(5, 8)]),
            (vec![span(6, 6), span(8, 8)], vec![(5, 5), (7, 7), (9, 9)]),
            (vec![span(1, 6), span(7, 30)], vec![]),
        ] {
            assert_eq!(without(&known, 5, 9), fresh, "{known:?}");
        }
        let most = i64::MAX.unsigned_abs() - 1;
        assert_eq!(without(&[span(1, most)], 1, most), []);
        assert_eq!(without(&[span(1, most - 1)], 1, most), [(most, most)]);
    }
}
