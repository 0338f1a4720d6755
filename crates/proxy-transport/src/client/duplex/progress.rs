//! Progress tokens: upstream the token of a call is its id, downstream it is what the client chose.

use bytes::Bytes;
use mcp_proxy_core::json::{Params, RawJson};

/// The id of ours that a progress notification is about; `None` when its token is not one of ours.
pub(super) fn call_of(params: &RawJson) -> Option<u64> {
    params.get("progressToken")?.as_str().parse().ok()
}

/// The params of a progress notification with the client's own token in them, every other byte unchanged.
pub(super) fn with_token(params: &RawJson, token: &RawJson) -> Option<Params> {
    let ours = params.get("progressToken")?;
    let whole = params.as_bytes();
    // The value is a slice of the params' own buffer, so the distance of the two is its offset.
    let start = (ours.as_bytes().as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let (head, tail) = (whole.get(..start)?, whole.get(start + ours.as_bytes().len()..)?);
    Params::parse(Bytes::from([head, token.as_bytes().as_ref(), tail].concat())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_changes() {
        let params =
            RawJson::parse(r#"{ "progress":1.0e2, "progressToken" : 17 ,"_meta":{"progressToken":17}}"#).unwrap();
        assert_eq!(call_of(&params), Some(17));
        let changed = with_token(&params, &RawJson::from_static(r#""t""#)).unwrap();
        assert_eq!(
            changed.to_bytes(),
            r#"{ "progress":1.0e2, "progressToken" : "t" ,"_meta":{"progressToken":17}}"#
        );
    }

    #[test]
    fn foreign_tokens_are_nobodys() {
        for text in [
            r#"{}"#,
            r#"{"progressToken":"17"}"#,
            r#"{"progressToken":-1}"#,
            r#"{"progressToken":{}}"#,
        ] {
            assert_eq!(call_of(&RawJson::parse(text).unwrap()), None, "{text}");
        }
    }
}
