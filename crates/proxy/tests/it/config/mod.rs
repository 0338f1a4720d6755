//! Reading configurations: what is understood, and what is said of mistakes.

mod examples;
mod layers;
mod mcp_json;
mod mistakes;
mod never_panics;
mod pages;

use std::collections::BTreeMap;

use mcp_proxy::config::{ConfigErrors, Environment, Format, Loader, ProxyConfig};
use mcp_proxy::plan::Plan;

/// A loader that sees these variables and no others.
fn loader(variables: &[(&str, &str)]) -> Loader {
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Loader::new().environment(Environment::Fixed(variables))
}

fn parse(text: &str) -> Result<ProxyConfig, ConfigErrors> {
    loader(&[]).parse(text, Format::Toml)
}

fn plan(text: &str) -> Result<Plan, ConfigErrors> {
    parse(text).and_then(|config| Plan::from_config(&config))
}
