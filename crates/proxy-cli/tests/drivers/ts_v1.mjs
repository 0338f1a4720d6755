// Drives the TypeScript SDK v1 (@modelcontextprotocol/sdk), a client of the session era. steps.mjs has the contract.
import { peer, run, target } from "./steps.mjs";

const { Client } = peer("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = peer("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { SSEClientTransport } = peer("@modelcontextprotocol/sdk/client/sse.js");
const { StdioClientTransport } = peer("@modelcontextprotocol/sdk/client/stdio.js");
const { WebSocketClientTransport } = peer("@modelcontextprotocol/sdk/client/websocket.js");
const { LoggingMessageNotificationSchema } = peer("@modelcontextprotocol/sdk/types.js");

const client = new Client({ name: "driver-ts-v1", version: "1.0.0" }, { capabilities: {} });
const { url, command, args } = target();

function transport() {
  if (!url) return new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
  if (url.protocol === "ws:") return new WebSocketClientTransport(url);
  return url.pathname.endsWith("/sse") ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
}

await run({
  client,
  transport: transport(),
  call: (params, options) => client.callTool(params, undefined, options),
  onLog: (listener) =>
    client.setNotificationHandler(LoggingMessageNotificationSchema, (note) => listener(note.params)),
});
