//! From sources to a [`ProxyConfig`]: read, layer, complete, import, check.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::check::check;
use super::document::{Data, Layer, Node, Places, join};
use super::interpolate::{Refusal, interpolate, reason};
use super::problem::{ConfigErrors, Place, Problem, SourceText, sort};
use super::slip::Slip;
use super::{Format, Origin, ProxyConfig, json_text, mcp_json, schema, toml_text};
use crate::plan::Plan;

/// Largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// What variables that set keys begin with.
const PREFIX: &str = "MCP_PROXY__";

/// The environment variables that a configuration may use.
#[derive(Clone, Debug)]
pub enum Environment {
    /// Those of this process.
    Process,
    /// These and no others.
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Process => std::env::var(name).ok(),
            Self::Fixed(variables) => variables.get(name).cloned(),
        }
    }

    /// The variables that set keys, in the order of their names.
    fn keys(&self) -> BTreeMap<String, String> {
        let is_key = |name: &str| name.starts_with(PREFIX);
        match self {
            Self::Process => std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, _)| is_key(name))
                .collect(),
            Self::Fixed(variables) => variables
                .iter()
                .filter(|(name, _)| is_key(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

/// Reads a configuration from its sources. [`ProxyConfig::load`] is the short form.
///
/// ```
/// use mcp_proxy::config::{Format, Loader};
///
/// let text = "proxy.name = 'mine'\nbackends = [{ name = 'demo', transport = 'builtin' }]";
/// let config = Loader::new().set("proxy.listen.port", "9000", "--port").parse(text, Format::Toml)?;
/// assert_eq!(config.proxy.listen.port, Some(9000));
/// # Ok::<_, mcp_proxy::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader {
    environment: Environment,
    overrides: Vec<Override>,
    imports: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Override {
    key: String,
    value: String,
    place: Place,
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// A loader that uses the environment of this process.
    pub fn new() -> Self {
        Self {
            environment: Environment::Process,
            overrides: Vec::new(),
            imports: Vec::new(),
        }
    }

    /// Uses these environment variables instead.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets a key, such as `proxy.listen.port`, above all other sources. `argument` says where it comes from.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str, argument: &str) -> Self {
        self.overrides.push(Override {
            key: key.into(),
            value: value.into(),
            place: Place::Argument(argument.into()),
        });
        self
    }

    /// Adds the servers of a `.mcp.json`; backends of the same name in the configuration win.
    #[must_use]
    pub fn import(mut self, path: impl Into<PathBuf>) -> Self {
        self.imports.push(path.into());
        self
    }

    /// Reads a file; its ending says whether it is TOML or YAML.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<ProxyConfig, ConfigErrors> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let text = read(path, &shown, None).map_err(|problem| ConfigErrors::new(vec![problem]))?;
        self.assemble(&shown, text, Format::of(path), &folder_of(path))
    }

    /// Reads a text, whose relative paths start in the current folder.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self, text: &str, format: Format) -> Result<ProxyConfig, ConfigErrors> {
        let name = match format {
            Format::Toml => "configuration.toml",
            Format::Yaml => "configuration.yaml",
        };
        self.assemble(name, text.to_owned(), format, &folder_of(Path::new("")))
    }

    /// Reads a `.mcp.json` as the whole configuration: named after its folder, on `127.0.0.1:8080`, with the separator `__`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_mcp_json(&self, path: impl AsRef<Path>) -> Result<ProxyConfig, ConfigErrors> {
        let path = path.as_ref();
        let folder = folder_of(path);
        let name = folder
            .file_name()
            .map_or("mcp-proxy".into(), |name| name.to_string_lossy());
        let proxy = BTreeMap::from([("name", Value::from(name.as_ref())), ("separator", Value::from("__"))]);
        let base = Value::from(BTreeMap::from([("proxy", Value::from(proxy))]));
        let mut loader = self.clone();
        loader.imports.insert(0, path.to_owned());
        Assembly::new(&loader, &folder).finish(Layer::new("defaults", base))
    }

    fn assemble(&self, name: &str, text: String, format: Format, folder: &Path) -> Result<ProxyConfig, ConfigErrors> {
        let source = Arc::new(SourceText {
            name: name.into(),
            text,
        });
        let root = match format {
            Format::Toml => toml_text::read(&source.text),
            #[cfg(feature = "yaml")]
            Format::Yaml => super::yaml_text::read(&source.text),
            #[cfg(not(feature = "yaml"))]
            Format::Yaml => Err(vec![Slip::new(
                0..0,
                "built without `yaml`",
                "write the configuration as TOML",
            )]),
        };
        let root = root.and_then(|root| match root.data {
            Data::Table(_) => Ok(root),
            _ => Err(vec![Slip::new(
                root.span,
                "a configuration is a table of keys",
                "begin with the `proxy` section",
            )]),
        });
        let root = root
            .map_err(|slips| ConfigErrors::new(slips.into_iter().map(|slip| slip.into_problem(&source)).collect()))?;
        let mut assembly = Assembly::new(self, folder);
        assembly.places.enter_root(&source);
        assembly.places.enter(&source, "", &root);
        assembly.finish(Layer::new(name, root.value()))
    }
}

