//! Lists, answered from the catalogue: the bytes are already written, so a list is a look-up.
//!
//! Everything fits one page. A cursor is therefore never one of ours and is refused.

use std::task::{Context, Poll};

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::Slot;
use mcp_proxy_core::{Call, Error, Method, Reply, codes};
use tower::{Layer, Service};

use super::CatalogueHandle;
use super::answer::Answer;

/// Answers the list methods from the catalogue.
#[derive(Clone)]
pub(crate) struct ListsLayer {
    catalogue: CatalogueHandle,
}

impl ListsLayer {
    pub(crate) fn new(catalogue: &CatalogueHandle) -> Self {
        Self {
            catalogue: catalogue.clone(),
        }
    }
}

impl<S> Layer<S> for ListsLayer {
    type Service = Lists<S>;

    fn layer(&self, inner: S) -> Lists<S> {
        Lists {
            inner,
            catalogue: self.catalogue.clone(),
        }
    }
}

/// The service of [`ListsLayer`].
#[derive(Clone)]
pub(crate) struct Lists<S> {
    inner: S,
    catalogue: CatalogueHandle,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Lists<S> {
    type Response = Reply;
    type Error = Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let kind = match call.method {
            Method::ToolsList => Kind::Tool,
            Method::ResourcesList => Kind::Resource,
            Method::ResourceTemplatesList => Kind::Template,
            Method::PromptsList => Kind::Prompt,
            _ => {
                return Answer::Inner {
                    future: self.inner.call(call),
                };
            }
        };
        Answer::known(match call.params.text(Slot::Cursor) {
            None | Some(b"null") => Reply::Result(self.catalogue.load().list(kind, call.context.version).clone()),
            Some(_) => Reply::error(
                codes::INVALID_PARAMS,
                "invalid cursor: start the list again without one",
            ),
        })
    }
}
