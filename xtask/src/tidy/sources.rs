//! What every Rust file must keep to: a length that can be read at once, a page at the top of each crate, and nothing left
//! for later.

use super::{Finding, Text};

/// Near 500 lines one asks whether two stories share a file; past this there is no question.
const LONGEST: usize = 600;

/// The shortest page that can say what a crate is for.
const PAGE: usize = 3;

/// What stands for work that is not done, or helped while doing it. In two parts, lest this file finds itself.
const UNFINISHED: &[(&str, &str)] = &[
    (
        concat!("to", "do!("),
        "write it, or leave the feature out until it is written",
    ),
    (
        concat!("unimpl", "emented!("),
        "write it, or leave the feature out until it is written",
    ),
    (concat!("db", "g!("), "use a tracing event, or delete it"),
    (
        concat!("#[ig", "nore"),
        "make the test run: say what it misses and pass, or fail, but never be silently absent",
    ),
];

/// Looks at every `.rs` file.
pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| text.is_rust()) {
        length(text, &mut findings);
        unfinished(text, &mut findings);
        if text.path.ends_with("/src/lib.rs") {
            page(text, &mut findings);
        }
    }
    findings
}

fn length(text: &Text, findings: &mut Vec<Finding>) {
    let lines = text.body.lines().count();
    if lines > LONGEST {
        findings.push(text.finding(
            LONGEST,
            format!("has {lines} lines, more than {LONGEST}"),
            "split it where two reasons to change meet; tests go to a sibling tests.rs",
        ));
    }
}

fn unfinished(text: &Text, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines() {
        // A comment may speak of them.
        let code = line.split("//").next().unwrap_or_default();
        for (word, mend) in UNFINISHED {
            if code.contains(word) {
                findings.push(text.finding(number, format!("holds `{word}`"), mend));
            }
        }
    }
}

fn page(text: &Text, findings: &mut Vec<Finding>) {
    let lines = text
        .body
        .lines()
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| line.starts_with("//!"))
        .count();
    if lines < PAGE && !text.body.starts_with("#![doc = include_str!") {
        findings.push(text.finding(
            1,
            format!("opens with {lines} lines of `//!`, too few for a page"),
            "say what the crate is for, what it is not for, and where to start reading",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[track_caller]
    fn check_one(path: &str, body: &str, expected: Option<&str>) {
        let findings = check(&[text(path, body)]);
        match expected {
            None => assert_eq!(findings, []),
            Some(words) => assert!(findings[0].what.contains(words), "{findings:?}"),
        }
    }

    #[test]
    fn a_file_may_be_long_but_not_longer() {
        check_one("a/src/b.rs", &"\n".repeat(LONGEST), None);
        check_one("a/src/b.rs", &"\n".repeat(LONGEST + 1), Some("601 lines"));
        check_one("docs/long.md", &"\n".repeat(LONGEST + 1), None);
    }

    #[test]
    fn unfinished_work_is_found_in_code_only() {
        for (word, _) in UNFINISHED {
            check_one("a/src/b.rs", &format!("    {word}\n"), Some(word));
            check_one("a/src/b.rs", &format!("    // {word}\n"), None);
        }
    }

    #[test]
    fn a_crate_opens_with_its_page() {
        check_one("a/src/lib.rs", "//! What.\n//!\n//! Why.\n", None);
        check_one("a/src/lib.rs", "//! What.\nmod b;\n", Some("too few"));
        check_one("a/src/lib.rs", "mod b;\n", Some("opens with 0 lines"));
        check_one("a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n", None);
        check_one("a/src/other.rs", "mod b;\n", None);
    }
}