/// A configuration in the making.
struct Assembly<'l> {
    loader: &'l Loader,
    folder: &'l Path,
    places: Places,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'l> Assembly<'l> {
    fn new(loader: &'l Loader, folder: &'l Path) -> Self {
        Self {
            loader,
            folder,
            places: Places::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn finish(mut self, base: Layer) -> Result<ProxyConfig, ConfigErrors> {
        let variables = self.variables();
        let overrides = self.overrides();
        // Defaults are those of the types: a key that no layer has keeps its own.
        let merged: Result<Dict, _> = Figment::from(base).merge(variables).merge(overrides).extract();
        let mut value = match merged {
            Ok(dict) => Value::from(dict),
            Err(error) => return Err(ConfigErrors::new(vec![plain(error.to_string(), "")])),
        };
        let folder = self.folder;
        self.places.set_names(names(&value));
        self.complete(&mut value, "", folder);
        self.import_all(&mut value);
        self.places.set_names(names(&value));
        self.problems.extend(check(&mut value, &schema(), &mut self.places));
        let mut config: ProxyConfig = match value.deserialize() {
            Ok(config) => config,
            Err(error) => {
                let path = error.path.iter().fold(String::new(), |path, name| join(&path, name));
                self.problems
                    .push(self.places.at_value(&path, error.kind.to_string(), ""));
                return Err(ConfigErrors::new(self.problems));
            }
        };
        sort(&mut self.warnings);
        config.origin = Origin {
            places: Arc::new(self.places),
            folder: self.folder.to_owned(),
            warnings: self.warnings,
        };
        if self.problems.is_empty() {
            return Ok(config);
        }
        // What is left of the file may have more problems: all of them are reported in one run.
        if let Err(more) = Plan::from_config(&config) {
            self.problems.extend(more.into_problems());
        }
        Err(ConfigErrors::new(self.problems))
    }

    fn variables(&mut self) -> Layer {
        let mut dict = Dict::new();
        for (name, value) in self.loader.environment.keys() {
            let path = name[PREFIX.len()..].to_lowercase();
            let parts: Vec<&str> = path.split("__").collect();
            let place = Place::Variable(name.clone());
            if parts.contains(&"") {
                let message = format!("the environment variable `{name}` names no key");
                let remedy = "write MCP_PROXY__PROXY__LISTEN__PORT for `proxy.listen.port`";
                self.problems.push(at(place, message, remedy));
            } else if parts[0] == "backends" && parts.len() > 1 {
                let message = "a single backend cannot be changed by an environment variable";
                let remedy = "write `${NAME}` where the value stands in the file";
                self.problems.push(at(place, message, remedy));
            } else {
                self.put(&mut dict, &parts, &value, &place);
            }
        }
        Layer::new("environment", Value::Dict(Tag::Default, dict))
    }

    fn overrides(&mut self) -> Layer {
        let mut dict = Dict::new();
        for given in &self.loader.overrides {
            let parts: Vec<&str> = given.key.split('.').collect();
            self.put(&mut dict, &parts, &given.value, &given.place);
        }
        Layer::new("command line", Value::Dict(Tag::Default, dict))
    }

    /// Puts a text into nested tables, and enters its place for each of them that has none.
    fn put(&mut self, dict: &mut Dict, parts: &[&str], text: &str, place: &Place) {
        let mut dict = dict;
        let mut path = String::new();
        for (index, part) in parts.iter().enumerate() {
            path = join(&path, part);
            let is_last = index + 1 == parts.len();
            if is_last || self.places.value(&path).is_none() {
                self.places.enter_one(path.clone(), place.clone(), place.clone());
            }
            if is_last {
                dict.insert((*part).to_owned(), Value::from(text));
                return;
            }
            let next = dict
                .entry((*part).to_owned())
                .or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if !matches!(next, Value::Dict(..)) {
                *next = Value::Dict(Tag::Default, Dict::new());
            }
            let Value::Dict(_, inner) = next else { return };
            dict = inner;
        }
    }

    /// Fills in `${…}` everywhere; takes out what cannot be completed.
    fn complete(&mut self, value: &mut Value, path: &str, folder: &Path) {
        match value {
            Value::Dict(_, members) => {
                for (name, member) in members.iter_mut() {
                    self.complete(member, &join(path, name), folder);
                }
                members.retain(|name, _| !self.places.is_spoiled(&join(path, name)));
            }
            Value::Array(_, items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.complete(item, &format!("{path}[{index}]"), folder);
                }
            }
            Value::String(_, text) => match interpolate(text, &self.loader.environment, folder) {
                Ok(None) => {}
                Ok(Some(complete)) => {
                    *text = complete;
                    self.places.loosen(path);
                }
                Err(Refusal { message, remedy }) => {
                    self.problems.push(self.places.at_value(path, message, remedy));
                    self.places.spoil(path);
                }
            },
            _ => {}
        }
    }

    /// Adds the servers of `proxy.import_backends` and of the loader's own imports.
    fn import_all(&mut self, value: &mut Value) {
        let written = value
            .find_ref("proxy.import_backends")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if let Some(written) = written {
            let place = self.places.value("proxy.import_backends");
            self.import(value, &self.folder.join(&written), &written, place);
        }
        for path in &self.loader.imports {
            self.import(value, path, &path.display().to_string(), None);
        }
    }

    fn import(&mut self, value: &mut Value, path: &Path, shown: &str, place: Option<Place>) {
        let text = match read(path, shown, place) {
            Ok(text) => text,
            Err(problem) => return self.problems.push(problem),
        };
        let source = Arc::new(SourceText {
            name: shown.into(),
            text,
        });
        let root = match json_text::read(&source.text) {
            Ok(root) => root,
            Err(slips) => {
                let problems = slips.into_iter().map(|slip| slip.into_problem(&source));
                return self.problems.extend(problems);
            }
        };
        let found = mcp_json::servers(&root);
        self.problems
            .extend(found.errors.into_iter().map(|slip| slip.into_problem(&source)));
        self.warnings
            .extend(found.warnings.into_iter().map(|slip| slip.into_problem(&source)));
        let folder = folder_of(path);
        for backend in found.backends {
            self.add(value, &backend, &source, &folder);
        }
    }

    fn add(&mut self, value: &mut Value, backend: &Node, source: &Arc<SourceText>, folder: &Path) {
        let Value::Dict(_, members) = value else { return };
        let backends = members
            .entry("backends".to_owned())
            .or_insert_with(|| Value::Array(Tag::Default, Vec::new()));
        // Anything but a list is refused later.
        let Value::Array(_, backends) = backends else { return };
        let mut imported = backend.value();
        let name = imported.find_ref("name").and_then(Value::as_str).map(str::to_owned);
        let from_another = |other: &Value| other.find_ref("name").and_then(Value::as_str) == name.as_deref();
        if backends.iter().any(from_another) {
            return;
        }
        let path = format!("backends[{}]", backends.len());
        let place = Place::Text {
            source: Arc::clone(source),
            span: backend.span.clone(),
        };
        self.places.enter_one(path.clone(), place.clone(), place);
        self.places.enter(source, &path, backend);
        self.places.add_name(name);
        self.complete(&mut imported, &path, folder);
        // The importing file may stand in another folder: relative paths keep meaning the same.
        if folder != self.folder {
            absolute(&mut imported, folder);
        }
        backends.push(imported);
    }
}

/// Makes the paths of an imported backend independent of the folder they are read from.
fn absolute(backend: &mut Value, folder: &Path) {
    let Value::Dict(_, members) = backend else { return };
    for (name, value) in members.iter_mut() {
        let Value::String(_, text) = value else { continue };
        let is_path = name == "cwd" || (name == "command" && Path::new(text.as_str()).components().count() > 1);
        if is_path {
            *text = folder.join(text.as_str()).display().to_string();
        }
    }
}

/// The names of the backends, as far as they have some.
fn names(value: &Value) -> Vec<Option<String>> {
    let backends = value.find_ref("backends").and_then(Value::as_array).unwrap_or_default();
    let name = |backend: &Value| backend.find_ref("name")?.as_str().map(str::to_owned);
    backends.iter().map(name).collect()
}

fn read(path: &Path, shown: &str, place: Option<Place>) -> Result<String, Problem> {
    let mut text = String::new();
    let result = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    let refused = |message: String, remedy: &str| Problem {
        key: place.as_ref().map_or("", |_| "proxy.import_backends").to_owned(),
        place: place.clone(),
        ..plain(message, remedy)
    };
    match result {
        Err(error) => {
            let remedy = match place {
                Some(_) => "name a readable file; the path is relative to the folder of this one",
                None => "name a readable file; `mcp-proxy init` writes a first configuration",
            };
            Err(refused(format!("cannot read `{shown}`: {}", reason(&error)), remedy))
        }
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            let message = format!("`{shown}` is larger than {MAX_FILE_BYTES} bytes");
            Err(refused(message, "name the configuration file"))
        }
        Ok(_) => Ok(text),
    }
}

/// The folder that relative paths of a file start in.
fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).or_else(|_| std::env::current_dir());
    match (absolute, path.as_os_str().is_empty()) {
        (Ok(folder), true) => folder,
        (Ok(absolute), false) => absolute.parent().unwrap_or(Path::new("/")).to_owned(),
        (Err(_), _) => std::env::current_dir().unwrap_or_default(),
    }
}

fn plain(message: String, remedy: &str) -> Problem {
    Problem {
        key: String::new(),
        place: None,
        message,
        remedy: Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty()),
        secret: false,
    }
}

fn at(place: Place, message: impl Into<String>, remedy: &str) -> Problem {
    Problem {
        place: Some(place),
        ..plain(message.into(), remedy)
    }
}
