// The client under test of the conformance suite's client scenarios: a proxy whose one backend is the suite's mock server,
// and in front of it the TypeScript SDK v2, doing what the scenario needs done.
//
//   MCP_PROXY_BINARY=… MCP_PROXY_PEERS_NODE=… node conformance_client.mjs URL
//
// The suite names the scenario and the revision in the environment, and judges what reaches its mock.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { peer } from "./steps.mjs";

const { Client, StreamableHTTPClientTransport } = peer("@modelcontextprotocol/client");

const LIMIT_MS = 15_000;
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const revision = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const text = (text) => ({ type: "text", text });

// Starts the proxy and waits for the line of its log that says where it listens.
async function startProxy(backend) {
  const folder = mkdtempSync(join(tmpdir(), "conformance-"));
  const config = join(folder, "proxy.toml");
  writeFileSync(
    config,
    `[proxy]
name = "conformance"
separator = "__"
[proxy.listen]
port = 0
[observability]
json_logs = true
log_level = "info"
[[backends]]
name = "mock"
namespace = ""
transport = "http"
url = "${backend}"
`,
  );
  const child = spawn(process.env.MCP_PROXY_BINARY, ["--config", config], { stdio: ["ignore", "ignore", "pipe"] });
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", stop);
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(1));
  const address = await new Promise((found, failed) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      console.error(line);
      const entry = JSON.parse(line);
      const fields = { ...entry, ...entry.fields };
      if (fields.message === "listening") found(fields.address);
    });
    child.on("exit", (code) => failed(new Error(`the proxy ended with ${code}`)));
  });
  return new URL(`http://${address}/mcp`);
}

async function connect(url, mode) {
  // `applyDefaults` lets the SDK fill in what the user left as it was.
  const capabilities = { elicitation: { form: { applyDefaults: true }, url: {} }, sampling: {}, roots: {} };
  const options = { capabilities, versionNegotiation: { mode } };
  const client = new Client({ name: "conformance", version: "1.0.0" }, options);
  client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: {} }));
  client.setRequestHandler("sampling/createMessage", () => ({ role: "assistant", model: "m", content: text("well") }));
  client.setRequestHandler("roots/list", () => ({ roots: [] }));
  await client.connect(new StreamableHTTPClientTransport(url), { timeout: LIMIT_MS });
  return client;
}

// The tools, once the proxy has them; some mocks have none.
async function tools(client, wanted = 1) {
  for (const end = Date.now() + LIMIT_MS; ; ) {
    const { tools } = await client.listTools();
    if (tools.length >= wanted || Date.now() > end) return tools;
    await new Promise((later) => setTimeout(later, 50));
  }
}

const scenarios = {
  async "initialize"(client) {
    await tools(client, 0);
  },
  async "request-metadata"(client) {
    await tools(client, 0);
  },
  // Its mock lists a tool that cannot be called.
  async "json-schema-ref-no-deref"(client) {
    await tools(client);
  },
  async "tools_call"(client) {
    await tools(client);
    await client.callTool({ name: "add_numbers", arguments: { a: 5, b: 3 } });
  },
  async "sep-2322-client-request-state"(client) {
    await tools(client);
    const call = (name) => client.callTool({ name, arguments: {} });
    await Promise.all([call("test_mrtr_echo_state"), call("test_mrtr_unrelated"), call("test_mrtr_no_state")]);
    await call("test_mrtr_no_result_type");
  },
  async "http-custom-headers"(client) {
    await tools(client);
    for (const call of context.toolCalls) await client.callTool(call);
  },
  async "http-standard-headers"(client) {
    for (const { name } of await tools(client)) await client.callTool({ name, arguments: {} });
    for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
    for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
  },
  async "json-schema-2020-12-preservation"(client) {
    const listed = await tools(client);
    const echo = listed.find(({ name }) => name !== "json_schema_2020_12_tool");
    const focal = listed.find(({ name }) => name === "json_schema_2020_12_tool");
    await client.callTool({ name: echo.name, arguments: { schema: focal.inputSchema } });
  },
};

// Whatever has no entry of its own: every tool that is listed is called.
async function everyTool(client) {
  for (const { name } of await tools(client)) await client.callTool({ name, arguments: {} });
}

const url = await startProxy(process.argv[2]);
// A client of the session era calls whatever is listed. One of the other era would leave malformed tools out by itself, and
// hide whether the proxy did.
const session = revision !== "2026-07-28" || scenario === "http-invalid-tool-headers";
const client = await connect(url, session ? "legacy" : { pin: revision });
await (scenarios[scenario] ?? everyTool)(client);
await client.close().catch(() => {});
process.exit(0);
