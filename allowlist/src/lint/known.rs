//! Names known to serve everybody's content, and names known to hide others. Neither stands in the public suffix list.
//!
//! The tables are short on purpose: they hold what schools and ministries do ask for. A name that is missing here is
//! still judged by the gateway's other checks.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Code, Findings, both_forms};
use crate::document::Place;
use crate::name::DomainName;
use crate::rule::Scope;

/// Outer names of Encrypted ClientHello (RFC 9849 `public_name`): whoever shows one hides the true name behind it.
const ECH_COVER_NAMES: &[&str] = &["cloudflare-ech.com", "cover.defo.ie", "public.tls-ech.dev"];

/// Hosts that serve content of everybody under one name: no rule of any scope may reach them.
const SHARED_HOSTS: &[&str] = &[
    "accounts.google.com",
    "ajax.googleapis.com",
    "apis.google.com",
    "archive.org",
    "cdn.jsdelivr.net",
    "cdnjs.cloudflare.com",
    "docs.google.com",
    "drive.google.com",
    "dropbox.com",
    "facebook.com",
    "firebasestorage.googleapis.com",
    "fonts.googleapis.com",
    "fonts.gstatic.com",
    "forms.gle",
    "github.com",
    "instagram.com",
    "lh3.googleusercontent.com",
    "mail.ru",
    "meet.google.com",
    "onedrive.live.com",
    "raw.githubusercontent.com",
    "s3.amazonaws.com",
    "script.google.com",
    "sites.google.com",
    "ssl.gstatic.com",
    "storage.googleapis.com",
    "t.me",
    "tiktok.com",
    "unpkg.com",
    "vimeo.com",
    "vk.com",
    "web.whatsapp.com",
    "www.dropbox.com",
    "www.facebook.com",
    "www.google.com",
    "www.gstatic.com",
    "www.instagram.com",
    "www.tiktok.com",
    "www.youtube-nocookie.com",
    "www.youtube.com",
    "yandex.kz",
    "yandex.ru",
    "youtu.be",
    "youtube.com",
    "ytimg.com",
];

/// Domains below which strangers have hosts of their own: a rule may name one such host, never what is above them.
const SHARED_DOMAINS: &[&str] = &[
    "akadns.net",
    "akamai.net",
    "akamaiedge.net",
    "akamaihd.net",
    "akamaized.net",
    "amazonaws.com",
    "appspot.com",
    "azure-api.net",
    "azure.com",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "b-cdn.net",
    "blogspot.com",
    "cdn77.org",
    "cloudflare.net",
    "cloudfront.net",
    "digitaloceanspaces.com",
    "edgecastcdn.net",
    "edgekey.net",
    "edgesuite.net",
    "fastly.net",
    "fbcdn.net",
    "firebaseapp.com",
    "gcdn.co",
    "ggpht.com",
    "glitch.me",
    "googleapis.com",
    "googleusercontent.com",
    "googlevideo.com",
    "gstatic.com",
    "herokudns.com",
    "hf.space",
    "hwcdn.net",
    "instructure.com",
    "linode.com",
    "linodeobjects.com",
    "livejournal.com",
    "medium.com",
    "moodlecloud.com",
    "myshopify.com",
    "netlify.com",
    "ngrok.io",
    "notion.site",
    "oraclecloud.com",
    "pantheonsite.io",
    "scw.cloud",
    "sharepoint.com",
    "tilda.ws",
    "trafficmanager.net",
    "tumblr.com",
    "ucoz.com",
    "ucoz.kz",
    "ucoz.net",
    "ucoz.ru",
    "vercel.app",
    "weebly.com",
    "windows.net",
    "wixsite.com",
    "wordpress.com",
    "yandexcloud.net",
];

/// Every name above one of the tables, and those of the tables themselves: a rule for any other host reaches none of them.
static ABOVE_KNOWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let known = ECH_COVER_NAMES.iter().chain(SHARED_HOSTS).chain(SHARED_DOMAINS);
    known.flat_map(|name| super::overlap::ancestors(name)).collect()
});

/// Whether a name is one that hides others (ECH): it counts as no name.
#[must_use]
pub fn is_ech_cover_name(name: &DomainName) -> bool {
    ECH_COVER_NAMES.contains(&name.as_str())
}

/// Reports a rule that reaches a cover name; true when it does.
pub(super) fn check_cover(
    host: &DomainName,
    scope: Scope,
    place: Place,
    findings: &mut Findings<'_>,
) -> bool {
    if !ABOVE_KNOWN.contains(host.as_str()) {
        return false;
    }
    let Some(cover) = ECH_COVER_NAMES.iter().find(|cover| reaches(host, scope, cover)) else { return false };
    findings.add(place, Code::CoverName, || {
        let reason = format!(
            "the {} rule for {} reaches {cover}, a name under which clients hide any other (ECH)",
            scope.label(),
            both_forms(host)
        );
        (reason, "list the site's own name; the gateway counts cover names as no name")
    });
    true
}

/// Reports a rule that reaches content of strangers; true when it does.
pub(super) fn check_shared(
    host: &DomainName,
    scope: Scope,
    place: Place,
    findings: &mut Findings<'_>,
) -> bool {
    if !ABOVE_KNOWN.contains(host.as_str()) {
        return false;
    }
    let shared_host = SHARED_HOSTS.iter().find(|shared| reaches(host, scope, shared));
    let shared_domain = SHARED_DOMAINS.iter().find(|shared| reaches_below(host, scope, shared));
    let Some(shared) = shared_host.or(shared_domain) else { return false };
    findings.add(place, Code::SharedHost, || {
        let reason = format!(
            "the {} rule for {} reaches {shared}, which serves content of many strangers",
            scope.label(),
            both_forms(host)
        );
        (reason, "list a host of the platform's own, or state the platform under [[not_separable]]")
    });
    true
}

/// Whether a rule reaches one name.
fn reaches(host: &DomainName, scope: Scope, name: &str) -> bool {
    labels_below(host, name).is_some_and(|labels| scope.reaches(labels))
}

/// Whether a rule reaches any name below a domain.
fn reaches_below(host: &DomainName, scope: Scope, domain: &str) -> bool {
    match scope {
        Scope::Exact => false,
        Scope::OneLabel => host.as_str() == domain,
        Scope::Subtree => labels_below(host, domain).is_some(),
    }
}

/// How many labels a name stands below a host; none when it does not.
fn labels_below(host: &DomainName, name: &str) -> Option<usize> {
    let below = name.strip_suffix(host.as_str())?;
    if below.is_empty() {
        return Some(0);
    }
    Some(below.strip_suffix('.')?.split('.').count())
}
