// Hears every frame of the official client and holds those of the gateway against the JSON Schema
// that the protocol package of the same version publishes.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import Ajv from "ajv";

/** The published versions of the client: how each is installed, and what it depends on. */
const VERSIONS = {
  "2026.9.1": { name: "@openclaw/gateway-client", dependencies: "node_modules/" },
  "2026.8.1-beta.3": {
    name: "gateway-client-beta",
    dependencies: "node_modules/gateway-client-beta/node_modules/",
    // The gateway speaks as a later one does: what this schema does not know is not looked at.
    isOlder: true,
  },
};

const { name: packageName, dependencies, isOlder: older = false } =
  VERSIONS[process.argv[2] ?? "2026.9.1"];
export const isOlder = older;
export const { GatewayClient } = await import(packageName);
const { WebSocket } = createRequire(import.meta.resolve(packageName))("ws");

const file = `${dependencies}@openclaw/gateway-protocol/protocol.schema.json`;
const schema = JSON.parse(readFileSync(new URL(file, import.meta.url)));
const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema(schema, "protocol");

/** Members newer than the published schema, which the gateway of the originators sends as well. */
const NEWER = {
  AgentEvent: ["sessionKey", "agentId", "sessionId"],
  HelloOk: ["method", "clientId"],
  PresenceEntry: ["clientId"],
  SessionsSearchResult: ["sessions"],
  SkillsProposalsListResult: ["installedSkills"],
  SystemInfoResult: ["processMemory"],
};

const pascal = (name) =>
  name
    .split(/[.-]/)
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join("");

/** The published definition of the result of a request, if there is one. */
function resultOf({ method, params }) {
  if (method === "connect") return "HelloOk";
  if (method === "chat.history") return params?.cursor && "ChatHistoryCursorResult";
  return published(`${pascal(method)}Result`);
}

const published = (name) => (name in schema.definitions ? name : undefined);

/** What clients of protocol 3 know of an answer: members that must be there, and that may be. */
const V3_RESULTS = {
  "agent.wait": [["runId", "status"], ["startedAt", "endedAt", "error", "stopReason"]],
  "agents.list": [["defaultId", "mainKey", "scope", "agents"], []],
  "chat.abort": [["ok", "aborted", "runIds"], []],
  "chat.history": [["sessionKey", "messages", "thinkingLevel", "verboseLevel"], ["sessionId"]],
  "chat.send": [["runId", "status"], []],
  "models.list": [["models"], []],
  "sessions.resolve": [["ok", "key"], []],
  connect: [["type", "protocol", "server", "features", "snapshot", "policy"], ["auth"]],
};

/** The first answer of `agent`; the second one is open. */
const V3_ACCEPTED = [["runId", "status", "acceptedAt"], []];

/** Members of a `chat` event by its state; events are open, so more may be there. */
const V3_CHAT = {
  delta: ["runId", "sessionKey", "seq", "message"],
  final: ["runId", "sessionKey", "seq"],
  aborted: ["runId", "sessionKey", "seq"],
  error: ["runId", "sessionKey", "seq", "errorMessage"],
};

/** Events protocol 3 has; a client that asks for newer ones by their methods gets those too. */
const V3_EVENTS =
  "connect.challenge agent chat presence tick shutdown health heartbeat device.pair.requested " +
  "device.pair.resolved";

const problems = new Map();
const counts = new Map();

function check(value, name, where) {
  counts.set(where, (counts.get(where) ?? 0) + 1);
  const validate = ajv.getSchema(`protocol#/definitions/${name}`);
  validate(value);
  const isNewer = ({ keyword, params }) =>
    keyword === "additionalProperties" &&
    (isOlder || NEWER[name]?.includes(params.additionalProperty));
  const errors = (validate.errors ?? []).filter((error) => !isNewer(error));
  if (errors.length > 0) {
    const text = ajv.errorsText(errors, { dataVar: name });
    problems.set(`${where}: ${text}`, JSON.stringify(value).slice(0, 600));
  }
}

function checkMembers(value, [must, may], where) {
  counts.set(where, (counts.get(where) ?? 0) + 1);
  const missing = must.filter((name) => value?.[name] === undefined);
  const unknown = may && Object.keys(value ?? {}).filter((it) => ![...must, ...may].includes(it));
  if (missing.length > 0 || unknown?.length > 0) {
    problems.set(`${where}: lacks [${missing}], knows no [${unknown}]`, JSON.stringify(value));
  }
}

