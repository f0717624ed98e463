//! The errors of the gate are those of the linter, each with a code of its own.

use allowlist::Document;
use allowlist::lint::{self, Code, Severity};

use crate::random::HEAD;

#[test]
fn f6_the_errors_of_the_gate_are_the_errors_of_the_linter() {
    let rule = |host: &str| format!("[[service.rule]]\nhost = \"{host}\"\nscope = \"subtree\"\n");
    let tables = format!(
        "[[service]]\nid = \"a\"\n{}{}{}{}{}{}{}[[service.rule]]\nprefix = \"0.0.0.0/0\"\nprotocol = \"tcp\"\n\
         ports = [\"1-65535\"]\n[[deny]]\nhost = \"p\u{430}ypal.com\"\n",
        rule("kz"),
        rule("edu.kz"),
        rule("google.com"),
        rule("cloudflare-ech.com"),
        rule("bilim.kz"),
        rule("bi1im.kz"),
        rule("school.internal"),
    );
    for tables in
        [tables.as_str(), "", include_str!("../golden/suspicious.toml").split_once("\n\n").unwrap().1]
    {
        let document = Document::parse(&format!("{HEAD}{tables}")).unwrap();
        let of_weight: Vec<String> = lint::document(&document, None)
            .iter()
            .filter(|finding| finding.severity() == Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert!(!of_weight.is_empty());
        let shown = |findings: &[lint::Finding]| -> Vec<String> {
            findings.iter().map(ToString::to_string).collect()
        };
        let errors = lint::errors(&document, &[], usize::MAX);
        assert_eq!((shown(&errors.refusing), errors.refusing_left_out), (of_weight.clone(), 0));
        let errors = lint::errors(&document, &Code::ALL, usize::MAX);
        assert_eq!((errors.refusing.len(), shown(&errors.accepted)), (0, of_weight.clone()));
        let errors = lint::errors(&document, &[], 1);
        assert_eq!((errors.refusing.len(), errors.refusing_left_out), (1, of_weight.len() - 1));
        let errors = lint::errors(&document, &[Code::WidePrefix], 0);
        let wide = of_weight.iter().filter(|finding| finding.contains("[wide-prefix]")).count();
        assert_eq!((errors.accepted_left_out, errors.refusing_left_out), (wide, of_weight.len() - wide));
    }
}

#[test]
fn f6_every_code_is_found_by_its_word_and_an_error_is_what_exempts_strangers() {
    for code in Code::ALL {
        assert_eq!(Code::from_label(code.label()), Some(code));
        assert_eq!(Code::from_label(&code.label().replace('-', "_")), Some(code));
    }
    assert_eq!(Code::from_label("no-such-code"), None);
    let acceptable: Vec<&str> =
        Code::ALL.into_iter().filter(|code| code.is_acceptable()).map(Code::label).collect();
    assert_eq!(
        acceptable,
        [
            "empty-list",
            "public-suffix",
            "shared-host",
            "cover-name",
            "mixed-script",
            "look-alike",
            "wide-prefix"
        ]
    );
}
