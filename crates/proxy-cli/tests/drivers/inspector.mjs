// Drives the Inspector's command line (@modelcontextprotocol/inspector), which opens a session of its own for each step.
// It shows no notifications, cannot complete an argument and cannot ping: such steps answer {"unsupported": true}.
// steps.mjs has the contract.
import { spawn } from "node:child_process";
import { join } from "node:path";

const STEP_LIMIT_MS = 60_000;
const AT_A_TIME = 3;
const LAUNCHER = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

const [target, script, mode = "session"] = process.argv.slice(2);
const launcher = join(process.env.MCP_PROXY_PEERS_NODE, LAUNCHER);
const era = { session: "legacy", auto: "auto", sessionless: "modern" }[mode];
const where = target.startsWith("stdio:")
  ? JSON.parse(target.slice("stdio:".length))
  : [target, "--transport", "http", "--protocol-era", era];

// A step is a session of its own, so several may run at a time; answers are printed in the order of the steps.
const orders = JSON.parse(script);
const answers = orders.map(() => Promise.withResolvers());
let next = 0;
async function work() {
  while (next < orders.length) {
    const step = next++;
    const words = request(orders[step]);
    answers[step].resolve(words ? await inspect(words) : { result: { unsupported: true } });
  }
}
for (let worker = 0; worker < AT_A_TIME; worker += 1) work();
for (const [step, order] of orders.entries()) {
  const answer = await answers[step].promise;
  console.log(JSON.stringify({ step, do: order.do, ...answer }));
  if (answer.error && order.do === "connect") process.exit(1);
}

function request(order) {
  switch (order.do) {
    case "connect":
      return ["--method", "initialize"];
    case "list_tools":
      return ["--method", "tools/list"];
    case "list_resources":
      return ["--method", "resources/list"];
    case "list_templates":
      return ["--method", "resources/templates/list"];
    case "list_prompts":
      return ["--method", "prompts/list"];
    case "call":
      return ["--method", "tools/call", "--tool-name", order.name, ...json("--tool-args-json", order.arguments)];
    case "read":
      return ["--method", "resources/read", "--uri", order.uri];
    case "get_prompt": {
      const pairs = Object.entries(order.arguments ?? {}).map(([key, value]) => `${key}=${value}`);
      return ["--method", "prompts/get", "--prompt-name", order.name, ...(pairs.length ? ["--prompt-args", ...pairs] : [])];
    }
    case "set_level":
      return ["--method", "logging/setLevel", "--log-level", order.level];
    default:
      return undefined;
  }
}

function json(flag, value) {
  return value === undefined ? [] : [flag, JSON.stringify(value)];
}

// One run of the program; its result stands on stdout, its error envelope on stderr.
function inspect(words) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [launcher, "--cli", ...where, "--format", "json", "--quiet", ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: STEP_LIMIT_MS,
    });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
    child.on("close", (code, signal) => {
      for (const text of [out, err]) {
        const line = text.split("\n").find((candidate) => candidate.startsWith("{"));
        if (!line) continue;
        try {
          const { result, error } = JSON.parse(line);
          return resolve(error ? { error } : { result });
        } catch {
          // No envelope after all; the raw text below says more.
        }
      }
      resolve({ error: { code: code ?? signal, message: `no JSON answer: ${out}${err}` } });
    });
  });
}
