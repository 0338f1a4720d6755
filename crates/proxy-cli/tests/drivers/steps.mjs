// The contract that every driver keeps, and the half of it that both TypeScript SDKs share.
//
//   node ts_v1.mjs TARGET SCRIPT [MODE]
//
// TARGET is the URL of a Streamable HTTP endpoint (for the v1 clients also of a WebSocket, or one that ends in `/sse`), or `stdio:` and a JSON array with a command and its arguments. SCRIPT
// is a JSON array of steps, each an object with the member `do`; MODE is the era to start in (`session`, `auto` or
// `sessionless`, where the client knows it). Each step answers with one JSON line on stdout, {"step", "do", "result"} or
// {"step", "do", "error": {"code", "message", "data"?}}, with "progress" and "logs" listing what arrived meanwhile. A step
// that fails does not end the script: what a client does after an error is worth testing too. Lists are read to their
// last page. MCP_PROXY_PEERS_NODE names the folder that holds `node_modules`.
import { createRequire } from "node:module";
import { join } from "node:path";

const STEP_LIMIT_MS = 60_000;

export function peer(name) {
  const folder = process.env.MCP_PROXY_PEERS_NODE;
  if (!folder) throw new Error("MCP_PROXY_PEERS_NODE must name the folder that holds node_modules");
  return createRequire(join(folder, "driver.cjs"))(name);
}

export function target() {
  const [text] = process.argv.slice(2);
  if (text.startsWith("stdio:")) {
    const [command, ...args] = JSON.parse(text.slice("stdio:".length));
    return { command, args };
  }
  return { url: new URL(text) };
}

// `sdk` is {client, transport, call(params, options), onLog(listener)}; it hides what differs between v1 and v2.
export async function run(sdk) {
  const script = JSON.parse(process.argv[3]);
  let logs = [];
  sdk.onLog((params) => logs.push(params));
  let failed = false;
  for (const [step, order] of script.entries()) {
    const line = { step, do: order.do };
    const progress = [];
    logs = [];
    try {
      line.result = await perform(sdk, order, progress);
    } catch (error) {
      line.error = { code: error.code ?? null, message: String(error.message ?? error) };
      if (error.data !== undefined) line.error.data = error.data;
      failed ||= order.do === "connect";
    }
    if (progress.length) line.progress = progress;
    if (logs.length) line.logs = logs;
    console.log(JSON.stringify(line));
    if (failed) break;
  }
  await sdk.client.close().catch(() => {});
  process.exit(failed ? 1 : 0);
}

async function perform({ client, transport, call }, order, progress) {
  const options = { timeout: order.timeout_ms ?? STEP_LIMIT_MS };
  switch (order.do) {
    case "connect":
      await client.connect(transport, options);
      return {
        protocolVersion: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
        capabilities: client.getServerCapabilities(),
        serverInfo: client.getServerVersion(),
        instructions: client.getInstructions() ?? null,
      };
    case "ping":
      return await client.ping(options);
    case "list_tools":
      return await pages("tools", (params) => client.listTools(params, options));
    case "list_resources":
      return await pages("resources", (params) => client.listResources(params, options));
    case "list_templates":
      return await pages("resourceTemplates", (params) => client.listResourceTemplates(params, options));
    case "list_prompts":
      return await pages("prompts", (params) => client.listPrompts(params, options));
    case "call":
      if (order.progress) options.onprogress = (note) => progress.push(note);
      return await call(without(order, "arguments"), options);
    case "cancel": {
      // Lets go of the call as soon as its first progress arrived, as a user who presses Stop would.
      const stop = new AbortController();
      options.signal = stop.signal;
      options.onprogress = (note) => {
        progress.push(note);
        stop.abort("no longer needed");
      };
      return await call(without(order, "arguments"), options);
    }
    case "read":
      return await client.readResource({ uri: order.uri }, options);
    case "get_prompt":
      return await client.getPrompt(without(order, "arguments"), options);
    case "complete":
      return await client.complete(
        { ref: order.ref, argument: order.argument, ...(order.context ? { context: order.context } : {}) },
        options,
      );
    case "set_level":
      return await client.setLoggingLevel(order.level, options);
    default:
      throw new Error(`the driver does not know the step "${order.do}"`);
  }
}

// A member that the step leaves out is left out of the request too: clients do call tools without `arguments`.
function without(order, optional) {
  const params = { name: order.name };
  if (order[optional] !== undefined) params[optional] = order[optional];
  return params;
}

async function pages(member, list) {
  const items = [];
  let cursor;
  for (let page = 0; page < 1000; page += 1) {
    const result = await list(cursor === undefined ? undefined : { cursor });
    items.push(...result[member]);
    if (result.nextCursor === undefined) return { [member]: items };
    cursor = result.nextCursor;
  }
  throw new Error("the list did not end after 1000 pages");
}
