//! Host names: the only such type of the project.
//!
//! A [`DomainName`] is lower-case ASCII (A-labels) without trailing dot, so two names are equal exactly when their bytes
//! are. Names seen on the wire (RFC 6066 §3 SNI, RFC 9110 §7.2 Host, RFC 1035 §3.1 DNS) are never run through IDNA: a
//! client that sends a U-label sends something no server answers to. List entries are typed by people and are (UTS 46,
//! strict).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use thiserror::Error;

/// Longest name in its text form without trailing dot (RFC 1035 §2.3.4: 255 octets on the wire).
pub const NAME_BYTES_MAX: usize = 253;

/// Longest label (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// A host name: lower-case ASCII labels of `[a-z0-9_-]`, at most 253 bytes, no trailing dot, not an IP literal.
///
/// ```
/// use allowlist::{DomainName, NameError};
///
/// let said = DomainName::from_wire(b"WWW.Study.Example.")?;
/// assert_eq!(said.as_str(), "www.study.example");
/// // What is on the wire is an A-label already; what an officer types is made one.
/// assert_eq!(DomainName::from_wire("оқу.example".as_bytes()), Err(NameError::NotAscii));
/// let listed = DomainName::from_list_entry("оқу.example")?;
/// assert!(listed.as_str().starts_with("xn--"));
/// // An address is no name.
/// assert_eq!(DomainName::from_wire(b"192.0.2.1"), Err(NameError::IpLiteral));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(Box<str>);

/// Why a text is not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum NameError {
    /// Nothing stands there, or a single dot.
    #[error("the name is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// An IPv4 or IPv6 address, bare or in brackets: an address is not a name.
    #[error("an IP address is not a host name")]
    IpLiteral,
    /// Two dots in a row, or a leading dot.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("a label is longer than {LABEL_BYTES_MAX} bytes")]
    LabelTooLong,
    /// A byte above 0x7f in a name from the wire, where only A-labels are legal.
    #[error("the name has bytes outside ASCII")]
    NotAscii,
    /// A character that no host name has.
    #[error("the name has a character outside letters, digits, hyphen and underscore")]
    ForbiddenCharacter,
    /// A label starts or ends with a hyphen (RFC 1123 §2.1).
    #[error("a label starts or ends with a hyphen")]
    HyphenAtEdge,
    /// The last label is all digits, so readers would take the name for an address (RFC 1123 §2.1).
    #[error("the last label is all digits")]
    NumericLastLabel,
    /// A list entry with an asterisk.
    #[error("an asterisk is not part of a host name")]
    Wildcard,
    /// A list entry that is a whole address of a page, or has a path, port or user.
    #[error("this is a page address, not a host name")]
    PageAddress,
    /// A list entry that UTS 46 refuses: unassigned or mapped-away characters, broken `xn--` labels, mixed directions.
    #[error("the name is not valid under UTS 46 (internationalised names)")]
    NotIdna,
}

impl DomainName {
    /// Takes a name as a peer sent it: any bytes in, a folded name or the reason why there is none out.
    ///
    /// Lower-cases, strips one trailing dot, never applies IDNA.
    ///
    /// # Errors
    /// Each [`NameError`] except those that say they belong to list entries.
    pub fn from_wire(bytes: &[u8]) -> Result<DomainName, NameError> {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        // Before the length: a bracketed literal is told apart whatever else is wrong with the text.
        let Ok(text) = std::str::from_utf8(bytes) else { return Err(NameError::NotAscii) };
        if !text.is_ascii() {
            return Err(NameError::NotAscii);
        }
        if is_ip_literal(text) {
            return Err(NameError::IpLiteral);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        text.split('.').try_for_each(check_label)?;
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(NameError::NumericLastLabel);
        }
        Ok(DomainName(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// Takes a name as an officer typed it into a list: U- or A-labels, any case, one trailing dot allowed.
    ///
    /// # Errors
    /// Any [`NameError`]; underscores are refused here (STD 3), for no web site is served under one.
    pub fn from_list_entry(text: &str) -> Result<DomainName, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.ends_with('.') {
            return Err(NameError::EmptyLabel);
        }
        if is_ip_literal(text) {
            return Err(NameError::IpLiteral);
        }
        if text.contains('*') {
            return Err(NameError::Wildcard);
        }
        if text.contains(['/', ':', '@', '?', '#']) {
            return Err(NameError::PageAddress);
        }
        // The plain checks first: they name the fault, which UTS 46 does not.
        if text.is_ascii() {
            let plain = DomainName::from_wire(text.as_bytes())?;
            // UTS 46 has nothing to say of letters, digits and single hyphens: what it looks for in ASCII is `xn--` and other
            // double hyphens (RFC 5891 §4.2.3.1), and underscores.
            if !text.contains('_') && !text.contains("--") {
                return Ok(plain);
            }
        }
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| NameError::NotIdna)?;
        DomainName::from_wire(ascii.as_bytes())
    }

    /// The name in ASCII, lower-case, without trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as people read it, with U-labels; labels that are no valid `xn--` form stay as they are.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        let (text, outcome) =
            Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        if outcome.is_ok() { text.into_owned() } else { self.0.to_string() }
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this name is `ancestor` or stands below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &DomainName) -> bool {
        match self.0.strip_suffix(ancestor.as_str()) {
            Some(above) => above.is_empty() || above.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DomainName({})", self.0)
    }
}

/// Checks one label of a wire name; case is not looked at.
fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(NameError::LabelTooLong);
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(NameError::ForbiddenCharacter);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::HyphenAtEdge);
    }
    Ok(())
}

/// Whether the text is an address: dotted quad, IPv6 with or without zone, or anything in brackets (RFC 3986 §3.2.2).
fn is_ip_literal(text: &str) -> bool {
    if text.starts_with('[') {
        return true;
    }
    let without_zone = text.split('%').next().unwrap_or(text);
    Ipv4Addr::from_str(text).is_ok() || Ipv6Addr::from_str(without_zone).is_ok()
}
