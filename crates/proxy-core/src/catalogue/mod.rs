//! The catalogue: what all backends offer, as one immutable snapshot.
//!
//! A [`Catalogue`] is built whenever a backend's lists change and swapped in atomically. It answers three questions
//! without looking at any backend: what is listed ([`Catalogue::list`], the bytes are already written), who owns a
//! public name ([`Catalogue::tool`], [`Catalogue::prompt`], [`Catalogue::resource`]), and what the proxy can do
//! ([`Catalogue::capabilities`]). Order is deterministic: backends as configured, then each backend's own order. A
//! backend that is down keeps its last known lists; it never delays or empties those of others.

mod annotations;
mod build;
mod capabilities;
mod freshness;
mod lists;
mod mirror;
mod task;
mod template;
#[cfg(test)]
mod tests;
mod uris;

use std::sync::Arc;

use hashbrown::HashMap;

use crate::ProtocolVersion;
use crate::json::RawJson;
use crate::names::Namespace;

pub use annotations::Annotations;
pub use build::{CatalogueBuilder, Warning};
pub use capabilities::Feature;
pub use freshness::Freshness;
pub use mirror::{Mirror, decode_header, encode_header};
pub use task::{
    TaskSupport, created_task, localise_related_task, localise_task_result, localise_task_status, public_task_id,
    without_related_task,
};
pub use uris::localise_result;

/// Which backend, by its place in the configuration.
pub type BackendIndex = usize;

/// What one backend offered when it was last asked: its definitions, untouched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The revision it speaks; `None` where nobody said.
    pub version: Option<ProtocolVersion>,
    /// Its `capabilities`, as it declared them.
    pub capabilities: Option<RawJson>,
    /// Its `serverInfo`.
    pub server_info: Option<RawJson>,
    /// Its `instructions`.
    pub instructions: Option<Box<str>>,
    /// Definitions of its tools, all pages.
    pub tools: Vec<RawJson>,
    /// Its resources.
    pub resources: Vec<RawJson>,
    /// Its resource templates.
    pub templates: Vec<RawJson>,
    /// Its prompts.
    pub prompts: Vec<RawJson>,
    /// How long each list holds, by [`Kind`].
    pub freshness: [Freshness; 4],
}

/// A backend as the catalogue sees it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its configured name.
    pub name: Arc<str>,
    /// How its names become public.
    pub namespace: Namespace,
    /// Whether the operator vouches for its annotations.
    pub trust_annotations: bool,
}

/// The four kinds of things a backend lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Tools.
    Tool,
    /// Resources.
    Resource,
    /// Resource templates.
    Template,
    /// Prompts.
    Prompt,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Resource, Self::Template, Self::Prompt];

    /// The member of a list result that holds the definitions.
    pub fn list_key(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Resource => "resources",
            Self::Template => "resourceTemplates",
            Self::Prompt => "prompts",
        }
    }

    /// The member of a definition that names it.
    pub fn name_key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

/// One definition: who owns it and how it appears.
#[derive(Debug)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its public name or URI.
    pub public: Box<str>,
    /// The backend's own name or URI for it.
    pub local: Box<str>,
    /// The same as JSON text, ready to be spliced into a call.
    pub local_json: RawJson,
    /// The backend that owns it.
    pub backend: BackendIndex,
    /// That backend's name.
    pub backend_name: Arc<str>,
    /// The definition as clients see it: the backend's text with the public name.
    pub definition: RawJson,
    /// The backend's hints about a tool; untrusted unless the operator says otherwise.
    pub annotations: Annotations,
    /// Arguments that a request repeats in headers (2026-07-28); empty unless the tool's schema asks for it.
    pub mirrors: Box<[Mirror]>,
    /// Whether a tool's calls can be tasks (2025-11-25); `None` when it does not say.
    pub task_support: Option<TaskSupport>,
    /// Digest of the backend's own definition, to notice when it changes.
    pub definition_hash: [u8; 16],
    repeatable: bool,
    /// A tool whose structured output may be something other than an object (since 2026-07-28).
    wide_output: bool,
}

impl Item {
    /// Whether running it twice does no harm, on the operator's word.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }
}

/// A snapshot of everything offered. See the module page.
#[derive(Debug)]
pub struct Catalogue {
    sources: Vec<Source>,
    items: [Vec<Arc<Item>>; 4],
    by_name: [HashMap<Box<str>, Arc<Item>>; 4],
    lists: [lists::List; 4],
    offers: Vec<capabilities::Offer>,
    capabilities: capabilities::Capabilities,
    /// Tools by the names that pages of MCP Apps know them by.
    pages: HashMap<Box<str>, Option<Arc<Item>>>,
    instructions: Option<Box<str>>,
    hash: [u8; 16],
    warnings: Vec<Warning>,
}

/// Where a resource URI leads.
#[derive(Clone, Debug)]
pub struct ResourceTarget {
    /// The backend that owns it.
    pub backend: BackendIndex,
    /// The backend's own URI.
    pub local: String,
    /// Its definition, when it is listed by itself.
    pub item: Option<Arc<Item>>,
}

