//! Public suffixes: anybody can register below them and would ride free.

use psl::Type;

use super::{Code, Finding, both_forms};
use crate::document::Place;
use crate::name::DomainName;
use crate::rule::Scope;
use crate::suffix::SUPPLEMENT;

/// Reports a rule at a public suffix, whatever its scope; true when it does. An unknown top-level domain is reported too.
pub(super) fn check(host: &DomainName, scope: Scope, place: Place, findings: &mut Vec<Finding>) -> bool {
    let mut add = |code, reason, remedy: &str| {
        findings.push(Finding { place, code, reason, remedy: remedy.to_owned() });
    };
    let shown = both_forms(host);
    let name = host.as_str();
    if !name.contains('.') {
        let reason = format!("{shown} is a top-level domain, not a site");
        add(Code::PublicSuffix, reason, "list the platform's own host");
        return true;
    }
    let Some(suffix) = psl::suffix(name.as_bytes()) else { return false };
    let section = match suffix.typ() {
        Some(Type::Private) => "a provider's zone for its customers",
        Some(Type::Icann) => "a registry's zone",
        None if SUPPLEMENT.contains(&name) => "a registry's zone",
        None => {
            let reason = format!("the top-level domain of {shown} is unknown");
            add(
                Code::UnknownSuffix,
                reason,
                "look for a slip of the pen; private names have no place in a list",
            );
            return false;
        }
    };
    let is_suffix = suffix.as_bytes() == name.as_bytes() || SUPPLEMENT.contains(&name);
    if is_suffix {
        let reason = match scope {
            Scope::Exact => format!("{shown} is a public suffix ({section}), not a site"),
            Scope::Subtree | Scope::OneLabel => {
                format!(
                    "the {} rule for {shown} exempts whoever registers below it: it is a public suffix ({section})",
                    scope.label()
                )
            }
        };
        add(Code::PublicSuffix, reason, "list the platform's own host");
    }
    is_suffix
}
