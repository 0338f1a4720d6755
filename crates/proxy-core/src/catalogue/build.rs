//! Merging listings into one catalogue.

use std::fmt;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};

use super::capabilities::{Capabilities, Feature, Offer};
use super::lists::List;
use super::{Annotations, Catalogue, Freshness, Item, Kind, Listing, Mirror, Source, TaskSupport};
use crate::ProtocolVersion;
use crate::json::RawJson;
use crate::names::{self, COMFORTABLE_NAME_BYTES};

/// Something in the merged catalogue that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The backend it is about.
    pub backend: Arc<str>,
    /// What, in one sentence; names in it are quoted and escaped.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend `{}`: {}", self.backend, self.message)
    }
}

/// Builds a [`Catalogue`] from backends in configuration order.
#[derive(Debug, Default)]
pub struct CatalogueBuilder {
    sources: Vec<Source>,
    listings: Vec<Option<Arc<Listing>>>,
    away: bool,
    own_instructions: Option<Box<str>>,
}

/// Longest merged instructions, in bytes; clients put them into a model's context.
const MAX_INSTRUCTIONS_BYTES: usize = 64 * 1024;

impl CatalogueBuilder {
    /// Starts with the proxy's own instructions.
    pub fn new(instructions: Option<Box<str>>) -> Self {
        Self {
            own_instructions: instructions,
            ..Self::default()
        }
    }

    /// Adds the next backend; `None` while it has never answered.
    pub fn add(&mut self, source: Source, listing: Option<Arc<Listing>>) {
        self.away |= listing.is_none();
        self.sources.push(source);
        self.listings.push(listing);
    }

    /// Notes that a backend is away, so that nobody can say how long its lists hold.
    pub fn away(&mut self) {
        self.away = true;
    }

    /// Merges. A name that is taken, deceptive or missing is left out, with a warning: first come, first served, in
    /// configuration order.
    pub fn build(self) -> Catalogue {
        let mut warnings = Vec::new();
        let items = Kind::ALL.map(|kind| self.merge(kind, &mut warnings));
        let by_name = [0, 1, 2, 3].map(|kind: usize| {
            items[kind]
                .iter()
                .map(|item| (item.public.clone(), item.clone()))
                .collect::<HashMap<_, _>>()
        });
        let lists = Kind::ALL.map(|kind| List::new(kind, &items[kind as usize], self.freshness(kind)));
        let offers: Vec<_> = self
            .listings
            .iter()
            .map(|listing| listing.as_deref().map(Offer::of))
            .collect();
        let mut digest = Sha256::new();
        for list in &items {
            for item in list {
                digest.update(item.definition.as_bytes());
            }
            digest.update(b"\n");
        }
        let capabilities = Capabilities::merge(&offers);
        let offers: Vec<Offer> = offers.into_iter().map(Option::unwrap_or_default).collect();
        Catalogue {
            capabilities,
            instructions: self.instructions(),
            pages: by_own_name(&items[Kind::Tool as usize], &offers),
            offers,
            sources: self.sources,
            items,
            by_name,
            lists,
            hash: truncate(digest),
            warnings,
        }
    }

    /// How long a merged list holds: as long as each of its parts does.
    fn freshness(&self, kind: Kind) -> Freshness {
        if self.away || self.listings.is_empty() {
            return Freshness::default();
        }
        self.listings.iter().flatten().fold(Freshness::ENDLESS, |all, listing| {
            all.and(listing.freshness[kind as usize])
        })
    }

    fn merge(&self, kind: Kind, warnings: &mut Vec<Warning>) -> Vec<Arc<Item>> {
        let mut taken: HashSet<Box<str>> = HashSet::new();
        let mut merged = Vec::new();
        for (backend, (source, listing)) in self.sources.iter().zip(&self.listings).enumerate() {
            let Some(listing) = listing else { continue };
            let definitions = match kind {
                Kind::Tool => &listing.tools,
                Kind::Resource => &listing.resources,
                Kind::Template => &listing.templates,
                Kind::Prompt => &listing.prompts,
            };
            for definition in definitions {
                let sessionless = listing.version.is_some_and(ProtocolVersion::is_sessionless);
                match make_item(kind, backend, source, definition, sessionless) {
                    Ok(item) if taken.contains(&item.public) => warnings.push(Warning {
                        backend: source.name.clone(),
                        message: format!("{:?} is already offered under that name and was left out", item.public),
                    }),
                    Ok(item) => {
                        if matches!(kind, Kind::Tool | Kind::Prompt) && item.public.len() > COMFORTABLE_NAME_BYTES {
                            warnings.push(Warning {
                                backend: source.name.clone(),
                                message: format!(
                                    "{:?} is longer than {COMFORTABLE_NAME_BYTES} bytes, which some clients refuse",
                                    item.public
                                ),
                            });
                        }
                        taken.insert(item.public.clone());
                        merged.push(Arc::new(item));
                    }
                    Err(message) => warnings.push(Warning {
                        backend: source.name.clone(),
                        message,
                    }),
                }
            }
        }
        merged
    }

