// Drives the TypeScript SDK v2 (@modelcontextprotocol/client), which knows both eras: `session` (its own default), `auto`
// or `sessionless`. steps.mjs has the contract.
import { peer, run, target } from "./steps.mjs";

const { Client, StreamableHTTPClientTransport } = peer("@modelcontextprotocol/client");
const { StdioClientTransport } = peer("@modelcontextprotocol/client/stdio");

const modes = { session: "legacy", auto: "auto", sessionless: { pin: "2026-07-28" } };
const mode = modes[process.argv[4] ?? "session"];
const client = new Client({ name: "driver-ts-v2", version: "1.0.0" }, { capabilities: {}, versionNegotiation: { mode } });
const { url, command, args } = target();

await run({
  client,
  transport: url
    ? new StreamableHTTPClientTransport(url)
    : new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" }),
  call: (params, options) => client.callTool(params, options),
  onLog: (listener) => client.setNotificationHandler("notifications/message", (note) => listener(note.params)),
});
