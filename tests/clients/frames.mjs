// Hears every frame of the official client and holds those of the gateway against the JSON Schema
// that the protocol package publishes.

import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { WebSocket } from "ws";

const file = new URL(
  "node_modules/@openclaw/gateway-protocol/protocol.schema.json",
  import.meta.url,
);
const schema = JSON.parse(readFileSync(file));
const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema(schema, "protocol");

/** Members newer than the published schema, which the gateway of the originators sends as well. */
const NEWER = {
  AgentEvent: ["sessionKey", "agentId", "sessionId"],
  HelloOk: ["method", "clientId"],
  PresenceEntry: ["clientId"],
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

const problems = new Map();
const counts = new Map();

function check(value, name, where) {
  counts.set(where, (counts.get(where) ?? 0) + 1);
  const validate = ajv.getSchema(`protocol#/definitions/${name}`);
  validate(value);
  const isNewer = ({ keyword, params }) =>
    keyword === "additionalProperties" && NEWER[name]?.includes(params.additionalProperty);
  const errors = (validate.errors ?? []).filter((error) => !isNewer(error));
  if (errors.length > 0) {
    const text = ajv.errorsText(errors, { dataVar: name });
    problems.set(`${where}: ${text}`, JSON.stringify(value).slice(0, 600));
  }
}

/** What was asked on a socket and is not answered yet, and which version it speaks. */
const asked = new WeakMap();

function heard(socket, frame) {
  const { requests, version } = asked.get(socket);
  if (frame.type === "event") {
    check(frame, "EventFrame", "every event");
    const name = published(`${pascal(frame.event)}Event`);
    if (version !== 3 && name) check(frame.payload, name, `event ${frame.event}`);
    if (frame.event === "presence") {
      for (const entry of frame.payload.presence) check(entry, "PresenceEntry", "event presence");
    }
    return;
  }
  check(frame, "ResponseFrame", "every response");
  const request = requests.get(frame.id);
  if (request === undefined) {
    problems.set(`a response to ${frame.id}, which nobody asked`, JSON.stringify(frame));
  } else if (frame.ok && version !== 3) {
    const name = resultOf(request);
    if (name) check(frame.payload, name, `result of ${request.method}`);
  } else if (frame.error?.details?.code === "MISSING_SCOPE") {
    check(frame.error.details, "MissingScopeErrorDetails", "details of MISSING_SCOPE");
  }
}

const { send, emit } = WebSocket.prototype;

WebSocket.prototype.send = function (text, ...more) {
  const frame = JSON.parse(text);
  const state = asked.get(this) ?? { requests: new Map(), version: undefined };
  state.requests.set(frame.id, frame);
  if (frame.method === "connect") state.version = frame.params.maxProtocol;
  asked.set(this, state);
  return send.call(this, text, ...more);
};

WebSocket.prototype.emit = function (name, ...more) {
  if (name === "message") {
    if (!asked.has(this)) asked.set(this, { requests: new Map(), version: undefined });
    heard(this, JSON.parse(String(more[0])));
  }
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
