//! A document of any format as one kind of tree, in which every key and value knows its bytes; and the layers of such
//! documents, which figment puts on top of each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use figment::value::{Dict, Empty, Map, Num, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::problem::{Place, Problem, SourceText};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) data: Data,
    pub(crate) span: Range<usize>,
}

/// What configuration files can say.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

/// The name of a member and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

/// Deepest nesting of a document. The configuration needs six.
pub(crate) const MAX_DEPTH: usize = 64;

impl Node {
    /// The value without its places.
    pub(crate) fn value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Empty(Tag::Default, Empty::Unit),
            Data::Bool(value) => Value::from(*value),
            Data::Integer(value) => Value::Num(Tag::Default, Num::I64(*value)),
            Data::Float(value) => Value::Num(Tag::Default, Num::F64(*value)),
            Data::Text(text) => Value::from(text.as_str()),
            Data::List(items) => Value::from(items.iter().map(Self::value).collect::<Vec<_>>()),
            Data::Table(members) => Value::from(
                members
                    .iter()
                    .map(|(key, node)| (key.name.clone(), node.value()))
                    .collect::<BTreeMap<_, _>>(),
            ),
        }
    }
}

/// One source of configuration, ready to be layered.
pub(crate) struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    pub(crate) fn new(name: impl Into<String>, value: Value) -> Self {
        let dict = value.into_dict().unwrap_or_default();
        Self {
            name: name.into(),
            dict,
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Where each key of the merged configuration was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    entries: HashMap<String, Entry>,
    /// Keys whose values were refused; what follows from their absence is not worth a second message.
    spoiled: HashSet<String>,
    /// Keys whose values were completed from outside the file, where everything is text.
    loose: HashSet<String>,
    /// Names of the backends, for paths that people read.
    names: Vec<Option<String>>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Place,
    value: Place,
}

impl Places {
    /// Enters a whole document; what it says wins over what was entered before.
    pub(crate) fn enter(&mut self, source: &Arc<SourceText>, path: &str, node: &Node) {
        match &node.data {
            Data::Table(members) => {
                for (key, node) in members {
                    let path = join(path, &key.name);
                    self.enter_one(
                        path.clone(),
                        text_place(source, &key.span),
                        text_place(source, &node.span),
                    );
                    self.enter(source, &path, node);
                }
            }
            Data::List(items) => {
                for (index, node) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let place = text_place(source, &node.span);
                    self.enter_one(path.clone(), place.clone(), place);
                    self.enter(source, &path, node);
                }
            }
            _ => {}
        }
    }

    /// Enters one key.
    pub(crate) fn enter_one(&mut self, path: String, key: Place, value: Place) {
        self.entries.insert(path, Entry { key, value });
    }

    /// Where the key stands; that of the nearest table around it when it does not stand anywhere.
    pub(crate) fn key(&self, path: &str) -> Option<Place> {
        self.nearest(path).map(|entry| entry.key.clone())
    }

    /// Where the value stands, or else the nearest table around it.
    pub(crate) fn value(&self, path: &str) -> Option<Place> {
        match self.entries.get(path) {
            Some(entry) => Some(entry.value.clone()),
            None => self.key(path),
        }
    }

    /// Whether the value came from outside a file, where everything is text.
    pub(crate) fn is_loose(&self, path: &str) -> bool {
        let elsewhere = |entry: &Entry| !matches!(entry.value, Place::Text { .. });
        self.loose.contains(path) || self.nearest(path).is_some_and(elsewhere)
    }

    pub(crate) fn loosen(&mut self, path: &str) {
        self.loose.insert(path.to_owned());
    }

    fn nearest(&self, path: &str) -> Option<&Entry> {
        let mut path = path;
        loop {
            if let Some(entry) = self.entries.get(path) {
                return Some(entry);
            }
            path = parent(path)?;
        }
    }

    pub(crate) fn spoil(&mut self, path: &str) {
        self.spoiled.insert(path.to_owned());
    }

    /// Whether the key or a table around it has been complained of already.
    pub(crate) fn is_spoiled(&self, path: &str) -> bool {
        let mut path = Some(path);
        while let Some(at) = path {
            if self.spoiled.contains(at) {
                return true;
            }
            path = parent(at);
        }
        false
    }

    /// The whole of a text: the place of what stands nowhere in it.
    pub(crate) fn enter_root(&mut self, source: &Arc<SourceText>) {
        let place = text_place(source, &(0..0));
        self.enter_one(String::new(), place.clone(), place);
    }

    pub(crate) fn set_names(&mut self, names: Vec<Option<String>>) {
        self.names = names;
    }

    pub(crate) fn add_name(&mut self, name: Option<String>) {
        self.names.push(name);
    }

    /// The path as people read it: backends by name.
    pub(crate) fn shown(&self, path: &str) -> String {
        let named = |rest: &str| {
            let (index, rest) = rest.split_once(']')?;
            let name = self.names.get(index.parse::<usize>().ok()?)?.as_ref()?;
            Some(format!("backends.{name}{rest}"))
        };
        path.strip_prefix("backends[")
            .and_then(named)
            .unwrap_or_else(|| path.to_owned())
    }

    /// A problem with the value at `path`.
    pub(crate) fn at_value(&self, path: &str, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        self.problem(path, self.value(path), message.into(), remedy.into())
    }

    /// A problem with the key at `path`, or with its absence.
    pub(crate) fn at_key(&self, path: &str, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        self.problem(path, self.key(path), message.into(), remedy.into())
    }

    fn problem(&self, path: &str, place: Option<Place>, message: String, remedy: String) -> Problem {
        Problem {
            key: self.shown(path),
            place,
            message,
            remedy: Some(remedy).filter(|remedy| !remedy.is_empty()),
            secret: is_secret(path),
        }
    }
}

/// The path of a member.
pub(crate) fn join(path: &str, name: &str) -> String {
    let is_bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

fn parent(path: &str) -> Option<&str> {
    // A quoted name may hold dots: the search then stops at a path that is no key, and goes on from there.
    match path.rfind(['.', '[']) {
        Some(end) => Some(&path[..end]),
        None => (!path.is_empty()).then_some(""),
    }
}

/// Whether the value is one that nobody should print.
fn is_secret(path: &str) -> bool {
    path.split(['.', '['])
        .any(|part| matches!(part, "bearer_token" | "headers" | "env" | "url"))
}

fn text_place(source: &Arc<SourceText>, span: &Range<usize>) -> Place {
    Place::Text {
        source: Arc::clone(source),
        span: span.clone(),
    }
}
