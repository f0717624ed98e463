//! What a list must pass before anything is judged by it, the same at start, at reload, in `check` and in `explain`
//! (decision 30): size, text, document, succession, and no error of the linter that the operator has not accepted. Another
//! check of a list, such as that of its signatures, which are not built yet, belongs into `Gate::parse` or `Gate::lint`: the
//! copies of lists accepted before pass these two at each start, and succession alone is not asked of them.

use std::path::Path;

use allowlist::lint::{Code, Finding};
use allowlist::{Chain, Document, Edition, Limits, SuccessionError, lint, sha256};

use crate::app::node::input::{InputFault, read_text};

/// Errors told of one list, each with its place; how many more there are is told beside them.
const ERRORS_SHOWN_MAX: usize = 20;

/// What a list must pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// How large it may be.
    pub limits: Limits,
    /// Errors of the linter that do not refuse it.
    pub accepted: Vec<Code>,
}

/// A list that was read, and what of it is worth a word.
pub struct Offered {
    /// The list.
    pub document: Document,
    /// Its exact text.
    pub text: String,
    /// SHA-256 of the text.
    pub sha256: String,
    /// Errors of the linter that were accepted, one a line.
    pub notes: Vec<String>,
}

impl Offered {
    /// The edition it is.
    pub fn edition(&self) -> Edition {
        Edition {
            list_id: self.document.list_id().to_owned(),
            serial: self.document.serial(),
            sha256: self.sha256.clone(),
        }
    }
}

/// The text of a list, not judged yet.
pub(super) struct Loaded {
    /// The text.
    pub(super) text: String,
    /// Its SHA-256.
    pub(super) sha256: String,
}

/// What a list is measured by that comes after others.
#[derive(Clone, Debug)]
pub(super) struct Predecessor {
    /// The newest edition accepted.
    pub(super) newest: Edition,
    /// The edition in force while the newest is still to come.
    pub(super) in_force: Option<Edition>,
    /// When the newest comes into force, where that is still to come.
    pub(super) pending_from: Option<jiff::Timestamp>,
}

impl Gate {
    /// Reads a list by itself: all but succession.
    ///
    /// # Errors
    /// Every problem with its place; of the linter's errors the first twenty.
    pub fn read(&self, path: &Path) -> Result<Offered, InputFault> {
        self.judge(path, self.load(path)?)
    }

    /// Judges a text that was read: all but succession.
    ///
    /// # Errors
    /// As of [`Gate::read`].
    pub(super) fn judge(&self, path: &Path, loaded: Loaded) -> Result<Offered, InputFault> {
        let offered = self.parse(path, loaded)?;
        let notes = self.lint(path, &offered.document)?;
        Ok(Offered { notes, ..offered })
    }

    /// Reads a list with its errors as notes: for questions about a list that exempt nobody.
    ///
    /// # Errors
    /// Why it is no list, every problem with its place.
    pub fn read_leniently(&self, path: &Path) -> Result<Offered, InputFault> {
        let offered = self.parse(path, self.load(path)?)?;
        let errors = lint::errors(&offered.document, &[], ERRORS_SHOWN_MAX);
        let notes = lines(path, &errors.refusing, errors.refusing_left_out);
        Ok(Offered { notes, ..offered })
    }

    /// The linter's errors that were accepted, as notes.
    ///
    /// # Errors
    /// Those that were not, and how to take the list all the same.
    pub(super) fn lint(&self, path: &Path, document: &Document) -> Result<Vec<String>, InputFault> {
        let errors = lint::errors(document, &self.accepted, ERRORS_SHOWN_MAX);
        if errors.refusing.is_empty() {
            let mut notes = lines(path, &errors.accepted, errors.accepted_left_out);
            notes.iter_mut().for_each(|line| line.push_str("; taken: list.accept_errors names the code"));
            return Ok(notes);
        }
        let mut lines = lines(path, &errors.refusing, errors.refusing_left_out);
        let mut codes: Vec<&str> = errors.refusing.iter().map(|finding| finding.code.label()).collect();
        codes.sort_unstable();
        codes.dedup();
        lines.push(format!(
            "{}: such a list would exempt strangers or nobody; to take it all the same: [list] accept_errors = {codes:?}",
            path.display()
        ));
        Err(InputFault { lines, unreadable: false })
    }

    /// Reads a text within the limit.
    pub(super) fn load(&self, path: &Path) -> Result<Loaded, InputFault> {
        let text = read_text(path, self.limits.bytes_max, "list.size_max")?;
        Ok(Loaded { sha256: sha256(text.as_bytes()), text })
    }

    /// Reads a document that is within the limits.
    pub(super) fn parse(&self, path: &Path, loaded: Loaded) -> Result<Offered, InputFault> {
        let Loaded { text, sha256 } = loaded;
        let document = Document::parse_within(&text, &self.limits).map_err(|problems| InputFault {
            lines: problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect(),
            unreadable: false,
        })?;
        Ok(Offered { document, text, sha256, notes: Vec::new() })
    }
}

/// Findings as lines with the file's name, and how many are left out.
fn lines(path: &Path, findings: &[Finding], left_out: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        findings.iter().map(|finding| format!("{}:{finding}", path.display())).collect();
    if left_out > 0 {
        let path = path.display();
        lines.push(format!("{path}: {left_out} more such errors; `allowlist lint {path}` shows all"));
    }
    lines
}

impl Predecessor {
    /// Whether `offered` may follow; `same` says whether it has the newest one's content, where only that can tell.
    ///
    /// # Errors
    /// What speaks against it, and what to do.
    pub(super) fn may_be_followed_by(
        &self,
        offered: &Offered,
        path: &Path,
        same: impl FnOnce(&Document) -> bool,
    ) -> Result<Chain, InputFault> {
        let in_force = self.in_force.as_ref().map(|edition| edition.sha256.as_str());
        match self.newest.may_be_followed_by(&offered.document, in_force) {
            Ok(Chain::SameSerial) if offered.sha256 != self.newest.sha256 && !same(&offered.document) => {
                let error = SuccessionError::SameSerialOtherContent { serial: self.newest.serial };
                Err(InputFault::whole(path, &error.to_string()))
            }
            Ok(chain) => Ok(chain),
            Err(error @ SuccessionError::Older { .. }) => Err(InputFault::whole(path, &self.older(&error))),
            Err(error) => Err(InputFault::whole(path, &error.to_string())),
        }
    }

    /// Why an edition older than the newest is refused, and what withdraws the newest where that is what was meant.
    fn older(&self, error: &SuccessionError) -> String {
        let Some(from) = self.pending_from else { return error.to_string() };
        let serial = self.newest.serial;
        let in_force = self.in_force.as_ref().map_or_else(
            || "no edition is in force".to_owned(),
            |edition| format!("serial {} is in force", edition.serial),
        );
        format!(
            "{error}: {in_force}, and serial {serial} was accepted already and comes into force at {from}; a node never goes back. To withdraw serial {serial}, publish the content wanted under serial {} or higher with `effective_from` not after {from}",
            serial.saturating_add(1)
        )
    }
}