    fn instructions(&self) -> Option<Box<str>> {
        let mut text = self.own_instructions.as_deref().unwrap_or_default().to_owned();
        for (source, listing) in self.sources.iter().zip(&self.listings) {
            let Some(own) = listing.as_ref().and_then(|listing| listing.instructions.as_deref()) else {
                continue;
            };
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&format!("# {}\n{own}", source.name));
        }
        let mut end = text.len().min(MAX_INSTRUCTIONS_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        (!text.is_empty()).then(|| text.into())
    }
}

fn make_item(
    kind: Kind,
    backend: usize,
    source: &Source,
    definition: &RawJson,
    sessionless: bool,
) -> Result<Item, String> {
    let key = kind.name_key();
    let Some(local) = definition
        .get(key)
        .and_then(|name| name.string().map(|name| name.into_owned()))
    else {
        return Err(format!(
            "a definition in its {} has no `{key}` and was left out",
            kind.list_key()
        ));
    };
    if local.is_empty() || names::is_deceptive(&local) {
        return Err(format!(
            "{local:?} holds control or invisible characters (or nothing at all) and was left out"
        ));
    }
    let namespace = &source.namespace;
    let public = match kind {
        Kind::Tool | Kind::Prompt => namespace.name(&local),
        Kind::Resource | Kind::Template => namespace.uri(&local),
    };
    let mut public_definition = definition.map_strings(&[&[key]], |_| Some(public.to_string()));
    if kind == Kind::Tool && !namespace.is_empty() {
        // MCP Apps: a tool's page is a resource of the same backend.
        public_definition = public_definition.map_strings(
            &[&["_meta", "ui", "resourceUri"], &["_meta", "ui/resourceUri"]],
            |uri| Some(namespace.uri(uri).into_owned()),
        );
    }
    let annotations = Annotations::of(definition);
    let trusted = source.trust_annotations && (annotations.read_only || annotations.idempotent);
    Ok(Item {
        kind,
        local_json: RawJson::encode(&local),
        backend,
        backend_name: source.name.clone(),
        definition: public_definition.detached(),
        repeatable: trusted,
        annotations,
        mirrors: match kind {
            // A session-era backend never promised the rules of this keyword, so breaking them costs it nothing.
            Kind::Tool => Mirror::of(definition).unwrap_or_default().into(),
            _ => Box::default(),
        },
        task_support: match kind {
            Kind::Tool => TaskSupport::of(definition),
            _ => None,
        },
        wide_output: kind == Kind::Tool && sessionless && has_wide_output(definition),
        definition_hash: truncate(Sha256::new_with_prefix(definition.as_bytes())),
        public: public.into(),
        local: local.into(),
    })
}

/// Whether a tool's output may be something other than an object.
fn has_wide_output(definition: &RawJson) -> bool {
    definition.get("outputSchema").is_some_and(|schema| {
        let root = schema.get("type");
        root.and_then(|root| root.string().map(|root| root != "object"))
            .unwrap_or(true)
    })
}

/// The tools of backends with pages by their own names; `None` where several have one of that name.
fn by_own_name(tools: &[Arc<Item>], offers: &[Offer]) -> HashMap<Box<str>, Option<Arc<Item>>> {
    let mut found = HashMap::new();
    for tool in tools.iter().filter(|tool| offers[tool.backend].has(Feature::Pages)) {
        found
            .entry(tool.local.clone())
            .and_modify(|only| *only = None)
            .or_insert_with(|| Some(tool.clone()));
    }
    found
}

fn truncate(digest: Sha256) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest.finalize()[..16]);
    short
}
