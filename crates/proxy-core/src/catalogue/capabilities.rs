//! What backends can do, and the union that the proxy declares.

use super::Listing;
use crate::json::RawJson;

/// A server capability that the proxy relays.
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
}

impl Feature {
    const ALL: [Self; 5] = [
        Self::Tools,
        Self::Resources,
        Self::Prompts,
        Self::Completions,
        Self::Logging,
    ];

    fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Prompts => "prompts",
            Self::Completions => "completions",
            Self::Logging => "logging",
        }
    }

    fn declared(self) -> &'static str {
        match self {
            // The proxy's own lists change when backends come and go, whatever the backends say of theirs.
            Self::Tools | Self::Resources | Self::Prompts => r#"{"listChanged":true}"#,
            Self::Completions | Self::Logging => "{}",
        }
    }
}

/// The features one backend declared; a backend that has not answered yet declared nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer {
    features: u8,
}

impl Offer {
    pub(super) fn of(listing: &Listing) -> Self {
        let declared = listing.capabilities.as_ref();
        let has = |feature: &Feature| {
            declared
                .and_then(|all| all.get(feature.key()))
                .is_some_and(|raw| raw.is_object())
        };
        let features = Feature::ALL
            .iter()
            .filter(|feature| has(feature))
            .fold(0, |all, &feature| all | 1 << feature as u8);
        Self { features }
    }

    pub(super) fn has(self, feature: Feature) -> bool {
        self.features & (1 << feature as u8) != 0
    }
}

/// The union. While a backend has yet to answer for the first time, everything relayed is declared: a client reads the
/// capabilities once, and what comes later would be lost on it.
pub(super) fn merge(offers: &[Option<Offer>]) -> RawJson {
    let incomplete = offers.iter().any(Option::is_none);
    let offered = |feature: &&Feature| incomplete || offers.iter().flatten().any(|offer| offer.has(**feature));
    let members: Vec<_> = Feature::ALL
        .iter()
        .filter(offered)
        .map(|feature| format!("\"{}\":{}", feature.key(), feature.declared()))
        .collect();
    RawJson::trusted(format!("{{{}}}", members.join(",")).into())
}
