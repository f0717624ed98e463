//! Public suffixes: anybody can register below them and would ride free.

use psl::Type;

use super::{Code, Finding, both_forms};
use crate::document::Place;
use crate::name::DomainName;
use crate::rule::Scope;

/// Zones of the Kazakh registry that the public suffix list does not have: the categories below .қаз (rules of the
/// registry for the .ҚАЗ domain): мем, біл, ком, қау, қор, бай.
const SUPPLEMENT: &[&str] = &[
    "xn--e1anb.xn--80ao21a",
    "xn--90au4f.xn--80ao21a",
    "xn--j1aef.xn--80ao21a",
    "xn--80a2bwq.xn--80ao21a",
    "xn--n1ae5y.xn--80ao21a",
    "xn--80abz.xn--80ao21a",
];

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

#[cfg(test)]
mod tests {
    use super::SUPPLEMENT;
    use crate::name::DomainName;

    #[test]
    fn the_supplement_is_the_six_kazakh_categories() {
        for (zone, ascii) in ["мем", "біл", "ком", "қау", "қор", "бай"].iter().zip(SUPPLEMENT)
        {
            let name = DomainName::from_list_entry(&format!("{zone}.қаз")).unwrap();
            assert_eq!(name.as_str(), *ascii);
        }
    }
}
