// The bridges of the CLI, each a program that speaks JSON lines: `openclaw acp` as an editor uses
// it, `openclaw mcp serve` as another agent does. `bridges.mjs OPENCLAW URL TOKEN`
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [program, url, token] = process.argv.slice(2);
const WAIT_MS = 60_000;
let faults = 0;

function seen(what, holds, found) {
  if (holds) return console.log(`seen: ${what}`);
  faults += 1;
  console.log(`FAULT ${what}: ${JSON.stringify(found).slice(0, 400)}`);
}

/** A bridge that runs; what it tells without being asked is in `told`. */
function start(...args) {
  const child = spawn(process.execPath, [program, ...args, "--url", url, "--token", token], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map();
  const told = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const message = JSON.parse(line);
    if (message.method === undefined) waiting.get(message.id)?.(message);
    else told.push(message);
  });
  const say = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  let last = 0;
  const ask = (method, params) => {
    const id = (last += 1);
    say({ id, method, params });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method} has no answer`)), WAIT_MS);
      waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        resolve(error ? { error } : result);
      });
    });
  };
  return { ask, say, told, stop: () => child.kill() };
}

async function acp() {
  const { ask, say, told, stop } = start("acp");
  const text = () => told.map(({ params }) => params?.update?.content?.text ?? "").join("");
  const hello = await ask("initialize", { protocolVersion: 1, clientCapabilities: {} });
  seen("acp: initialize", hello?.protocolVersion === 1, hello);
  const { sessionId } = await ask("session/new", { cwd: process.cwd(), mcpServers: [] });
  seen("acp: session/new", typeof sessionId === "string", sessionId);
  const prompt = (text) => ask("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
  const answer = await prompt("over the bridge");
  seen("acp: a prompt is answered", answer?.stopReason === "end_turn", answer);
  seen("acp: the answer came in pieces", text().includes("over the bridge"), told);
  const slow = prompt("[slow] and cancelled");
  while (!text().includes("w3 ")) await new Promise((resolve) => setTimeout(resolve, 100));
  say({ method: "session/cancel", params: { sessionId } });
  const cancelled = await slow;
  seen("acp: session/cancel", cancelled?.stopReason === "cancelled", cancelled);
  stop();
}

async function mcp() {
  const { ask, say, stop } = start("mcp", "serve");
  const client = { name: "by-hand", version: "1" };
  const protocolVersion = "2025-06-18";
  const hello = await ask("initialize", { protocolVersion, capabilities: {}, clientInfo: client });
  seen("mcp: initialize", hello?.serverInfo !== undefined, hello);
  say({ method: "notifications/initialized" });
  const { tools } = await ask("tools/list", {});
  seen("mcp: tools/list", tools?.length > 0, tools);
  const call = (name, args) => ask("tools/call", { name, arguments: args });
  for (const [name, args] of [
    ["messages_read", { session_key: "agent:main:main" }],
    ["events_poll", {}],
    ["permissions_list_open", {}],
    ["conversations_list", {}],
  ]) {
    const result = await call(name, args);
    seen(`mcp: ${name}`, result?.content !== undefined && !result.isError, result);
  }
  stop();
}

for (const bridge of [acp, mcp]) {
  await bridge().catch((error) => seen(`${bridge.name} works`, false, error.message));
}
process.exit(faults > 0 ? 1 : 0);
