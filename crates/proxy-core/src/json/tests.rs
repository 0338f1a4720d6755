//! The scanner agrees with a full parser, edits change nothing else, and routing members cannot be smuggled in twice.

use proptest::prelude::*;

use super::*;
use crate::{Method, Reply};

fn scan(text: &str) -> Result<Message, ScanError> {
    Message::scan(text.to_owned().into())
}

#[track_caller]
fn check_refused(text: &[u8], code: i64, id: Option<&str>) {
    let error = Message::scan(text.to_vec().into()).expect_err("must be refused");
    assert_eq!(error.code(), code, "{error}");
    assert_eq!(error.id().map(ToString::to_string).as_deref(), id, "{error}");
}

#[test]
fn requests_notifications_and_responses_are_told_apart() {
    assert!(
        matches!(scan(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Ok(Message::Request(r)) if r.method == Method::Ping)
    );
    assert!(matches!(
        scan(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Ok(Message::Notification(_))
    ));
    assert!(
        matches!(scan(r#" {"id":"a","result":{"x":[1.0e2]},"jsonrpc":"2.0"} "#), Ok(Message::Response(Response { reply: Reply::Result(raw), .. })) if raw.as_str() == r#"{"x":[1.0e2]}"#)
    );
    let Ok(Message::Response(response)) =
        scan(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m","more":1}}"#)
    else {
        panic!()
    };
    assert!(response.id.is_none());
    let Reply::Error(error) = response.reply else { panic!() };
    assert_eq!((error.code(), error.message().as_str()), (-32700, "m"));
    assert!(error.raw().as_str().contains("\"more\":1"));
}

#[test]
fn refusals_carry_the_code_and_the_id_when_it_was_readable() {
    check_refused(b"", -32700, None);
    check_refused(b"{", -32700, None);
    check_refused(br#"{"jsonrpc":"2.0","id":5,"method":"x",}"#, -32700, Some("5"));
    check_refused(br#"{"jsonrpc":"2.0","id":5,"method":"x"} x"#, -32700, Some("5"));
    check_refused(b"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"\xff\"}", -32700, Some("5"));
    check_refused(b"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"a\nb\"}", -32700, Some("5"));
    check_refused(b"[]", -32600, None);
    check_refused(b"[1", -32700, None);
    check_refused(b"7", -32600, None);
    check_refused(b"7 x", -32700, None);
    check_refused(br#"{"jsonrpc":"1.0","id":5,"method":"x"}"#, -32600, Some("5"));
    check_refused(br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600, None);
    check_refused(br#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600, None);
    check_refused(br#"{"jsonrpc":"2.0","id":5}"#, -32600, Some("5"));
    check_refused(
        br#"{"jsonrpc":"2.0","id":5,"method":"x","result":1}"#,
        -32600,
        Some("5"),
    );
    check_refused(
        br#"{"jsonrpc":"2.0","id":5,"method":"x","params":[1]}"#,
        -32600,
        Some("5"),
    );
    check_refused(
        br#"{"jsonrpc":"2.0","id":5,"result":1,"error":{"code":1}}"#,
        -32600,
        Some("5"),
    );
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"x","params":{{"a":{}}}}}"#,
        "[".repeat(5000)
    );
    check_refused(deep.as_bytes(), -32600, Some("5"));
}

#[test]
fn routing_members_may_stand_only_once_however_they_are_spelled() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{},"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a","uri":"b"}}"#,
    ] {
        assert!(
            matches!(scan(text).unwrap_err().kind(), ScanErrorKind::DuplicateKey(_)),
            "{text}"
        );
    }
}

#[test]
fn edits_replace_one_value_and_leave_every_other_byte() {
    let text = r#"{ "name":"a/b" , "arguments" : {"n":1.0e2,"big":12345678901234567890}, "_meta":{"x":1,"progressToken":"t"} }"#;
    let mut params = Params::parse(text).unwrap();
    params.set_string(Slot::Name, "b");
    params.set(Slot::ProgressToken, &RawJson::from_static("17"));
    let expected = text.replace("\"a/b\"", "\"b\"").replace("\"t\"", "17");
    assert_eq!(params.to_bytes(), expected);
    assert_eq!(params.len(), expected.len());
    assert_eq!(params.text(Slot::ProgressToken), Some(&b"17"[..]));
    assert_eq!(params.string(Slot::Name).as_deref(), Some("b"));
}

#[test]
fn a_member_that_was_absent_is_added_and_nested_ones_bring_their_parent() {
    let mut params = Params::absent();
    params.set(Slot::ProgressToken, &RawJson::from_static("3"));
    assert_eq!(params.to_bytes(), r#"{"_meta":{"progressToken":3}}"#);
    params.set_string(Slot::Uri, "a\"b");
    assert_eq!(params.to_bytes(), r#"{"uri":"a\"b","_meta":{"progressToken":3}}"#);
    params.set(Slot::Meta, &RawJson::from_static("{}"));
    assert_eq!(params.text(Slot::ProgressToken), None);
    assert_eq!(params.to_bytes(), r#"{"uri":"a\"b","_meta":{}}"#);
}

/// Found by fuzzing: adding a member to `ref` brought the old text of its other members back.
#[test]
fn a_nested_member_that_is_added_keeps_the_edits_beside_it() {
    let mut params = Params::parse(r#"{"ref":{"type":"t","name":"a"},"x":1}"#).unwrap();
    params.set_string(Slot::RefName, "b");
    assert_eq!(params.value(Slot::Ref).unwrap().as_str(), r#"{"type":"t","name":"b"}"#);
    params.set_string(Slot::RefUri, "u");
    assert_eq!(params.to_bytes(), r#"{"ref":{"uri":"u","type":"t","name":"b"},"x":1}"#);
}

/// Found by fuzzing: a member of a new `_meta` was not found.
#[test]
fn the_members_of_an_object_that_was_set_are_found() {
    let mut params = Params::parse(r#"{"_meta":{}}"#).unwrap();
    params.set(Slot::Meta, &RawJson::from_static(r#"{"progressToken":7}"#));
    assert_eq!(params.text(Slot::ProgressToken), Some(&b"7"[..]));
}

/// Found by fuzzing: a key that is no Unicode got its backslash doubled.
#[test]
fn a_member_that_is_added_leaves_every_other_byte() {
    let mut params = Params::parse(r#"{ "\ud800" : 1.0e2,"a":[ ] }"#).unwrap();
    params.set_string(Slot::Uri, "u");
    assert_eq!(params.to_bytes(), r#"{"uri":"u", "\ud800" : 1.0e2,"a":[ ] }"#);
    let mut params = Params::parse("{ }").unwrap();
    params.set_string(Slot::Uri, "u");
    assert_eq!(params.to_bytes(), r#"{"uri":"u" }"#);
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Into::into)),
        ".{0,80}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::vec((".{0,12}", inner), 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_scanner_takes_what_serde_json_takes(value in json_value()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let ours = RawJson::parse(text.clone()).unwrap();
        prop_assert_eq!(ours.as_str(), text);
    }

    #[test]
    fn damaged_text_is_judged_as_serde_json_judges_it(value in json_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let ours = RawJson::parse(text.clone()).is_ok();
        // serde_json refuses lone surrogates and numbers out of range, which are text we merely pass on.
        let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::scan(bytes.into());
    }

    #[test]
    fn setting_a_name_keeps_the_arguments(arguments in json_value(), name in ".{0,40}") {
        let arguments = serde_json::to_string(&arguments).unwrap();
        let mut params = Params::parse(format!(r#"{{"arguments":{arguments},"name":"old"}}"#)).unwrap();
        params.set_string(Slot::Name, &name);
        let again = Params::parse(params.to_bytes()).unwrap();
        prop_assert_eq!(again.text(Slot::Arguments).unwrap(), arguments.as_bytes());
        let got = again.string(Slot::Name);
        prop_assert_eq!(got.as_deref(), Some(name.as_str()));
    }
}
