//! The test switch of the export cycle.

use std::sync::{Arc, Mutex, PoisonError};

use billing_export::{Step, Steps};

/// The test switch `step[:count][:error]`: at the `count`th time a step of the export cycle is reached (the first, unless
/// said otherwise) the process kills itself with SIGKILL, or with `:error` the step fails with EIO once.
struct FaultSwitch {
    step: Step,
    left: u32,
    kill: bool,
}

impl Steps for FaultSwitch {
    fn at(&mut self, step: Step) -> std::io::Result<()> {
        if step != self.step || self.left == 0 {
            return Ok(());
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return Ok(());
        }
        if self.kill {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        Err(std::io::Error::from_raw_os_error(libc::EIO))
    }
}

/// The test switch as every opening of the ledger has it.
#[derive(Clone)]
pub(super) struct SharedFault(Arc<Mutex<FaultSwitch>>);

impl Steps for SharedFault {
    fn at(&mut self, step: Step) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at(step)
    }
}

/// Reads the test switch; one that cannot be read injects nothing and is told.
pub(super) fn fault(switch: &str) -> Option<SharedFault> {
    let mut parts = switch.split(':');
    let step = parts.next().unwrap_or_default().parse::<Step>();
    let mut fault = match step {
        Ok(step) => FaultSwitch { step, left: 1, kill: true },
        Err(error) => {
            tracing::error!(%error, "ZRGW_FAULT is ignored");
            return None;
        }
    };
    for part in parts {
        match part.parse::<u32>() {
            Ok(count) => fault.left = count,
            Err(_) => fault.kill = part != "error",
        }
    }
    tracing::warn!(switch, "ZRGW_FAULT is set: the export cycle will be interrupted there, for a test");
    Some(SharedFault(Arc::new(Mutex::new(fault))))
}
