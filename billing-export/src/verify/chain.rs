//! What one usage file says of the one before it.

use super::{Fault, Faults, Report, Seen};
use crate::audit::Figures;
use crate::unit::Volume;

/// Checks that a file follows the one before it.
pub(super) fn check_chain(previous: Option<&Seen<'_>>, seen: &Seen<'_>, report: &mut Report) {
    let Some(name) = &seen.pair.name else { return };
    let mut faults = Faults { file: seen.pair.path().to_owned(), report, count: 0 };
    let manifest = seen.manifest.as_ref().map(|(manifest, _)| manifest);
    let before = previous.and_then(|seen| Some((seen, seen.pair.name.as_ref()?)));
    let before = before.filter(|(_, before)| before.node_id() == name.node_id());
    let first_of_epoch = manifest.is_some_and(|manifest| manifest.first_seq == 1);
    if let Some(manifest) = manifest {
        match manifest.previous_manifest_sha256 {
            None if !first_of_epoch => {
                faults.add(
                    "previous_manifest_sha256: found null, wanted a hash: it is not the first of its epoch"
                        .into(),
                );
            }
            Some(_) if first_of_epoch => {
                faults.add(
                    "previous_manifest_sha256: found a hash, wanted null: it is the first of its epoch"
                        .into(),
                );
            }
            None | Some(_) => {}
        }
    }
    let Some((before, before_name)) = before else {
        if !first_of_epoch {
            let text = "files before this one were not given: what they hold is not checked".into();
            faults.report.notes.push(Fault { file: seen.pair.path().to_owned(), text });
        }
        faults.finish();
        return;
    };
    check_file_seq(before_name.file_seq(), name.file_seq(), &mut faults);
    if name.epoch() < before_name.epoch() {
        faults.add(format!("epoch: found {}, wanted {} or more", name.epoch(), before_name.epoch()));
    }
    let adjacent = before_name.file_seq().checked_add(1) == Some(name.file_seq());
    if let (Some(manifest), Some((earlier, hash))) = (manifest, &before.manifest)
        && name.epoch() == before_name.epoch()
    {
        let wanted = earlier.last_seq.saturating_add(1);
        if manifest.first_seq > wanted {
            faults.add(format!(
                "record_seq {wanted} to {} are missing before it",
                manifest.first_seq.saturating_sub(1)
            ));
        }
        if adjacent && let Some(previous) = manifest.previous_manifest_sha256 {
            faults.compare("previous_manifest_sha256", previous, *hash, "the manifest before it has");
        }
        if adjacent && before.sound {
            check_pending(&earlier.figures(), &manifest.figures(), &mut faults);
        }
    } else if let Some(manifest) = manifest
        && name.epoch() != before_name.epoch()
        && manifest.first_seq != 1
    {
        faults.add(format!("record_seq 1 to {} are missing before it", manifest.first_seq.saturating_sub(1)));
    }
    faults.finish();
}

/// Reports file numbers that are missing or used twice.
pub(super) fn check_file_seq(before: u64, found: u64, faults: &mut Faults<'_>) {
    let wanted = before.saturating_add(1);
    if found == before {
        faults.add(format!("file_seq {found}: found it a second time, wanted {wanted}"));
    } else if found == wanted.saturating_add(1) {
        faults.add(format!("file_seq {wanted} is missing before it"));
    } else if found > wanted {
        faults.add(format!("file_seq {wanted} to {} are missing before it", found.saturating_sub(1)));
    }
}

/// Reports bytes that were pending at the end of a file and not at the beginning of the next, or the reverse.
pub(super) fn check_pending(before: &Figures, after: &Figures, faults: &mut Faults<'_>) {
    let text = |volume: Volume| format!("{}+{}", volume.up, volume.down);
    let (found, wanted) = (text(after.pending_before), text(before.pending_after));
    faults.compare("pending before (up+down)", found, wanted, "the manifest before it has pending after");
}
