//! The ledger in this process: opened, sealed, and opened anew after another hand has changed it.

use billing_export::correction::Adjusted;
use billing_export::sink::folder::Folder;
use billing_export::sink::tdf::Tdf;
use billing_export::sink::{FILES, Since, Sink};
use billing_export::{Cause, ExportError, Exporter, NoFault, Steps, Volume};

use super::orders::{SinkForm, SinkPlan};
use super::{ANSWER_LIMIT, Export, opened};
use crate::net::sys::clock::wall;

impl Export {
    /// Another hand has changed the ledger: it is closed as it stands, and the next opening sets aside what was changed. A
    /// tick that may be in it already is not offered again: a record never claims more than was carried.
    pub(super) fn open_anew(&mut self) {
        self.exporter = None;
        self.sinks.dismiss();
        if std::mem::take(&mut self.doubtful)
            && let Some(tick) = self.unsaved.take()
        {
            self.merged.clear();
            let Volume { up, down } = tick.seen;
            tracing::error!(
                up,
                down,
                "the ledger was changed while a tick was saved: its bytes may be in no record"
            );
        }
    }

    /// Seals what has ended, or everything for a `cause`.
    pub(super) fn seal(&mut self, cause: Option<Cause>) -> Result<(), ExportError> {
        let sealed = self.seal_in_ledger(cause);
        if matches!(sealed, Err(ExportError::Changed { .. })) {
            self.open_anew();
        }
        sealed
    }

    /// Seals in the open ledger.
    fn seal_in_ledger(&mut self, cause: Option<Cause>) -> Result<(), ExportError> {
        let Some(exporter) = &mut self.exporter else { return Ok(()) };
        let now = wall();
        let epoch = exporter.epoch();
        exporter.seal_due(now)?;
        if let (true, Some(why)) = (exporter.epoch() != epoch, exporter.opened().new_epoch) {
            tracing::warn!(epoch = exporter.epoch(), why, "a new epoch begins, with a gap record");
        }
        if let Some(cause) = cause {
            exporter.seal_now(now, cause)?;
        }
        Ok(())
    }

    /// Makes the corrections that billing asks for. Apart from the seal: what is wrong with a request holds up no record.
    pub(super) fn make_corrections(&mut self) -> Result<(), ExportError> {
        let Some(exporter) = &mut self.exporter else { return Ok(()) };
        for made in exporter.make_corrections(wall())? {
            let Adjusted { epoch, seq, reference, .. } = made;
            tracing::info!(
                epoch,
                record_seq = seq,
                ref_epoch = reference.epoch,
                ref_seq = reference.seq,
                "a correction that was asked for is sealed"
            );
        }
        Ok(())
    }

    /// Lets a courier carry for every sink that has none.
    pub(super) fn begin_sinks(&mut self, exporter: &mut Exporter) -> Result<(), ExportError> {
        let mut couriers = if self.sinks.has(FILES) { Vec::new() } else { vec![exporter.courier()] };
        for plan in self.plan.sinks.iter().filter(|plan| !self.sinks.has(&plan.id)) {
            let since = if plan.from_oldest { Since::Oldest } else { Since::Next };
            couriers.push(exporter.courier_to(sink(plan), since)?);
        }
        self.sinks.begin(couriers).map_err(|source| ExportError::Io {
            path: self.settings.pickup_dir.clone(),
            action: "starting a thread for a sink",
            source,
            remedy: "What is sealed waits in the ledger; the ledger is opened again at the next tick",
        })
    }

    /// Opens the ledger.
    pub(super) fn try_open(&mut self) -> Result<(), ExportError> {
        if !self.sinks.have_left(ANSWER_LIMIT) {
            return Err(ExportError::Io {
                path: self.settings.staging_dir.clone(),
                action: "waiting for a sink to be done with its file",
                source: std::io::ErrorKind::ResourceBusy.into(),
                remedy: "The ledger is opened again once it is: look at what the sink writes to",
            });
        }
        let mut start_id = [0; 16];
        random(&mut start_id);
        let steps: Box<dyn Steps> = match &self.fault {
            Some(fault) => Box::new(fault.clone()),
            None => Box::new(NoFault),
        };
        let mut exporter = Exporter::open(self.settings.clone(), wall(), start_id, steps)?;
        self.restore_allowances(&mut exporter)?;
        // What another process wrote before it handed the ledger over lies before what is counted here: no step of the clock.
        if let Some(latest) = exporter.latest() {
            self.from = self.from.max(latest.min(wall()));
        }
        opened::tell(exporter.opened());
        self.attention = opened::attention(exporter.opened());
        self.begin_sinks(&mut exporter)?;
        self.exporter = Some(exporter);
        self.shared.set(self.clock.monotonic());
        Ok(())
    }
}

/// A further way out.
fn sink(plan: &SinkPlan) -> Box<dyn Sink> {
    let SinkPlan { id, dir, staging_dir, form, .. } = plan.clone();
    match form {
        SinkForm::Usage => Box::new(Folder::further(id, dir, staging_dir)),
        SinkForm::Tdf(profile) => Box::new(Tdf::new(id, dir, staging_dir, *profile)),
    }
}

/// Fills `bytes` from the system's random source; should that fail, they differ by time at least.
fn random(bytes: &mut [u8; 16]) {
    if rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) != Ok(bytes.len()) {
        *bytes = wall().as_nanosecond().to_le_bytes();
    }
}
