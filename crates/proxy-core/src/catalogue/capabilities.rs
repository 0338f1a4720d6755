//! What backends can do, and the union that the proxy declares to clients of each revision.

use super::{Kind, Listing};
use crate::json::RawJson;
use crate::{ProtocolVersion, TASKS_EXTENSION, UI_EXTENSION};

/// Something a backend can do and the proxy relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Feature {
    /// `tools`.
    Tools,
    /// `resources`.
    Resources,
    /// `prompts`.
    Prompts,
    /// `completions`.
    Completions,
    /// `logging`.
    Logging,
    /// `resources.subscribe`.
    Subscriptions,
    /// `tasks`, for calls of tools (2025-11-25).
    SessionTasks,
    /// The extension for tasks (2026-07-28).
    Tasks,
    /// Pages of MCP Apps: the extension is declared, or there are `ui://` resources.
    Pages,
}

impl Feature {
    const ALL: [Self; 9] = [
        Self::Tools,
        Self::Resources,
        Self::Prompts,
        Self::Completions,
        Self::Logging,
        Self::Subscriptions,
        Self::SessionTasks,
        Self::Tasks,
        Self::Pages,
    ];

    fn of(self, listing: &Listing) -> bool {
        let declares = |path: &[&str]| {
            let found = path
                .iter()
                .try_fold(listing.capabilities.clone()?, |object, key| object.get(key))?;
            Some(found.is_object() || found.as_str() == "true")
        };
        let declares = |path: &[&str]| declares(path).unwrap_or(false);
        let sessionless = listing.version.is_some_and(ProtocolVersion::is_sessionless);
        match self {
            Self::Tools => declares(&["tools"]),
            Self::Resources => declares(&["resources"]),
            Self::Prompts => declares(&["prompts"]),
            Self::Completions => declares(&["completions"]),
            Self::Logging => declares(&["logging"]),
            Self::Subscriptions => declares(&["resources", "subscribe"]),
            Self::SessionTasks => !sessionless && declares(&["tasks", "requests", "tools", "call"]),
            Self::Tasks => sessionless && declares(&["extensions", TASKS_EXTENSION]),
            Self::Pages => {
                let is_page = |definition: &RawJson, key| {
                    let uri = definition.get(key);
                    uri.is_some_and(|uri| uri.string().is_some_and(|uri| uri.starts_with("ui://")))
                };
                declares(&["extensions", UI_EXTENSION])
                    || listing
                        .resources
                        .iter()
                        .any(|one| is_page(one, Kind::Resource.name_key()))
                    || listing
                        .templates
                        .iter()
                        .any(|one| is_page(one, Kind::Template.name_key()))
            }
        }
    }
}

/// The features of one backend; one that has not answered yet has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer {
    features: u16,
}

impl Offer {
    pub(super) fn of(listing: &Listing) -> Self {
        let features = Feature::ALL
            .into_iter()
            .filter(|feature| feature.of(listing))
            .fold(0, |all, feature| all | 1 << feature as u8);
        Self { features }
    }

    pub(super) fn has(self, feature: Feature) -> bool {
        self.features & (1 << feature as u8) != 0
    }
}

/// What the proxy declares, by the revision of the client.
#[derive(Debug)]
pub(super) struct Capabilities {
    early: RawJson,
    latest_session: RawJson,
    sessionless: RawJson,
}

impl Capabilities {
    /// The union. While a backend has yet to answer for the first time, everything relayed is declared: a client reads
    /// the capabilities once, and what comes later would be lost on it.
    pub(super) fn merge(offers: &[Option<Offer>]) -> Self {
        let incomplete = offers.iter().any(Option::is_none);
        let offered = |feature| incomplete || offers.iter().flatten().any(|offer| offer.has(feature));
        // The proxy's own lists change when backends come and go, whatever the backends say of theirs.
        let mut members = Vec::new();
        let mut declare = |feature, member: &str| {
            if offered(feature) {
                members.push(member.to_owned());
            }
        };
        declare(Feature::Tools, r#""tools":{"listChanged":true}"#);
        if offered(Feature::Subscriptions) {
            declare(
                Feature::Resources,
                r#""resources":{"listChanged":true,"subscribe":true}"#,
            );
        } else {
            declare(Feature::Resources, r#""resources":{"listChanged":true}"#);
        }
        declare(Feature::Prompts, r#""prompts":{"listChanged":true}"#);
        declare(Feature::Completions, r#""completions":{}"#);
        declare(Feature::Logging, r#""logging":{}"#);
        let early = object(&members);
        let mut latest_session = members.clone();
        if offered(Feature::SessionTasks) {
            // No `list`: whose tasks a shared backend would list, nobody can tell.
            latest_session.push(r#""tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}"#.to_owned());
        }
        let extensions: Vec<String> = [(Feature::Tasks, TASKS_EXTENSION), (Feature::Pages, UI_EXTENSION)]
            .into_iter()
            .filter(|(feature, _)| offered(*feature))
            .map(|(_, name)| format!("\"{name}\":{{}}"))
            .collect();
        if !extensions.is_empty() {
            members.push(format!("\"extensions\":{}", object(&extensions).as_str()));
        }
        Self {
            early,
            latest_session: object(&latest_session),
            sessionless: object(&members),
        }
    }

    /// As a client of `version` understands it.
    pub(super) fn of(&self, version: ProtocolVersion) -> &RawJson {
        if version.is_sessionless() {
            &self.sessionless
        } else if version >= ProtocolVersion::V2025_11_25 {
            &self.latest_session
        } else {
            &self.early
        }
    }
}

fn object(members: &[String]) -> RawJson {
    RawJson::trusted(format!("{{{}}}", members.join(",")).into())
}
