//! The list reader: what it refuses it refuses at a place in the text, what it takes it writes in one form that it reads
//! back as the same list, and neither the linter nor the matcher is troubled by it.

use allowlist::{Document, DomainName, Limits, Matcher, Transport, lint};

/// Small enough that the fuzzer meets the limits.
const LIMITS: Limits = Limits { bytes_max: 16 * 1024, entries_max: 64 };

/// Feeds one text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let findings = lint::text(text, &LIMITS, None);
    match Document::parse_within(text, &LIMITS) {
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            let told = findings.iter().filter(|finding| finding.code == lint::Code::Unreadable).count();
            assert_eq!(problems.len(), told, "the linter tells each problem");
            let lines = u32::try_from(text.matches('\n').count()).expect("a short text") + 1;
            let mut last = (0, 0);
            for problem in problems {
                assert!((1..=lines).contains(&problem.line), "{problem}");
                let line = text.split('\n').nth(problem.line as usize - 1).expect("the line is there");
                assert!((1..=line.chars().count() + 1).contains(&(problem.column as usize)), "{problem}");
                assert!(last <= (problem.line, problem.column), "{problem}: out of order");
                assert!(!problem.to_string().chars().any(|shown| shown.is_control()), "{problem:?}");
                last = (problem.line, problem.column);
            }
        }
        Ok(document) => {
            assert!(document.entry_count() <= LIMITS.entries_max);
            let canonical = document.to_canonical();
            let again = Document::parse(&canonical).expect("canonical form is a list");
            assert_eq!(again, document);
            assert_eq!(again.to_canonical(), canonical);
            assert_eq!(document.may_follow(&document), Ok(()));
            assert_eq!(canonical == text, findings.iter().all(|f| f.code != lint::Code::NotCanonical));
            let matcher = Matcher::new(&document);
            assert!(matcher.effective_from() < matcher.expires());
            for rule in matcher.host_rules() {
                let label = rule.label().to_string();
                let host = label.split_once('/').expect("service and host").1;
                let host = DomainName::from_wire(host.as_bytes()).expect("a listed host is a name");
                assert_eq!(rule.host(), Some(host.as_str()));
                let below = DomainName::from_wire(format!("x.{host}").as_bytes());
                let spoken = matcher.covers(&host) || below.is_ok_and(|below| matcher.covers(&below));
                assert!(
                    spoken || host.as_str().len() > 251,
                    "{host}: a rule speaks of its own host or of one below"
                );
                let _ = matcher.host(&host, Transport::Tcp, 443, Some(matcher.effective_from()));
            }
        }
    }
}
