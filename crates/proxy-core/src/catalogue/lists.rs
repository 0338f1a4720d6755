//! The list results, written once per catalogue in the form of each era.
//!
//! Clients with sessions are nearly always there, so theirs are written when the catalogue is built; the sessionless form
//! when the first such client asks. Either way a list is a look-up.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::{Freshness, Item, Kind};
use crate::ProtocolVersion;
use crate::json::RawJson;

/// One list in both forms.
#[derive(Debug)]
pub(super) struct List {
    kind: Kind,
    session: RawJson,
    sessionless: OnceLock<RawJson>,
    freshness: Freshness,
}

impl List {
    /// Writes the session-era form. `freshness` is what holds for the whole list.
    pub(super) fn new(kind: Kind, items: &[Arc<Item>], freshness: Freshness) -> Self {
        Self {
            kind,
            session: write(kind, items, "", session_form, ""),
            sessionless: OnceLock::new(),
            freshness,
        }
    }

    /// The result for a client of `version`. `items` are those the list was made of.
    pub(super) fn result(&self, version: ProtocolVersion, items: &[Arc<Item>]) -> &RawJson {
        if !version.is_sessionless() {
            return &self.session;
        }
        self.sessionless.get_or_init(|| {
            let Freshness { ttl_ms, .. } = self.freshness;
            let hints = format!(
                ",\"ttlMs\":{},\"cacheScope\":\"{}\"",
                ttl_ms.min(MAX_TTL_MS),
                self.freshness.scope()
            );
            write(
                self.kind,
                items,
                "\"resultType\":\"complete\",",
                sessionless_form,
                &hints,
            )
        })
    }
}

/// What every reader of JSON holds exactly (2⁵³ − 1).
const MAX_TTL_MS: u64 = (1 << 53) - 1;

fn write(
    kind: Kind,
    items: &[Arc<Item>],
    before: &str,
    form: impl Fn(&Item) -> Cow<'_, RawJson>,
    after: &str,
) -> RawJson {
    let bytes: usize = items.iter().map(|item| item.definition.as_bytes().len() + 1).sum();
    let mut text = Vec::with_capacity(bytes + before.len() + after.len() + 32);
    text.push(b'{');
    text.extend_from_slice(before.as_bytes());
    text.push(b'"');
    text.extend_from_slice(kind.list_key().as_bytes());
    text.extend_from_slice(b"\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(form(item).as_bytes());
    }
    text.push(b']');
    text.extend_from_slice(after.as_bytes());
    text.push(b'}');
    RawJson::trusted(text.into())
}

/// Until 2025-11-25 structured output is an object; a schema of anything else says nothing to such clients.
fn session_form(item: &Item) -> Cow<'_, RawJson> {
    if item.wide_output {
        Cow::Owned(item.definition.without(&["outputSchema"]))
    } else {
        Cow::Borrowed(&item.definition)
    }
}

/// Since 2026-07-28 tasks are no matter of a tool's definition.
fn sessionless_form(item: &Item) -> Cow<'_, RawJson> {
    let Some(execution) = item.task_support.and_then(|_| item.definition.get("execution")) else {
        return Cow::Borrowed(&item.definition);
    };
    let rest = execution.without(&["taskSupport"]);
    Cow::Owned(if rest.members().is_empty() {
        item.definition.without(&["execution"])
    } else {
        item.definition.with("execution", &rest)
    })
}
