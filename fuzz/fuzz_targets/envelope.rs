//! `Message::scan` and the edits of `Params`: nothing panics, a full parser agrees, and an edit changes what it should.
//!
//! The input is the text of a message, so seeds and findings can be read.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcp_proxy_core::json::{Message, Params, RawJson, ScanErrorKind, Slot};
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let valid = serde_json::from_slice::<&RawValue>(input).is_ok();
    match Message::scan(Bytes::copy_from_slice(input)) {
        Ok(message) => {
            assert!(valid, "taken, but no JSON");
            match message {
                Message::Request(request) => params(&request.params, input),
                Message::Notification(notification) => params(&notification.params, input),
                Message::Response(response) => {
                    assert!(response.id.is_some() || member(input, "error").is_some());
                }
            }
        }
        Err(error) => match error.kind() {
            ScanErrorKind::Syntax(_) | ScanErrorKind::NotUtf8 => assert!(!valid, "JSON, but refused: {error}"),
            ScanErrorKind::Batch | ScanErrorKind::NotRpc(_) => assert!(valid, "no JSON, but {error}"),
            // Refused at once, whatever the rest of the text is.
            _ => {}
        },
    }
});

/// Looks at every slot and edits each one in turn, alone and after another.
fn params(params: &Params, input: &[u8]) {
    let before = params.to_bytes();
    assert_eq!(params.len(), before.len());
    match member(input, "params") {
        Some(text) => assert_eq!(text.as_bytes(), before),
        // Absent, or the envelope has a key that a full parser cannot decode.
        None => assert!(params.is_absent() || members(input).is_none()),
    }
    for slot in SLOTS {
        let (key, parent) = place(slot);
        let holder = match parent {
            None => Some(before.clone()),
            Some(parent) => params.value(parent).map(|value| value.as_bytes().clone()),
        };
        // A holder that is no object holds nothing; one with an undecodable key tells nothing.
        if let Some(expected) = holder.as_deref().and_then(members) {
            assert_eq!(
                params.text(slot),
                expected.get(key).map(|text| text.as_bytes()),
                "{slot:?}"
            );
        }
        for first in SLOTS {
            let mut edited = params.clone();
            if first != slot {
                edit(
                    &mut edited,
                    first,
                    &RawJson::from_static("{\"progressToken\":[],\"name\":\"\"}"),
                );
            }
            edit(&mut edited, slot, &RawJson::from_static("\"new\\n\""));
            assert_eq!(edited.string(slot).as_deref(), Some("new\n"));
        }
    }
}

/// Sets one slot and checks that it is set, that nothing else is, and that reading the new text finds the same.
fn edit(params: &mut Params, slot: Slot, value: &RawJson) {
    let original = params.clone();
    let before = params.to_bytes();
    params.set(slot, value);
    let after = params.to_bytes();
    assert_eq!(params.len(), after.len());
    assert_eq!(params.text(slot), Some(value.as_bytes().as_ref()));
    let again = Params::parse(after.clone()).expect("an edited object is an object");
    for other in SLOTS {
        if other != slot && place(other).1 == Some(slot) {
            // The slot's own members went with its old value.
            continue;
        }
        assert_eq!(
            again.value(other),
            params.value(other),
            "{other:?} after setting {slot:?}"
        );
        if other != slot && place(slot).1 != Some(other) {
            assert_eq!(
                params.value(other),
                original.value(other),
                "{other:?} while setting {slot:?}"
            );
        }
    }
    // What the proxy does not know stays.
    let (key, parent) = place(slot);
    let key = parent.map_or(key, |parent| place(parent).0);
    if let (Some(before), Some(after)) = (members(&before), members(&after)) {
        let rest = |mut all: BTreeMap<String, String>| {
            all.remove(key);
            all
        };
        assert_eq!(rest(before), rest(after), "while setting {slot:?}");
    }
}

/// The members of an object as a full parser sees them; `None` for anything else, and for keys that cannot be decoded.
fn members(text: &[u8]) -> Option<BTreeMap<String, String>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text).ok()?;
    Some(
        members
            .into_iter()
            .map(|(key, value)| (key, value.get().to_owned()))
            .collect(),
    )
}

fn member(text: &[u8], key: &str) -> Option<String> {
    members(text)?.remove(key)
}

const SLOTS: [Slot; 13] = [
    Slot::Name,
    Slot::Uri,
    Slot::Arguments,
    Slot::Meta,
    Slot::ProgressToken,
    Slot::Cursor,
    Slot::Ref,
    Slot::RefName,
    Slot::RefUri,
    Slot::RequestId,
    Slot::Level,
    Slot::InputResponses,
    Slot::RequestState,
];

/// The key of a slot and the slot of the object around it, written down a second time.
fn place(slot: Slot) -> (&'static str, Option<Slot>) {
    match slot {
        Slot::Name => ("name", None),
        Slot::Uri => ("uri", None),
        Slot::Arguments => ("arguments", None),
        Slot::Meta => ("_meta", None),
        Slot::ProgressToken => ("progressToken", Some(Slot::Meta)),
        Slot::Cursor => ("cursor", None),
        Slot::Ref => ("ref", None),
        Slot::RefName => ("name", Some(Slot::Ref)),
        Slot::RefUri => ("uri", Some(Slot::Ref)),
        Slot::RequestId => ("requestId", None),
        Slot::Level => ("level", None),
        Slot::InputResponses => ("inputResponses", None),
        Slot::RequestState => ("requestState", None),
    }
}
