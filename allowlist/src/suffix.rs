//! Public suffixes: below them anybody can register a name of his own.

/// Zones of the Kazakh registry that the public suffix list does not have: the categories below .қаз (rules of the
/// registry for the .ҚАЗ domain): мем, біл, ком, қау, қор, бай.
pub(crate) const SUPPLEMENT: &[&str] = &[
    "xn--e1anb.xn--80ao21a",
    "xn--90au4f.xn--80ao21a",
    "xn--j1aef.xn--80ao21a",
    "xn--80a2bwq.xn--80ao21a",
    "xn--n1ae5y.xn--80ao21a",
    "xn--80abz.xn--80ao21a",
];

/// The part of `host` that somebody registered: one label more than its public suffix, at the end of `host`. `host` is in
/// lower case, its labels parted by dots, without a final dot; of an unknown top-level domain two labels are taken, as the
/// public suffix list's default rule has it. `None` when `host` is itself a public suffix, or no name.
#[must_use]
pub fn registrable_domain(host: &[u8]) -> Option<&[u8]> {
    let domain = psl::domain(host)?.as_bytes();
    if !SUPPLEMENT.iter().any(|zone| zone.as_bytes() == domain) {
        return Some(domain);
    }
    let below = host.strip_suffix(domain)?.strip_suffix(b".")?;
    let label = below.rsplit(|byte| *byte == b'.').next()?.len();
    let length = domain.len().saturating_add(1).saturating_add(label);
    host.get(host.len().checked_sub(length)?..)
}

#[cfg(test)]
mod tests {
    use super::{SUPPLEMENT, registrable_domain};
    use crate::name::DomainName;

    #[test]
    fn the_supplement_is_the_six_kazakh_categories() {
        for (zone, ascii) in ["мем", "біл", "ком", "қау", "қор", "бай"].iter().zip(SUPPLEMENT)
        {
            let name = DomainName::from_list_entry(&format!("{zone}.қаз")).unwrap();
            assert_eq!(name.as_str(), *ascii);
        }
    }

    #[test]
    fn what_is_registered_has_one_label_more_than_its_suffix() {
        let domain = |host: &'static str| {
            registrable_domain(host.as_bytes()).map(|domain| str::from_utf8(domain).unwrap())
        };
        assert_eq!(domain("a.b.bilimland.kz"), Some("bilimland.kz"));
        assert_eq!(domain("a.school.edu.kz"), Some("school.edu.kz"));
        assert_eq!(domain("a.b.user.github.io"), Some("user.github.io"));
        assert_eq!(domain("a.school.xn--90au4f.xn--80ao21a"), Some("school.xn--90au4f.xn--80ao21a"));
        assert_eq!(domain("xn--90au4f.xn--80ao21a"), None);
        assert_eq!(domain("a.b.tunnel.example"), Some("tunnel.example"));
        assert_eq!(domain("edu.kz"), None);
        assert_eq!(domain(""), None);
    }
}
