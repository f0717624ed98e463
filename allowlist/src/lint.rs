//! Reads a document as a careful officer would.
