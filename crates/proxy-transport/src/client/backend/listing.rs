//! Asking a backend what it offers: every list, every page, within bounds.
//!
//! A backend may be hostile or broken: pages, items and bytes are capped, and a cursor that comes back ends the list.

use std::collections::HashSet;
use std::sync::Arc;

use mcp_proxy_core::catalogue::{Freshness, Kind, Listing};
use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{Call, Declared, Error, ErrorKind, Method, ProtocolVersion, Reply, codes};

use crate::client::{Hello, Peer};

const MAX_PAGES: usize = 10_000;
const MAX_ITEMS: usize = 100_000;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// One list, all pages.
pub(super) struct List {
    items: Vec<RawJson>,
    freshness: Freshness,
}

impl List {
    /// The list of a backend that has none. One with sessions never says how long that holds.
    fn none(version: ProtocolVersion) -> Self {
        Self {
            items: Vec::new(),
            freshness: if version.is_sessionless() {
                Freshness::ENDLESS
            } else {
                Freshness::default()
            },
        }
    }

    /// Puts it into a listing, in place of what was there.
    pub(super) fn settle(self, listing: &mut Listing, kind: Kind) {
        *slot(listing, kind) = self.items;
        listing.freshness[kind as usize] = self.freshness;
    }
}

/// The lists of one kind of a listing.
fn slot(listing: &mut Listing, kind: Kind) -> &mut Vec<RawJson> {
    match kind {
        Kind::Tool => &mut listing.tools,
        Kind::Resource => &mut listing.resources,
        Kind::Template => &mut listing.templates,
        Kind::Prompt => &mut listing.prompts,
    }
}

/// Asks for everything that the backend declared, all kinds at once.
///
/// A list that is refused keeps what was known of it, so one broken list does not take the others away.
///
/// # Errors
/// When the backend did not answer at all.
pub(super) async fn all(
    peer: &Arc<dyn Peer>,
    hello: &Hello,
    last: Option<&Listing>,
    name: &str,
) -> Result<Listing, Error> {
    let mut listing = Listing {
        version: Some(hello.version),
        capabilities: Some(hello.capabilities.detached()),
        server_info: hello.server_info.as_ref().map(RawJson::detached),
        instructions: hello.instructions.clone(),
        ..Listing::default()
    };
    let declared = |key| hello.capabilities.get(key).is_some_and(|value| value.is_object());
    let wanted = Kind::ALL.map(|kind| {
        declared(match kind {
            Kind::Tool => "tools",
            Kind::Resource | Kind::Template => "resources",
            Kind::Prompt => "prompts",
        })
    });
    let ask = async |kind: Kind| {
        if wanted[kind as usize] {
            one(peer, hello.version, kind).await
        } else {
            Ok(Ok(List::none(hello.version)))
        }
    };
    let (tools, resources, templates, prompts) = tokio::try_join!(
        ask(Kind::Tool),
        ask(Kind::Resource),
        ask(Kind::Template),
        ask(Kind::Prompt)
    )?;
    for (kind, list) in Kind::ALL.into_iter().zip([tools, resources, templates, prompts]) {
        match list {
            Ok(list) => list.settle(&mut listing, kind),
            Err(refusal) => {
                tracing::warn!(backend = name, list = kind.list_key(), %refusal, "the backend refused one of its lists");
                if let Some(last) = last {
                    // Nobody vouches for it any more, so it keeps no freshness.
                    *slot(&mut listing, kind) = slot(&mut last.clone(), kind).clone();
                }
            }
        }
    }
    Ok(listing)
}

/// All pages of one list. The inner error is a refusal by the backend, in words for a log.
///
/// # Errors
/// When the backend did not answer, or not within the bounds.
pub(super) async fn one(
    peer: &Arc<dyn Peer>,
    version: ProtocolVersion,
    kind: Kind,
) -> Result<Result<List, String>, Error> {
    let method = match kind {
        Kind::Tool => Method::ToolsList,
        Kind::Resource => Method::ResourcesList,
        Kind::Template => Method::ResourceTemplatesList,
        Kind::Prompt => Method::PromptsList,
    };
    let (mut items, mut bytes) = (Vec::new(), 0);
    let mut freshness = Freshness::ENDLESS;
    let mut seen = HashSet::new();
    let mut params = Params::absent();
    for _ in 0..MAX_PAGES {
        let result = match peer.call(ask(version, &method, params)).await? {
            Reply::Result(result) => result,
            // Declared and yet unknown: common for templates, and the same as an empty list.
            Reply::Error(error) if error.code() == codes::METHOD_NOT_FOUND => return Ok(Ok(List::none(version))),
            Reply::Error(error) => return Ok(Err(format!("{} {:?}", error.code(), error.message()))),
        };
        let Some(page) = result.get(kind.list_key()) else {
            return Ok(Err(format!("the result has no `{}`", kind.list_key())));
        };
        freshness = freshness.and(Freshness::of(&result));
        bytes += page.as_bytes().len();
        items.extend(page.elements());
        if items.len() > MAX_ITEMS || bytes > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::ServerFault,
                "the backend's list is larger than this proxy accepts",
            ));
        }
        // An empty string is a valid cursor; null is none.
        let Some(cursor) = result
            .get("nextCursor")
            .and_then(|cursor| cursor.string().map(|text| text.into_owned()))
        else {
            return Ok(Ok(List { items, freshness }));
        };
        params = Params::absent();
        params.set_string(Slot::Cursor, &cursor);
        if !seen.insert(cursor) {
            return Ok(Err("a page names a cursor that was followed before".to_owned()));
        }
    }
    Err(Error::new(
        ErrorKind::ServerFault,
        "the backend's list has more pages than this proxy follows",
    ))
}

/// The request for a page. A backend of the sessionless era is asked as by a client of it, whose results nobody changes:
/// their hints are wanted. One with sessions is asked on the session that is the proxy's own.
fn ask(version: ProtocolVersion, method: &Method, params: Params) -> Call {
    let mut call = Call::new(method.clone()).with_params(params);
    if version.is_sessionless() {
        call.context.version = version;
        call.context.declared = Declared::everything();
    }
    call
}
