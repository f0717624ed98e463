//! Public suffixes: anybody can register below them and would ride free.

use psl::Type;

use super::{Code, Findings, both_forms};
use crate::document::Place;
use crate::name::DomainName;
use crate::rule::Scope;
use crate::suffix::SUPPLEMENT;

/// A label that nobody has: whatever public suffix ends below a name, ends below this one.
const PROBE: &str = "zrgw-no-such-label";

/// Reports a rule at a public suffix, whatever its scope, and one above a zone of public suffixes (`*.run.app`) that reaches
/// below; true when it does. An unknown top-level domain is reported too.
pub(super) fn check(host: &DomainName, scope: Scope, place: Place, findings: &mut Findings<'_>) -> bool {
    const REMEDY: &str = "list the platform's own host";
    let name = host.as_str();
    if !name.contains('.') {
        findings.add(place, Code::PublicSuffix, || {
            (format!("{} is a top-level domain, not a site", both_forms(host)), REMEDY)
        });
        return true;
    }
    let Some(suffix) = psl::suffix(name.as_bytes()) else { return false };
    let section = match suffix.typ() {
        Some(Type::Private) => "a provider's zone for its customers",
        Some(Type::Icann) => "a registry's zone",
        None if SUPPLEMENT.contains(&name) => "a registry's zone",
        None => {
            findings.add(place, Code::UnknownSuffix, || {
                let reason = format!("the top-level domain of {} is unknown", both_forms(host));
                (reason, "look for a slip of the pen; private names have no place in a list")
            });
            return false;
        }
    };
    let is_suffix = suffix.as_bytes() == name.as_bytes() || SUPPLEMENT.contains(&name);
    if !is_suffix && let Some(section) = zone_below(host, scope) {
        findings.add(place, Code::PublicSuffix, || {
            let shown = both_forms(host);
            let reason = format!(
                "the {} rule for {shown} exempts whoever has a name below it: each is a public suffix of its own ({section})",
                scope.label()
            );
            (reason, REMEDY)
        });
        return true;
    }
    if is_suffix {
        findings.add(place, Code::PublicSuffix, || {
            let shown = both_forms(host);
            let reason = match scope {
                Scope::Exact => format!("{shown} is a public suffix ({section}), not a site"),
                Scope::Subtree | Scope::OneLabel => {
                    format!(
                        "the {} rule for {shown} exempts whoever registers below it: it is a public suffix ({section})",
                        scope.label()
                    )
                }
            };
            (reason, REMEDY)
        });
    }
    is_suffix
}

/// Whose zone stands directly below a name that is no public suffix itself, where a rule of this scope reaches it: the list says
/// `*.run.app`, and of `run.app` alone nothing.
fn zone_below(host: &DomainName, scope: Scope) -> Option<&'static str> {
    match scope {
        Scope::Exact => return None,
        Scope::Subtree | Scope::OneLabel => {}
    }
    let below = format!("{PROBE}.{}", host.as_str());
    let suffix = psl::suffix(below.as_bytes())?;
    let is_below = suffix.as_bytes().len() > host.as_str().len();
    match suffix.typ().filter(|_| is_below)? {
        Type::Private => Some("a provider's zone for its customers"),
        Type::Icann => Some("a registry's zone"),
    }
}
