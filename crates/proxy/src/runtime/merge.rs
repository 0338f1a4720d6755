//! Merging the backends' lists into one catalogue, and what clients should hear of it.

use std::sync::Arc;

use mcp_proxy_core::Method;
use mcp_proxy_core::catalogue::{Catalogue, CatalogueBuilder, Kind, Listing, Source};
use mcp_proxy_core::json::RawJson;
use mcp_proxy_transport::client::backend::{Backend, Phase, Status};

/// What a catalogue is merged from: the backends' lists, and whether they can be relied on for a time.
pub(super) struct Basis {
    listings: Vec<Option<Arc<Listing>>>,
    away: bool,
}

impl Basis {
    /// As it is now.
    pub(super) fn of(backends: &[Backend]) -> Self {
        let statuses: Vec<_> = backends.iter().map(Backend::status).collect();
        let listings = statuses.iter().map(|status| status.listing.as_ref());
        // Where no list holds for any time, it makes no difference who is away.
        let lasting = listings
            .clone()
            .flatten()
            .any(|listing| listing.freshness.iter().any(|freshness| freshness.ttl_ms > 0));
        Self {
            away: lasting && statuses.iter().any(is_away),
            listings: listings.map(|listing| listing.cloned()).collect(),
        }
    }
}

impl PartialEq for Basis {
    /// By identity: comparing the lists would cost as much as merging them.
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &Option<Arc<Listing>>, two: &Option<Arc<Listing>>| match (one, two) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, None) => true,
            _ => false,
        };
        self.away == other.away
            && self.listings.len() == other.listings.len()
            && self
                .listings
                .iter()
                .zip(&other.listings)
                .all(|(one, two)| same(one, two))
    }
}

/// One that nobody needs just now is not away.
fn is_away(status: &Status) -> bool {
    !matches!(status.phase, Phase::Ready | Phase::Idle)
}

/// Merges what the backends offer.
pub(super) fn merge(backends: &[Backend], sources: &[Source], instructions: Option<Box<str>>) -> Catalogue {
    let mut builder = CatalogueBuilder::new(instructions);
    for (backend, source) in backends.iter().zip(sources) {
        let status = backend.status();
        if is_away(&status) {
            builder.away();
        }
        builder.add(source.clone(), status.listing);
    }
    builder.build()
}

/// Which `list_changed` notifications the difference calls for.
pub(super) fn differences(old: &Catalogue, new: &Catalogue) -> Vec<Method> {
    let definitions = |catalogue: &'_ Catalogue, kind| -> Vec<RawJson> {
        let items = catalogue.items(kind).iter();
        items.map(|item| item.definition.clone()).collect()
    };
    let differs = |kind| definitions(old, kind) != definitions(new, kind);
    let mut methods = Vec::new();
    if differs(Kind::Tool) {
        methods.push(Method::ToolsChanged);
    }
    if differs(Kind::Resource) || differs(Kind::Template) {
        methods.push(Method::ResourcesChanged);
    }
    if differs(Kind::Prompt) {
        methods.push(Method::PromptsChanged);
    }
    methods
}