/** Holds an event against what protocol 3 says of it. */
function checkOldEvent({ event, payload }) {
  if (!V3_EVENTS.split(" ").includes(event)) problems.set(`v3: event ${event}`, "");
  if (event !== "chat") return;
  const { state, message } = payload;
  const must = V3_CHAT[state];
  if (must === undefined) problems.set(`v3: chat in state ${state}`, JSON.stringify(payload));
  else checkMembers(payload, [must], `v3 chat ${state}`);
  if (message !== undefined) {
    checkMembers(message, [["role", "content", "timestamp"]], "v3 chat message");
    if (message.content[0]?.type !== "text") problems.set("v3: no text", JSON.stringify(message));
  }
}

/** Holds a result against what protocol 3 says of it. */
function checkOldResult({ method }, payload) {
  const isAccepted = method === "agent" && payload.status === "accepted";
  const members = isAccepted ? V3_ACCEPTED : V3_RESULTS[method];
  if (members !== undefined) checkMembers(payload, members, `v3 result of ${method}`);
  if (method === "connect" && payload.auth !== undefined) {
    checkMembers(payload.auth, [["deviceToken", "role", "scopes", "issuedAtMs"], []], "v3 auth");
  }
}

/** Of each run: when it was acknowledged to the socket that asked for it, when it was told its end,
 * and in which read of that socket. */
export const arrivals = new Map();

const TERMINALS = ["final", "aborted", "error"];

function noteArrival({ reads }, request, frame) {
  const isEnd = frame.event === "chat" && TERMINALS.includes(frame.payload.state);
  const isAnswer = frame.type === "res" && frame.ok && request?.method === "chat.send";
  if (!isEnd && !isAnswer) return;
  const arrival = { at: performance.now(), read: reads };
  const { runId } = frame.payload;
  const known = arrivals.get(runId) ?? {};
  arrivals.set(runId, { ...known, [isEnd ? "ended" : "acknowledged"]: arrival });
}

/** What was asked on a socket, which version it speaks, and how often it was read from. */
const asked = new WeakMap();

function stateOf(socket) {
  if (!asked.has(socket)) {
    const state = { requests: new Map(), version: undefined, reads: 0 };
    asked.set(socket, state);
    // Before the package takes frames out of what was read.
    socket._socket.prependListener("data", () => (state.reads += 1));
  }
  return asked.get(socket);
}

function heard(socket, frame) {
  const state = stateOf(socket);
  const { requests, version } = state;
  noteArrival(state, requests.get(frame.id), frame);
  if (frame.type === "event") {
    check(frame, "EventFrame", "every event");
    const name = published(`${pascal(frame.event)}Event`);
    if (version === 3) checkOldEvent(frame);
    else if (name) check(frame.payload, name, `event ${frame.event}`);
    if (frame.event === "presence") {
      for (const entry of frame.payload.presence) check(entry, "PresenceEntry", "event presence");
    }
    return;
  }
  check(frame, "ResponseFrame", "every response");
  const request = requests.get(frame.id);
  if (request === undefined) {
    problems.set(`a response to ${frame.id}, which nobody asked`, JSON.stringify(frame));
  } else if (frame.ok && version === 3) {
    checkOldResult(request, frame.payload);
  } else if (frame.ok) {
    const name = resultOf(request);
    if (name) check(frame.payload, name, `result of ${request.method}`);
  } else if (frame.error?.details?.code === "MISSING_SCOPE") {
    check(frame.error.details, "MissingScopeErrorDetails", "details of MISSING_SCOPE");
  }
}

const { send, emit } = WebSocket.prototype;

WebSocket.prototype.send = function (text, ...more) {
  const frame = JSON.parse(text);
  const state = stateOf(this);
  state.requests.set(frame.id, frame);
  if (frame.method === "connect") state.version = frame.params.maxProtocol;
  return send.call(this, text, ...more);
};

WebSocket.prototype.emit = function (name, ...more) {
  if (name === "message") heard(this, JSON.parse(String(more[0])));
  return emit.call(this, name, ...more);
};

/** Names of the methods the schema publishes. */
export const publishedMethods = Object.keys(schema.methods);

export const recorded = {
  /** Fails when a frame was not as published. */
  report() {
    for (const [problem, frame] of problems) console.error(`${problem}\n  ${frame}`);
    if (problems.size > 0) throw new Error(`${problems.size} kinds of frames are not as published`);
    const kinds = [...counts].map(([where, count]) => `${where} ${count}`);
    console.log(`frames as published: ${kinds.sort().join(", ")}`);
  },
};
