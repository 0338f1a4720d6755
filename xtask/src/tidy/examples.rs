//! Every file in `examples/` is loaded by a test, or one day it no longer works and nobody knows.

use super::{Finding, Text};

/// Looks for the name of each example in the text of the tests.
pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    texts
        .iter()
        .filter_map(|text| {
            let name = text.path.strip_prefix("examples/")?;
            let is_configuration = [".toml", ".yaml", ".yml", ".json"]
                .iter()
                .any(|end| name.ends_with(end));
            (is_configuration && !is_named_in_a_test(name, texts)).then(|| Finding {
                at: text.path.clone(),
                what: "no test names it".into(),
                mend: "add it to the list of examples that a test loads",
            })
        })
        .collect()
}

fn is_named_in_a_test(name: &str, texts: &[Text]) -> bool {
    texts
        .iter()
        .any(|text| text.is_rust() && text.path.contains("/tests/") && text.body.contains(name))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn an_example_without_a_test_is_found() {
        let example = || text("examples/first.toml", "");
        assert_eq!(check(&[example()]).len(), 1);
        assert_eq!(
            check(&[example(), text("crates/proxy/src/a.rs", "first.toml")]).len(),
            1
        );
        assert_eq!(
            check(&[example(), text("crates/proxy/tests/it/examples.rs", "\"first.toml\"")]),
            []
        );
        assert_eq!(check(&[text("examples/embed/src/main.rs", "")]), []);
    }
}
