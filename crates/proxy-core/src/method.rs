//! The methods of MCP, by name.

use std::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The method of a request or notification.
        ///
        /// Methods the proxy has no rule for travel as [`Method::Other`], unchanged.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// Any other method, by its name.
            Other(Box<str>),
        }

        impl Method {
            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for Method {
            fn from(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

methods! {
    /// Opens a session (until 2025-11-25).
    Initialize = "initialize",
    /// The client is ready.
    Initialized = "notifications/initialized",
    /// Is anybody there?
    Ping = "ping",
    /// What a server can do (2026-07-28).
    Discover = "server/discover",
    /// All tools.
    ToolsList = "tools/list",
    /// Runs a tool.
    ToolsCall = "tools/call",
    /// All resources.
    ResourcesList = "resources/list",
    /// All resource templates.
    ResourceTemplatesList = "resources/templates/list",
    /// Reads a resource.
    ResourcesRead = "resources/read",
    /// Asks for updates of a resource.
    ResourcesSubscribe = "resources/subscribe",
    /// Ends that.
    ResourcesUnsubscribe = "resources/unsubscribe",
    /// All prompts.
    PromptsList = "prompts/list",
    /// Renders a prompt.
    PromptsGet = "prompts/get",
    /// Completes an argument.
    Complete = "completion/complete",
    /// How much the client wants to be told.
    SetLevel = "logging/setLevel",
    /// A backend asks the client's model.
    CreateMessage = "sampling/createMessage",
    /// A backend asks the client's user.
    Elicit = "elicitation/create",
    /// A backend asks for the client's roots.
    RootsList = "roots/list",
    /// Ends a running request.
    Cancelled = "notifications/cancelled",
    /// How far a running request is.
    Progress = "notifications/progress",
    /// A log message.
    LogMessage = "notifications/message",
    /// The tools changed.
    ToolsChanged = "notifications/tools/list_changed",
    /// The resources changed.
    ResourcesChanged = "notifications/resources/list_changed",
    /// One resource changed.
    ResourceUpdated = "notifications/resources/updated",
    /// The prompts changed.
    PromptsChanged = "notifications/prompts/list_changed",
    /// The client's roots changed.
    RootsChanged = "notifications/roots/list_changed",
    /// An elicitation that went by a URL is done (2025-11-25).
    ElicitationComplete = "notifications/elicitation/complete",
    /// Asks to be told of changes, on a stream (2026-07-28).
    SubscriptionsListen = "subscriptions/listen",
    /// What of it is honoured, first on that stream.
    SubscriptionsAcknowledged = "notifications/subscriptions/acknowledged",
    /// The state of a task.
    TasksGet = "tasks/get",
    /// The result of a task, once it is there (2025-11-25).
    TasksResult = "tasks/result",
    /// All tasks (2025-11-25).
    TasksList = "tasks/list",
    /// Ends a task.
    TasksCancel = "tasks/cancel",
    /// Answers what a task asks (2026-07-28).
    TasksUpdate = "tasks/update",
    /// A task has another state (2025-11-25).
    TaskStatus = "notifications/tasks/status",
    /// A task has another state (2026-07-28).
    TaskChanged = "notifications/tasks",
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
