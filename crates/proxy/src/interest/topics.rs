//! [`Topics`]: which session wants to hear of what, read from both ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mcp_proxy_core::catalogue::BackendIndex;
use mcp_proxy_core::{LogLevel, SessionKey};

/// What a wish is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum About {
    /// A resource, by URI.
    Resource,
    /// A task, by id.
    Task,
}

/// Why a wish was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The session has ended.
    Ended,
    /// There are too many, of this session or of all.
    Full,
}

/// Most wishes of one session.
pub(super) const MAX_OF_SESSION: usize = 1_000;
/// Most wishes of all sessions.
const MAX_IN_TOTAL: usize = 20_000;
/// How many steps of a URI are looked at, from its end, for one that is watched.
const MAX_STEPS: usize = 32;

#[derive(Default)]
pub(super) struct Topics {
    sessions: HashMap<SessionKey, Client>,
    wanted: HashMap<(BackendIndex, About), HashMap<Arc<str>, HashSet<SessionKey>>>,
    total: usize,
    /// How many sessions want each log level.
    levels: [usize; LogLevel::ALL.len()],
}

#[derive(Default)]
struct Client {
    wishes: HashSet<(BackendIndex, About, Arc<str>)>,
    level: Option<LogLevel>,
}

impl Topics {
    pub(super) fn open(&mut self, session: SessionKey) {
        self.sessions.entry(session).or_default();
    }

    /// Gives the unions that are others now.
    pub(super) fn close(&mut self, session: SessionKey) -> HashSet<(BackendIndex, About)> {
        let mut changed = HashSet::new();
        let Some(client) = self.sessions.remove(&session) else {
            return changed;
        };
        if let Some(level) = client.level {
            self.levels[level as usize] -= 1;
        }
        for (backend, about, local) in client.wishes {
            if self.unlink(session, backend, about, &local) {
                changed.insert((backend, about));
            }
        }
        changed
    }

    /// True when the union is another one now.
    pub(super) fn add(
        &mut self,
        session: SessionKey,
        backend: BackendIndex,
        about: About,
        local: &str,
    ) -> Result<bool, Refused> {
        let client = self.sessions.get_mut(&session).ok_or(Refused::Ended)?;
        let of_topic = self.wanted.entry((backend, about)).or_default();
        let name = of_topic
            .get_key_value(local)
            .map_or_else(|| Arc::from(local), |(name, _)| name.clone());
        let wish = (backend, about, name.clone());
        if client.wishes.contains(&wish) {
            return Ok(false);
        }
        if client.wishes.len() >= MAX_OF_SESSION || self.total >= MAX_IN_TOTAL {
            return Err(Refused::Full);
        }
        client.wishes.insert(wish);
        self.total += 1;
        let sessions = of_topic.entry(name).or_default();
        sessions.insert(session);
        Ok(sessions.len() == 1)
    }

    /// True when the union is another one now.
    pub(super) fn remove(&mut self, session: SessionKey, backend: BackendIndex, about: About, local: &str) -> bool {
        let wish = (backend, about, Arc::from(local));
        let known = self
            .sessions
            .get_mut(&session)
            .is_some_and(|client| client.wishes.remove(&wish));
        known && self.unlink(session, backend, about, local)
    }

    fn unlink(&mut self, session: SessionKey, backend: BackendIndex, about: About, local: &str) -> bool {
        self.total -= 1;
        let Some(of_topic) = self.wanted.get_mut(&(backend, about)) else {
            return false;
        };
        let Some(sessions) = of_topic.get_mut(local) else {
            return false;
        };
        sessions.remove(&session);
        let last = sessions.is_empty();
        if last {
            of_topic.remove(local);
        }
        last
    }

    /// Everything that anybody wants to hear of from a backend, in a fixed order.
    pub(super) fn union(&self, backend: BackendIndex, about: About) -> Arc<[Box<str>]> {
        let of_topic = self.wanted.get(&(backend, about)).into_iter();
        let mut all: Vec<Box<str>> = of_topic
            .flat_map(HashMap::keys)
            .map(|name| Box::from(&**name))
            .collect();
        all.sort_unstable();
        all.into()
    }

    pub(super) fn listeners(&self, backend: BackendIndex, about: About, local: &str) -> Vec<SessionKey> {
        let Some(of_topic) = self.wanted.get(&(backend, about)).filter(|all| !all.is_empty()) else {
            return Vec::new();
        };
        let mut found = HashSet::new();
        let mut look = |name: &str| found.extend(of_topic.get(name).into_iter().flatten().copied());
        look(local);
        if about == About::Resource {
            // "This might be a sub-resource of the one that the client actually subscribed to" (MCP, Resources).
            let steps = local.rmatch_indices(['/', '?', '#']).take(MAX_STEPS);
            for (at, _) in steps {
                look(&local[..at]);
                if at + 1 < local.len() {
                    look(&local[..=at]);
                }
            }
        }
        found.into_iter().collect()
    }

    pub(super) fn set_level(&mut self, session: SessionKey, level: LogLevel) {
        // One that has ended wants nothing any more.
        let Some(client) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Some(before) = client.level.replace(level) {
            self.levels[before as usize] -= 1;
        }
        self.levels[level as usize] += 1;
    }

    /// The least level that any session has asked for.
    pub(super) fn least_level(&self) -> Option<LogLevel> {
        let wanted = LogLevel::ALL.into_iter().zip(self.levels);
        wanted.into_iter().find(|(_, count)| *count > 0).map(|(level, _)| level)
    }
}
