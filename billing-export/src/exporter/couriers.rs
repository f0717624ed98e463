//! Couriers: each carries what is sealed to one sink, and the ledger knows how far each is.

use std::sync::Arc;

use super::Exporter;
use crate::error::ExportError;
use crate::sink::folder::Folder;
use crate::sink::{Courier, FILES, Since, Sink, is_sink_id};
use crate::store::{STORE_NAME, SinkStanding};

impl Exporter {
    /// A courier to the folder of usage files. Nothing incomplete is ever visible there.
    pub fn courier(&self) -> Courier {
        let (settings, start_id) = (&self.settings, &self.start_id);
        let lock = Arc::clone(&self.staging);
        self.courier_of(Box::new(Folder::pickup(settings, start_id, self.opened.epoch, self.witnessed, lock)))
    }

    /// A courier to another sink. One that the ledger has not heard of begins as `since` says.
    ///
    /// # Errors
    /// The store's; an id that is not one, or is that of the folder of usage files.
    pub fn courier_to(&mut self, sink: Box<dyn Sink>, since: Since) -> Result<Courier, ExportError> {
        let id = sink.id();
        if id == FILES || !is_sink_id(id) {
            return Err(ExportError::Settings(format!(
                "a sink's id is 1 to 32 of a-z, 0-9 and hyphen, and \"{FILES}\" is the folder of usage files: found {id:?}"
            )));
        }
        match since {
            Since::Oldest => {}
            Since::Next => self.with_live(|live, _, _| live.store.begin_sink(sink.id()))?,
        }
        Ok(self.courier_of(sink))
    }

    /// A courier to this sink.
    fn courier_of(&self, sink: Box<dyn Sink>) -> Courier {
        let ledger = self.settings.state_dir.join(STORE_NAME);
        Courier::new(sink, ledger, self.start_id.clone(), self.turn.clone(), self.steps.clone())
    }

    /// How far a sink is; none while the ledger has to be read again.
    pub fn sink_standing(&self, sink: &str) -> Option<SinkStanding> {
        self.live.as_ref().and_then(|live| live.store.sink_standing(sink).ok())
    }
}
