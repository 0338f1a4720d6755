//! [`Call`]: what travels from client to backend.

use std::sync::Arc;

use crate::catalogue::{BackendIndex, Item};
use crate::json::Params;
use crate::{ClientHandle, Context, Method};

/// One JSON-RPC request on its way through the layers.
///
/// The JSON-RPC id stays at the edge, because each hop has ids of its own. Cloning is cheap: buffers and context are
/// shared.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub method: Method,
    /// With what. Names in it are public ones above the resolve step and the backend's own below.
    pub params: Params,
    /// The definition the call is about, once the catalogue has resolved its name.
    pub item: Option<Arc<Item>>,
    /// The backend it goes to, once resolved. A resource can have an owner without being listed by itself.
    pub backend: Option<BackendIndex>,
    /// Who calls, how long it may take, where it has been.
    pub context: Context,
    /// The way back to the client for everything that is not the reply.
    pub client: ClientHandle,
}

impl Call {
    /// A call without parameters, context or client; the rest is filled in by whoever has it.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            params: Params::absent(),
            item: None,
            backend: None,
            context: Context::default(),
            client: ClientHandle::none(),
        }
    }

    /// The same with parameters.
    pub fn with_params(mut self, params: Params) -> Self {
        self.params = params;
        self
    }
}
