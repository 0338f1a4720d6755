//! The seam to the front: what it serves, and what it tells us about sessions.

use std::sync::Arc;

use mcp_proxy_core::catalogue::Item;
use mcp_proxy_core::json::{Notification, RawJson};
use mcp_proxy_core::{ProtocolVersion, Session, SessionKey, SharedService};
use mcp_proxy_transport::server::{App, Welcome};

use super::hub::Hub;

/// A hub, as the front sees it.
pub(crate) struct HubApp {
    hub: Arc<Hub>,
    server_info: RawJson,
}

impl HubApp {
    /// Serves `hub` under the proxy's own name and version.
    pub(crate) fn new(hub: Arc<Hub>, name: &str, version: &str) -> Self {
        let server_info = RawJson::encode(&serde_json::json!({ "name": name, "version": version }));
        Self { hub, server_info }
    }
}

impl App for HubApp {
    fn service(&self) -> SharedService {
        self.hub.service().clone()
    }

    fn welcome(&self, version: ProtocolVersion) -> Welcome {
        let catalogue = self.hub.catalogue();
        Welcome {
            capabilities: catalogue.capabilities(version).clone(),
            server_info: self.server_info.clone(),
            instructions: catalogue.instructions().map(Arc::from),
        }
    }

    fn tool(&self, name: &str) -> Option<Arc<Item>> {
        self.hub.catalogue().tool(name).cloned()
    }

    fn session_opened(&self, session: &Arc<Session>) {
        self.hub.session_opened(session.key);
    }

    fn session_closed(&self, session: SessionKey) {
        self.hub.session_closed(session);
    }

    fn notified(&self, session: &Arc<Session>, notification: Notification) {
        self.hub.notified(session.key, &notification);
    }

    fn missing(&self) -> Vec<String> {
        self.hub.missing()
    }
}
