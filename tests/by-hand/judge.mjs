// Looks at a record: every refusal must be a known one, and what ends a run must not reach the page
// or terminal that asked for it together with the acknowledgement.
// `judge.mjs RECORD KNOWN PART`
import { readFileSync } from "node:fs";

const [file, knownFile, part] = process.argv.slice(2);
const known = JSON.parse(readFileSync(knownFile)).filter(({ parts }) => parts.includes(part));
const TERMINALS = ["final", "aborted", "error"];

const peers = new Map();
const asked = new Map();
const refusals = new Map();
const faults = [];
const used = new Set();
let step = "";
let sends = 0;

const peer = (connection) => {
  if (!peers.has(connection)) peers.set(connection, { requests: new Map(), acknowledged: new Map() });
  return peers.get(connection);
};

function heardRequest(from, { id, method, params }) {
  if (method === "connect") Object.assign(from, params?.client);
  from.requests.set(id, { method, params, step });
  asked.set(method, (asked.get(method) ?? 0) + 1);
}

function heardResponse(from, { id, ok, payload, error }, read) {
  const request = from.requests.get(id);
  if (ok && request?.method === "chat.send") {
    from.acknowledged.set(payload.runId, read);
    sends += 1;
  }
  if (ok || request === undefined) return;
  const { method, params } = request;
  const entry = known.find(
    (it) =>
      new RegExp(`^${it.method}$`).test(method) &&
      new RegExp(it.message).test(error.message) &&
      (it.mode === undefined || it.mode === from.mode),
  );
  if (entry) return void used.add(entry);
  const key = `${method}: ${error.code} ${error.message}`;
  if (!refusals.has(key)) {
    const asking = `${from.id} ${from.version} ${from.mode}`;
    refusals.set(key, `${asking}, in "${request.step}", ${JSON.stringify(params).slice(0, 400)}`);
  }
}

function heardEvent(from, { event, payload }, read) {
  const isWatched = from.mode === "ui" || from.mode === "webchat";
  if (event !== "chat" || !TERMINALS.includes(payload.state) || !isWatched) return;
  const { runId } = payload;
  const isAsked = [...from.requests.values()].some(
    ({ method, params }) => method === "chat.send" && params.idempotencyKey === runId,
  );
  const acknowledged = from.acknowledged.get(runId);
  if (isAsked && (acknowledged === undefined || acknowledged === read)) {
    faults.push(`"${step}": run ${runId} ended together with its acknowledgement`);
  }
}

for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
  const { step: next, connection, from, read, frame } = JSON.parse(line);
  if (next !== undefined) {
    step = next;
    continue;
  }
  if (frame.type === "req") heardRequest(peer(connection), frame);
  else if (frame.type === "res") heardResponse(peer(connection), frame, read);
  else if (frame.type === "event") heardEvent(peer(connection), frame, read);
  else faults.push(`"${step}": no frame from the ${from}: ${JSON.stringify(frame)}`);
}

console.log(`${peers.size} connections, ${sends} messages; asked:`);
console.log([...asked].sort().map(([method, count]) => `${method} ${count}`).join(", "));
for (const entry of known) {
  const { method, message, reason } = entry;
  if (used.has(entry)) console.log(`refused, as known: ${method}: ${message} (${reason})`);
  else console.log(`known, but not met: ${method}: ${message}`);
}
for (const [refusal, where] of refusals) faults.push(`refused: ${refusal}\n  ${where}`);
for (const fault of faults) console.log(`FAULT ${fault}`);
process.exitCode = faults.length > 0 ? 1 : 0;