impl Catalogue {
    /// The `tools/list` (and so on) result for a client of this revision, written out.
    pub fn list(&self, kind: Kind, version: ProtocolVersion) -> &RawJson {
        self.lists[kind as usize].result(version, self.items(kind))
    }

    /// All definitions of a kind, in list order.
    pub fn items(&self, kind: Kind) -> &[Arc<Item>] {
        &self.items[kind as usize]
    }

    /// The tool with this public name.
    pub fn tool(&self, public: &str) -> Option<&Arc<Item>> {
        self.by_name[Kind::Tool as usize].get(public)
    }

    /// The tool that a page of MCP Apps means by this name: a page is written for its own server and knows no other
    /// names. Only where exactly one backend with pages has such a tool.
    pub fn page_tool(&self, local: &str) -> Option<&Arc<Item>> {
        self.pages.get(local)?.as_ref()
    }

    /// The prompt with this public name.
    pub fn prompt(&self, public: &str) -> Option<&Arc<Item>> {
        self.by_name[Kind::Prompt as usize].get(public)
    }

    /// Who serves a public resource URI.
    ///
    /// Listed resources first, then the namespace that the URI begins with, then the templates of backends without a
    /// namespace; last, the only such backend that has resources at all. Anything else is not found rather than guessed.
    pub fn resource(&self, public: &str) -> Option<ResourceTarget> {
        if let Some(item) = self.by_name[Kind::Resource as usize].get(public) {
            return Some(ResourceTarget {
                backend: item.backend,
                local: item.local.to_string(),
                item: Some(item.clone()),
            });
        }
        self.unlisted_uri(public, |local, template| template::matches(template, local))
    }

    /// Who serves a public URI template, for completion.
    pub fn template(&self, public: &str) -> Option<ResourceTarget> {
        if let Some(item) = self.by_name[Kind::Template as usize].get(public) {
            return Some(ResourceTarget {
                backend: item.backend,
                local: item.local.to_string(),
                item: Some(item.clone()),
            });
        }
        self.unlisted_uri(public, |local, template| local == template)
    }

    fn unlisted_uri(&self, public: &str, fits: impl Fn(&str, &str) -> bool) -> Option<ResourceTarget> {
        let with_resources = || (0..self.sources.len()).filter(|&index| self.offers[index].has(Feature::Resources));
        let target = |backend: BackendIndex, local: &str| ResourceTarget {
            backend,
            local: local.to_owned(),
            item: None,
        };
        for backend in with_resources() {
            let namespace = &self.sources[backend].namespace;
            if !namespace.is_empty()
                && let Some(local) = namespace.local_uri(public)
            {
                return Some(target(backend, local));
            }
        }
        let bare = || with_resources().filter(|&index| self.sources[index].namespace.is_empty());
        for item in &self.items[Kind::Template as usize] {
            if self.sources[item.backend].namespace.is_empty() && fits(public, &item.local) {
                return Some(target(item.backend, public));
            }
        }
        match (bare().next(), bare().nth(1)) {
            (Some(only), None) => Some(target(only, public)),
            _ => None,
        }
    }

    /// The namespace of a backend.
    pub fn namespace(&self, backend: BackendIndex) -> &Namespace {
        &self.sources[backend].namespace
    }

    /// Whether a backend has a feature.
    pub fn offers(&self, backend: BackendIndex, feature: Feature) -> bool {
        self.offers.get(backend).is_some_and(|offer| offer.has(feature))
    }

    /// The one backend without a namespace, if there is exactly one: what nobody has a rule for is its own.
    pub fn bare(&self) -> Option<BackendIndex> {
        let mut bare = (0..self.sources.len()).filter(|&index| self.sources[index].namespace.is_empty());
        bare.next().filter(|_| bare.next().is_none())
    }

    /// The backend behind a public task id, and its own id.
    pub fn task<'a>(&self, public: &'a str) -> Option<(BackendIndex, &'a str)> {
        let (backend, local) = task::split(public)?;
        let index = self.sources.iter().position(|source| &*source.name == backend)?;
        Some((index, local))
    }

    /// The backends that declared a feature, in configuration order.
    pub fn backends_with(&self, feature: Feature) -> impl Iterator<Item = BackendIndex> + '_ {
        self.offers
            .iter()
            .enumerate()
            .filter(move |(_, offer)| offer.has(feature))
            .map(|(index, _)| index)
    }

    /// What the proxy declares to a client of this revision: the union of what backends offer and the proxy relays.
    pub fn capabilities(&self, version: ProtocolVersion) -> &RawJson {
        self.capabilities.of(version)
    }

    /// The backends' instructions, each under its name.
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// A digest of everything listed, equal from run to run.
    pub fn hash(&self) -> &[u8; 16] {
        &self.hash
    }

    /// What was left out or deserves a look.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}
