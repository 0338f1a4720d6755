// Drives the TypeScript SDK v1 (@modelcontextprotocol/sdk), a client of the session era. steps.mjs has the contract.
import { peer, run, target } from "./steps.mjs";

const { Client } = peer("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = peer("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { StdioClientTransport } = peer("@modelcontextprotocol/sdk/client/stdio.js");
const { LoggingMessageNotificationSchema } = peer("@modelcontextprotocol/sdk/types.js");

const client = new Client({ name: "driver-ts-v1", version: "1.0.0" }, { capabilities: {} });
const { url, command, args } = target();

await run({
  client,
  transport: url
    ? new StreamableHTTPClientTransport(url)
    : new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" }),
  call: (params, options) => client.callTool(params, undefined, options),
  onLog: (listener) =>
    client.setNotificationHandler(LoggingMessageNotificationSchema, (note) => listener(note.params)),
});
