//! Whether a file that brings something new stands in the chain of manifests that the ledger has of its node.
//!
//! Files come in any order, so one whose manifest before is not there cannot be held against it. It is refused if that manifest was:
//! a second gateway of the same name goes on in a past of its own.

use postgres::{Client, Transaction};

use super::super::refusal::{Reason, Refusal};
use super::error::Fault;
use super::load::number;
use crate::manifest::{Hash, Manifest};

/// What the ledger has of another file.
struct Link {
    /// Its number.
    file_seq: i64,
    /// Its epoch.
    epoch: i64,
    /// Hash of its manifest.
    manifest: String,
    /// Hash of the manifest before it.
    previous: Option<String>,
}

/// Refuses a file whose number another has, that does not follow the one before it or is not followed by the one behind it, or
/// whose epoch is out of order.
pub(super) fn judge(
    work: &mut Transaction<'_>,
    schema: &str,
    manifest: &Manifest,
    hash: Hash,
) -> Result<(), Fault> {
    let columns = "file_seq, epoch, manifest_sha256, previous_manifest_sha256";
    let text = format!(
        "(SELECT {columns} FROM {schema}.link WHERE node_id = $1 AND file_seq <= $2 ORDER BY file_seq DESC LIMIT 1)
         UNION ALL
         (SELECT {columns} FROM {schema}.link WHERE node_id = $1 AND file_seq > $2 ORDER BY file_seq LIMIT 1)"
    );
    let own = number(manifest.file_seq);
    let refuse = |found: String| {
        let node = &manifest.node_id;
        Err(Fault::Refused(Refusal::new(
            Reason::Chain,
            format!(
                "file_seq {own}: {found}. What the ledger has stays. Two gateways that are both called {node} make this, or a state \
                 that was restored without a new epoch: give one of them another name"
            ),
        )))
    };
    let mut follows = false;
    for row in work.query(&text, &[&manifest.node_id, &own])? {
        let link = Link {
            file_seq: row.try_get(0)?,
            epoch: row.try_get(1)?,
            manifest: row.try_get(2)?,
            previous: row.try_get(3)?,
        };
        if let Some(found) = broken(&link, own, manifest, hash) {
            return refuse(found);
        }
        follows |= link.file_seq.checked_add(1) == Some(own);
    }
    if let Some(previous) = manifest.previous_manifest_sha256.filter(|_| !follows) {
        let text = format!("SELECT 1 FROM {schema}.stranger WHERE node_id = $1 AND manifest_sha256 = $2");
        if work.query_opt(&text, &[&manifest.node_id, &previous.to_string()])?.is_some() {
            return refuse(format!(
                "previous_manifest_sha256: found {previous}, which is of a file that was refused"
            ));
        }
    }
    Ok(())
}

/// Notes a file that was refused as not of this chain.
pub(super) fn note_stranger(client: &mut Client, schema: &str, node: &str, hash: Hash) -> Result<(), Fault> {
    let text = format!("INSERT INTO {schema}.stranger VALUES ($1, $2) ON CONFLICT DO NOTHING");
    client.execute(&text, &[&node, &hash.to_string()])?;
    Ok(())
}

/// A file that is taken is none, whatever it was before.
pub(super) fn forget_stranger(
    work: &mut Transaction<'_>,
    schema: &str,
    node: &str,
    hash: Hash,
) -> Result<(), Fault> {
    let text = format!("DELETE FROM {schema}.stranger WHERE node_id = $1 AND manifest_sha256 = $2");
    work.execute(&text, &[&node, &hash.to_string()])?;
    Ok(())
}

/// What is wrong between a file and the nearest one on one side.
fn broken(link: &Link, own: i64, manifest: &Manifest, hash: Hash) -> Option<String> {
    let epoch = i64::from(manifest.epoch);
    let Link { file_seq, epoch: other_epoch, .. } = link;
    if *file_seq == own {
        return Some(format!(
            "found new records in it, wanted those of the file with this number that the ledger has, whose manifest has sha256 {}",
            link.manifest
        ));
    }
    let before = *file_seq < own;
    if (before && *other_epoch > epoch) || (!before && *other_epoch < epoch) {
        let side = if before { "behind" } else { "before" };
        return Some(format!(
            "found epoch {epoch} {side} file {file_seq} of epoch {other_epoch}, wanted epochs that rise with the files"
        ));
    }
    if before && file_seq.checked_add(1) == Some(own) {
        let previous = manifest.previous_manifest_sha256?.to_string();
        return (previous != link.manifest).then(|| {
            format!("previous_manifest_sha256: found {previous}, wanted {}, which the manifest before it has in the ledger", link.manifest)
        });
    }
    if !before && own.checked_add(1) == Some(*file_seq) {
        let wanted = link.previous.as_deref()?;
        return (hash.to_string() != wanted).then(|| {
            format!("found a manifest with sha256 {hash}, wanted {wanted}, which the manifest behind it names in the ledger")
        });
    }
    None
}
