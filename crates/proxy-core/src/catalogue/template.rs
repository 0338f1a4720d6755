//! Does a URI fit a URI template (RFC 6570)? Enough to find the owner, not to extract variables.

/// True when the template's literal parts occur in `uri` in order, the first at its start and the last at its end.
/// Expressions match any text, also none.
pub(super) fn matches(template: &str, uri: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            return false;
        };
        literals.push(&rest[..open]);
        rest = &rest[open + close + 1..];
    }
    let last = rest;
    let Some((first, middle)) = literals.split_first() else {
        return template == uri;
    };
    let Some(mut left) = uri.strip_prefix(first).and_then(|left| left.strip_suffix(last)) else {
        return false;
    };
    for literal in middle {
        let Some(at) = left.find(literal) else { return false };
        left = &left[at + literal.len()..];
    }
    true
}
