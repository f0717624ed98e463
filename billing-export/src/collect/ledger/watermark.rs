//! How far a node is: the unbroken run of its files from the first, and its last record.

use postgres::Transaction;

use super::Watermark;
use super::error::Fault;
use crate::manifest::Manifest;

/// Files looked at in one question.
const STEP: i64 = 256;

/// The end of the unbroken run.
struct Reached {
    /// Its last file.
    file_seq: i64,
    /// The epoch of that file.
    epoch: i64,
    /// Its last record.
    record_seq: i64,
    /// The end of that record; none before the first file.
    end: Option<String>,
}

/// Moves the watermark of the node of a file over the files that are there.
///
/// A hole before a file that begins an epoch with a `gap` record breaks nothing: what was in it is lost with the state before, and
/// the record says so.
pub(super) fn advance(
    work: &mut Transaction<'_>,
    schema: &str,
    manifest: &Manifest,
) -> Result<Watermark, Fault> {
    let node = &manifest.node_id;
    let found = work.query_one(
        &format!("SELECT file_seq, epoch, record_seq, end_utc::text FROM {schema}.node WHERE node_id = $1"),
        &[node],
    )?;
    let mut at = Reached {
        file_seq: found.try_get(0)?,
        epoch: found.try_get(1)?,
        record_seq: found.try_get(2)?,
        end: found.try_get(3)?,
    };
    while step(work, schema, node, &mut at)? {}
    let text = format!(
        "UPDATE {schema}.node SET file_seq = $2, epoch = $3, record_seq = $4, end_utc = $5::text::timestamptz, record_seq_seen = (
             SELECT last_seq FROM {schema}.link WHERE node_id = $1 ORDER BY epoch DESC, last_seq DESC LIMIT 1)
         WHERE node_id = $1 RETURNING extract(epoch FROM end_utc)::bigint"
    );
    let row = work.query_one(&text, &[node, &at.file_seq, &at.epoch, &at.record_seq, &at.end])?;
    Ok(Watermark {
        node_id: node.clone(),
        file_seq: at.file_seq.unsigned_abs(),
        epoch: at.epoch.unsigned_abs(),
        record_seq: at.record_seq.unsigned_abs(),
        end_seconds: row.try_get(0)?,
    })
}

/// Moves over at most [`STEP`] files; whether there may be more.
fn step(work: &mut Transaction<'_>, schema: &str, node: &str, at: &mut Reached) -> Result<bool, Fault> {
    let text = format!(
        "SELECT file_seq, epoch, last_seq, end_utc::text, first_seq = 1 AND begins_with_gap FROM {schema}.link
         WHERE node_id = $1 AND file_seq > $2 ORDER BY file_seq LIMIT $3"
    );
    let rows = work.query(&text, &[&node, &at.file_seq, &STEP])?;
    for row in &rows {
        let (file_seq, begins): (i64, bool) = (row.try_get(0)?, row.try_get(4)?);
        if at.file_seq.checked_add(1) != Some(file_seq) && !begins {
            return Ok(false);
        }
        *at = Reached { file_seq, epoch: row.try_get(1)?, record_seq: row.try_get(2)?, end: row.try_get(3)? };
    }
    Ok(i64::try_from(rows.len()).is_ok_and(|count| count == STEP))
}
