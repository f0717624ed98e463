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

/// The part of `host` that was registered at a registry, and paid for there: as [`registrable_domain`], but what a provider
/// gives its customers (the private section of the public suffix list) belongs to the provider. Whoever wants many of these
/// must buy them; names below a provider's zone cost nothing.
#[must_use]
pub fn registry_domain(host: &[u8]) -> Option<&[u8]> {
    let mut above = host;
    let suffix = loop {
        let suffix = psl::suffix(above)?;
        match suffix.typ() {
            Some(psl::Type::Private) => {}
            Some(psl::Type::Icann) | None => break suffix.as_bytes(),
        }
        // What is above the provider's zone, which ends where `host` does.
        let (_, rest) =
            suffix.as_bytes().split_at_checked(first_label(suffix.as_bytes())?.checked_add(1)?)?;
        above = rest;
    };
    let mut supplement = SUPPLEMENT.iter().map(|zone| zone.as_bytes());
    let zone = supplement.find(|zone| host == *zone || below(host, zone).is_some()).unwrap_or(suffix);
    let label = below(host, zone)?.rsplit(|byte| *byte == b'.').next()?.len();
    let length = zone.len().saturating_add(1).saturating_add(label);
    host.get(host.len().checked_sub(length)?..)
}

/// Bytes of the first label, where another one follows.
fn first_label(name: &[u8]) -> Option<usize> {
    name.iter().position(|byte| *byte == b'.')
}

/// What stands in front of `zone` and its dot; `None` when `host` is not below it.
fn below<'a>(host: &'a [u8], zone: &[u8]) -> Option<&'a [u8]> {
    host.strip_suffix(zone)?.strip_suffix(b".").filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{SUPPLEMENT, registrable_domain, registry_domain};
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

    #[test]
    fn f1_what_a_provider_gives_away_is_the_provider_s() {
        let domain = |host: &'static str| {
            registry_domain(host.as_bytes()).map(|domain| str::from_utf8(domain).unwrap())
        };
        assert_eq!(domain("a.b.bilimland.kz"), Some("bilimland.kz"));
        assert_eq!(domain("a.school.edu.kz"), Some("school.edu.kz"));
        assert_eq!(domain("a.school.xn--90au4f.xn--80ao21a"), Some("school.xn--90au4f.xn--80ao21a"));
        for given in ["one.github.io", "a.b.two.github.io", "github.io"] {
            assert_eq!(domain(given), Some("github.io"), "{given}");
        }
        for given in ["203-0-113-1.nip.io", "x.203-0-113-1.nip.io", "nip.io"] {
            assert_eq!(domain(given), Some("nip.io"), "{given}");
        }
        assert_eq!(domain("b.s3.dualstack.eu-west-1.amazonaws.com"), Some("amazonaws.com"));
        assert_eq!(domain("host.dyndns.org"), Some("dyndns.org"));
        assert_eq!(domain("www.stranger.example"), Some("stranger.example"));
        for none in ["edu.kz", "kz", "xn--90au4f.xn--80ao21a", "example", "", "."] {
            assert_eq!(domain(none), None, "{none}");
        }
    }
}
