// The official gateway client against a gateway, unmodified: connect, pair, run, watch, reconnect,
// drain. The last step ends the gateway whose process CLAWPORT_PID names. `native.mjs [VERSION]`

import assert from "node:assert/strict";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign,
} from "node:crypto";
import { GatewayClient, arrivals, isOlder, publishedMethods, recorded } from "./frames.mjs";

const url = process.env.CLAWPORT_NATIVE_URL;
const http = process.env.CLAWPORT_URL;
const token = process.env.CLAWPORT_TOKEN;
const pid = Number(process.env.CLAWPORT_PID);
const PATIENCE_MS = 20_000;
/** Who shows runs to nobody hears of an instant end sooner than this. */
const PAUSE_MS = 15;
/** Ten sockets each are cut; the older client does the same and is asked to show it once. */
const WAVES = isOlder ? 1 : 5;
const everything = ["operator.admin", "operator.read", "operator.write", "operator.pairing"];

let since = performance.now();
function step(name) {
  const now = performance.now();
  console.log(`${name}: ok (${((now - since) / 1000).toFixed(1)}s)`);
  since = now;
}

/** Rejects when the promise takes too long; nothing here waits for a time. */
function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A client of the package, with everything it tells kept in order and waited for. */
class Peer {
  #waiting = [];
  told = [];

  constructor(options) {
    const tell = (kind) => (value, ...more) => this.#tell({ kind, value, more });
    this.client = new GatewayClient({
      url,
      token,
      scopes: everything,
      onHelloOk: tell("hello"),
      onConnectError: tell("refused"),
      onReconnectPaused: tell("paused"),
      onClose: tell("closed"),
      onEvent: tell("event"),
      onGap: tell("gap"),
      ...options,
    });
  }

  #tell(thing) {
    this.told.push(thing);
    for (const check of [...this.#waiting]) check();
  }

  /** The first thing from `since` on that `found` accepts; waits for it. */
  find(what, found, since = 0) {
    let check;
    const promise = new Promise((resolve) => {
      check = () => {
        const thing = this.told.slice(since).find(found);
        if (thing !== undefined) resolve(thing);
      };
      this.#waiting.push(check);
      check();
    });
    return soon(promise, what).finally(() => {
      this.#waiting = this.#waiting.filter((other) => other !== check);
    });
  }

  async next(kind, since = 0) {
    return (await this.find(kind, (thing) => thing.kind === kind, since)).value;
  }

  event(name, matches = () => true, since = 0) {
    const found = ({ kind, value }) =>
      kind === "event" && value.event === name && matches(value.payload);
    return this.find(`event ${name}`, found, since).then(({ value }) => value.payload);
  }

  events(name, matches = () => true) {
    return this.told
      .filter(({ kind, value }) => kind === "event" && value.event === name)
      .map(({ value }) => value.payload)
      .filter(matches);
  }

  get gaps() {
    return this.told.filter(({ kind }) => kind === "gap");
  }

  request(method, params = {}, options = {}) {
    return this.client.request(method, params, options);
  }

  async refused(method, params = {}) {
    const failed = await this.request(method, params).then(
      (payload) => assert.fail(`${method} was answered: ${JSON.stringify(payload)}`),
      (error) => error,
    );
    return failed;
  }

  static async connect(options = {}) {
    const peer = new Peer(options);
    peer.client.start();
    peer.hello = await peer.next("hello");
    return peer;
  }

  stop() {
    return this.client.stopAndWait();
  }
}

/** A device of its own: key, id, and the tokens it was given. */
function device() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url");
  const tokens = new Map();
  return {
    tokens,
    id: createHash("sha256").update(raw).digest("hex"),
    options(more = {}) {
      return {
        deviceIdentity: {
          deviceId: this.id,
          publicKeyPem: publicKey.export({ type: "spki", format: "pem" }),
          privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
        },
        hostDeps: {
          signDevicePayload: (pem, payload) =>
            sign(null, Buffer.from(payload), createPrivateKey(pem)).toString("base64url"),
          publicKeyRawBase64UrlFromPem: (pem) => createPublicKey(pem).export({ format: "jwk" }).x,
          loadDeviceAuthToken: ({ role }) => tokens.get(role) ?? null,
          storeDeviceAuthToken: ({ role, token, scopes }) => tokens.set(role, { token, scopes }),
          clearDeviceAuthToken: ({ role }) => tokens.delete(role),
        },
        ...more,
      };
    },
  };
}

/** The text of a message, whose content is text or a list of parts. */
function textOf(message) {
  const content = message?.content ?? "";
  return typeof content === "string" ? content : content.map(({ text }) => text ?? "").join("");
}

/** The text of the last answer of a session, from the transcript. */
async function lastAnswer(peer, sessionKey) {
  const { messages } = await peer.request("chat.history", { sessionKey });
  return textOf(messages.filter(({ role }) => role === "assistant").at(-1));
}

function say(peer, sessionKey, message) {
  const idempotencyKey = randomUUID();
  const answer = peer.request("chat.send", { sessionKey, message, idempotencyKey });
  return { run: idempotencyKey, answer };
}

const of = (run, ...states) => (payload) =>
  payload.runId === run && (states.length === 0 || states.includes(payload.state));

// The shared token.

const admin = await Peer.connect();
assert.equal(admin.hello.protocol, 4);
assert.equal(admin.hello.auth.method, "token");
assert.deepEqual([...admin.hello.auth.scopes].sort(), [...everything].sort());
assert.equal((await admin.request("health")).ok, true);
{
  const guesser = new Peer({ token: "wrong" });
  guesser.client.start();
  const error = await guesser.next("refused");
  assert.equal(error.details.code, "AUTH_TOKEN_MISMATCH");
  const paused = await guesser.next("paused");
  assert.equal(paused.code, 1008);
  await guesser.stop();
}
step("connect with the token");

// A device on this machine is paired at once, and comes back with its own token only.

const tui = device();
const terminal = { clientName: "openclaw-tui", mode: "ui", deviceFamily: "Linux" };
{
  const first = await Peer.connect(tui.options(terminal));
  assert.match(first.hello.auth.deviceToken, /^[\w-]{43}$/);
  assert.equal(tui.tokens.get("operator").token, first.hello.auth.deviceToken);
  await first.stop();

  const second = await Peer.connect(tui.options({ ...terminal, token: undefined, scopes: undefined }));
  assert.equal(second.hello.auth.method, "device-token");
  assert.equal((await second.request("sessions.list")).ts > 0, true);

  // Withdrawn: the live socket is closed, the token is forgotten, and there is no way back in.
  const seen = second.told.length;
  await admin.request("device.token.revoke", { deviceId: tui.id, role: "operator" });
  const closed = await second.find("close", ({ kind }) => kind === "closed", seen);
  assert.equal(closed.value, 4001);
  const refused = await second.next("refused", seen);
  assert.equal(refused.details.code, "AUTH_DEVICE_TOKEN_MISMATCH");
  await second.find("forgetting", ({ kind }) => kind === "paused", seen);
  assert.equal(tui.tokens.size, 0);
  await second.stop();
}
step("connect with a device");

// A page is never paired silently: it waits, an operator approves, it gets in by itself.

{
  const page = device();
  const asked = admin.event("device.pair.requested", ({ deviceId }) => deviceId === page.id);
  const waiting = new Peer(
    page.options({
      clientName: "openclaw-control-ui",
      mode: "webchat",
      origin: new URL(http).origin,
    }),
  );
  waiting.client.start();
  const error = await waiting.next("refused");
  assert.equal(error.gatewayCode, "NOT_PAIRED");
  assert.equal(error.details.code, "PAIRING_REQUIRED");
  const { requestId } = await asked;
  assert.equal(error.details.requestId, requestId);
  const { pending } = await admin.request("device.pair.list");
  assert.deepEqual(pending.map((it) => it.requestId), [requestId]);
  const approved = await admin.request("device.pair.approve", { requestId });
  assert.equal(approved.device.deviceId, page.id);
  const hello = await waiting.next("hello");
  assert.equal(hello.auth.deviceToken, page.tokens.get("operator").token);
  await admin.event("device.pair.resolved", (it) => it.requestId === requestId);
  await admin.request("device.pair.remove", { deviceId: page.id });
  assert.equal((await waiting.find("close", ({ kind }) => kind === "closed", 2)).value, 4001);
  await waiting.stop();
}
step("pairing");

// `agent` answers twice; the client hands the first to `onAccepted` and waits for the second.

{
  let accepted;
  const params = { sessionKey: "agent", message: "hello there", idempotencyKey: randomUUID() };
  const done = await admin.request("agent", params, {
    expectFinal: true,
    onAccepted: (payload) => (accepted = payload),
  });
  assert.equal(accepted.status, "accepted");
  assert.equal(accepted.runId, params.idempotencyKey);
  assert.equal(done.status, "ok");
  assert.equal(done.result.payloads[0].text, "hello there");
  const waited = await admin.request("agent.wait", { runId: accepted.runId });
  assert.equal(waited.status, "ok");
  const error = await admin.refused("agent", { ...params, agentId: "ghost" });
  assert.equal(error.gatewayCode, "INVALID_REQUEST");
}
step("agent with expectFinal");

// Streaming: what is shown piece by piece is what is kept.

{
  const { run, answer } = say(admin, "stream", "one two three four five");
  assert.equal((await answer).status, "started");
  const final = await admin.event("chat", of(run, "final"));
  const deltas = admin.events("chat", of(run, "delta"));
  assert.ok(deltas.length > 0);
  const shown = deltas.map(({ deltaText }) => deltaText).join("");
  assert.equal(shown, "one two three four five");
  assert.equal(textOf(deltas.at(-1).message), shown);
  assert.equal(textOf(final.message), shown);
  assert.equal(await lastAnswer(admin, "stream"), shown);
  const again = { sessionKey: "stream", message: "one two three four five", idempotencyKey: run };
  assert.equal((await admin.request("chat.send", again)).status, "ok");
  const error = await admin.refused("chat.send", { ...again, message: "another" });
  assert.equal(error.details.reason, "chat-request-conflict");
}
step("chat.send streaming");

// An instant answer: whoever shows runs to somebody has acted on the acknowledgement before the end
// comes, however long it stood still; nobody else waits.

/** Ten instant runs: when and in which read the acknowledgement and the end of each came. */
async function instants(peer, sessionKey, { standStillMs = 0 } = {}) {
  const found = [];
  for (let number = 0; number < 10; number += 1) {
    const { run, answer } = say(peer, sessionKey, `instant ${number}`);
    // The request is written once this turn of the loop is over; a terminal that draws is away then.
    const away = performance.now() + standStillMs;
    setImmediate(() => {
      while (performance.now() < away);
    });
    await answer;
    await peer.event("chat", of(run, "final"));
    found.push(arrivals.get(run));
  }
  return found;
}

{
  const shown = await Peer.connect(device().options(terminal));
  for (const standStillMs of [0, 60]) {
    const key = `agent:main:instant-${standStillMs}`;
    const runs = await instants(shown, key, { standStillMs });
    const early = runs.filter(({ acknowledged, ended }) => ended.read <= acknowledged.read);
    const after = runs.map(({ acknowledged, ended }) => Math.round(ended.at - acknowledged.at));
    const away = `away for ${standStillMs} ms: after [${after}] ms`;
    assert.equal(early.length, 0, `ends were read together with their acknowledgement, ${away}`);
  }
  await shown.stop();
  for (const mode of ["backend", "cli"]) {
    const clientName = mode === "cli" ? "cli" : "gateway-client";
    const other = await Peer.connect({ clientName, mode });
    const runs = await instants(other, `agent:main:instant-${mode}`);
    const after = runs.map(({ acknowledged, ended }) => ended.at - acknowledged.at);
    const usual = after.sort((a, b) => a - b)[5];
    assert.ok(usual < PAUSE_MS, `mode ${mode} waits ${Math.round(usual)} ms`);
    await other.stop();
  }
}
step("instant answers");

// Abort: one terminal event, the partial text is kept.

{
  const { run, answer } = say(admin, "agent:paced:abort", "go on");
  await answer;
  await admin.event("chat", of(run, "delta"));
  const aborted = await admin.request("chat.abort", { sessionKey: "agent:paced:abort", runId: run });
  assert.deepEqual(aborted, { ok: true, aborted: true, runIds: [run] });
  const terminal = await admin.event("chat", of(run, "aborted", "final", "error"));
  assert.equal(terminal.state, "aborted");
  assert.equal(terminal.stopReason, "rpc");
  const shown = admin.events("chat", of(run, "delta")).map(({ deltaText }) => deltaText).join("");
  assert.ok(shown.length > 0);
  assert.equal(textOf(terminal.message), shown);
  assert.equal(await lastAnswer(admin, "agent:paced:abort"), shown);
  const idle = await admin.request("chat.abort", { sessionKey: "agent:paced:abort" });
  assert.deepEqual(idle, { ok: true, aborted: false, runIds: [] });
}
step("abort");

// Reconnect mid-run: the history says how far the run is, and the deltas go on from there.

async function cutAndComeBack(number) {
  const key = `agent:paced:cut-${number}`;
  const peer = await Peer.connect({ instanceId: `cut-${number}` });
  const { run, answer } = say(peer, key, "a long answer");
  await answer;
  const cut = 1 + Math.floor(Math.random() * 20);
  for (let heard = 0; heard < cut; heard = peer.events("chat", of(run, "delta")).length) {
    await peer.event("chat", of(run, "delta"), peer.told.length);
  }
  const seen = peer.told.length;
  peer.client.ws.terminate();
  await peer.next("hello", seen);
  const since = peer.told.findIndex(({ kind }, at) => at >= seen && kind === "hello");
  const { inFlightRun, messages } = await peer.request("chat.history", { sessionKey: key });
  let shown;
  if (inFlightRun) {
    assert.equal(inFlightRun.runId, run);
    shown = inFlightRun.text;
    const final = await peer.event("chat", of(run, "final"), since);
    for (const { deltaText, message } of peer.told
      .slice(since)
      .filter(({ kind, value }) => kind === "event" && value.event === "chat")
      .map(({ value }) => value.payload)
      .filter(of(run, "delta"))) {
      // A delta may repeat what the history told; it never begins behind it.
      const whole = textOf(message);
      const from = whole.length - deltaText.length;
      assert.ok(from <= shown.length, `a gap of ${from - shown.length} after cut ${cut}`);
      assert.ok(whole.startsWith(shown) || shown.startsWith(whole));
      if (whole.length > shown.length) shown = whole;
    }
    assert.equal(textOf(final.message), shown);
  } else {
    shown = textOf(messages.at(-1));
  }
  assert.equal(shown.split(" ").length, 200);
  assert.equal(await lastAnswer(peer, key), shown);
  const { messages: kept } = await peer.request("chat.history", { sessionKey: key });
  assert.deepEqual(kept.map(({ role }) => role), ["user", "assistant"]);
  assert.deepEqual(peer.gaps, []);
  await peer.stop();
  return inFlightRun !== undefined;
}

{
  // Not all at once: every client is told of every run, and each frame is looked at.
  const came = [];
  for (let wave = 0; wave < WAVES; wave += 1) {
    const numbers = [...Array(10).keys()].map((n) => wave * 10 + n);
    came.push(...(await Promise.all(numbers.map(cutAndComeBack))));
  }
  assert.equal(came.length, WAVES * 10);
  assert.ok(came.some(Boolean), "every run had ended before its client was back");
}
step("reconnect in the middle of a run");

// History: whole, in order, and by the page.

{
  for (const message of ["first", "second", "third"]) {
    const { run } = say(admin, "history", message);
    await admin.event("chat", of(run, "final"));
  }
  const { messages, sessionId } = await admin.request("chat.history", { sessionKey: "history" });
  const expected = ["first", "first", "second", "second", "third", "third"];
  assert.deepEqual(messages.map(textOf), expected);
  assert.ok(sessionId);
  const { messages: last } = await admin.request("chat.history", {
    sessionKey: "history",
    limit: 2,
  });
  assert.deepEqual(last.map(textOf), ["third", "third"]);
  const { messages: none } = await admin.request("chat.history", { sessionKey: "never" });
  assert.deepEqual(none, []);
}
step("history");

// Two clients watch one session: runs of the other one, and runs that came over HTTP.

{
  const key = "agent:main:watched";
  const other = await Peer.connect({ instanceId: "other" });
  for (const peer of [admin, other]) {
    await peer.request("sessions.subscribe");
    await peer.request("sessions.messages.subscribe", { key });
  }
  const { run } = say(admin, key, "who is there");
  for (const peer of [admin, other]) {
    const final = await peer.event("chat", of(run, "final"));
    assert.equal(textOf(final.message), "who is there");
    const inSession = ({ sessionKey, message }) =>
      sessionKey === key && message.role === "assistant";
    const kept = await peer.event("session.message", inSession);
    assert.equal(textOf(kept.message), "who is there");
    await peer.event("sessions.changed", (it) => it.sessionKey === key && it.phase === "end");
  }
  const texts = (peer) => peer.events("chat", of(run, "delta")).map(({ deltaText }) => deltaText);
  assert.equal(texts(admin).join(""), texts(other).join(""));

  const response = await fetch(`${http}/chat/completions`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      "x-openclaw-session-key": key,
    },
    body: JSON.stringify({ model: "openclaw", messages: [{ role: "user", content: "over HTTP" }] }),
  });
  const { id, choices } = await response.json();
  assert.equal(choices[0].message.content, "over HTTP");
  for (const peer of [admin, other]) {
    assert.equal(textOf((await peer.event("chat", of(id, "final"))).message), "over HTTP");
  }
  await other.stop();
}
step("two clients watch one session");

// Methods whose results are published, so that each is held against its schema; a reader is told
// what it lacks; protocol 3 is spoken with whoever asks for it.

{
  const calls = {
    "agents.list": {},
    "models.list": {},
    "logs.tail": { limit: 5 },
    "sessions.resolve": { key: "agent:main:watched" },
    "sessions.list": { limit: 3 },
    "sessions.describe": { key: "agent:main:watched" },
    "sessions.patch": { key: "agent:main:watched", label: "watched" },
    status: {},
    "system-presence": {},
    "config.get": {},
    "device.pair.list": {},
    "agent.identity.get": {},
    "question.list": {},
    "taskSuggestions.list": {},
    "tasks.list": {},
    "sessions.groups.list": {},
    "sessions.branches.list": { sessionKey: "agent:main:watched" },
    "projects.list": {},
    "channels.status": {},
    "update.status": {},
  };
  for (const [method, params] of Object.entries(calls)) await admin.request(method, params);
  for (const method of Object.keys(calls)) assert.ok(admin.hello.features.methods.includes(method));
  const reader = await Peer.connect({ scopes: ["operator.read"] });
  const error = await reader.refused("chat.send", {
    sessionKey: "main",
    message: "no",
    idempotencyKey: randomUUID(),
  });
  assert.equal(error.gatewayCode, "FORBIDDEN");
  assert.equal(error.details.missingScope, "operator.write");
  await reader.stop();

  const old = await Peer.connect(device().options({ minProtocol: 3, maxProtocol: 3 }));
  assert.equal(old.hello.protocol, 3);
  const { run } = say(old, "main", "hello from before");
  const final = await old.event("chat", of(run, "final"));
  assert.equal(final.sessionKey, "main");
  assert.equal(textOf(final.message), "hello from before");
  // Each answer is held against what that version says of it, as every event is.
  const accepted = { sessionKey: "main", message: "once more", idempotencyKey: randomUUID() };
  await old.request("agent", accepted, { expectFinal: true });
  const paced = say(old, "agent:paced:before", "go on");
  await old.event("chat", of(paced.run, "delta"));
  const stopped = await old.request("chat.abort", { sessionKey: "agent:paced:before" });
  assert.deepEqual(stopped.runIds, [paced.run]);
  await old.event("chat", of(paced.run, "aborted"));
  const calls3 = {
    "agent.wait": { runId: accepted.idempotencyKey },
    "chat.history": { sessionKey: "main" },
    "sessions.resolve": { key: "main" },
    "agents.list": {},
    "models.list": {},
    "sessions.list": {},
    health: {},
    status: {},
  };
  for (const [method, params] of Object.entries(calls3)) await old.request(method, params);
  await old.stop();
}
step("methods and versions");

// What is advertised is served, and of what is published nothing else is.

{
  const advertised = new Set(admin.hello.features.methods);
  assert.equal(advertised.size, admin.hello.features.methods.length);
  const others = publishedMethods.filter((method) => method !== "connect");
  for (const method of new Set([...advertised, ...others])) {
    // Most lack params this way; only those that need none are carried out, and they only read.
    const error = await admin.request(method).then(() => undefined, (it) => it);
    // Methods of nodes are refused by role, before anybody looks whether there are any.
    const refusals = [`unknown method: ${method}`, "unauthorized role: operator"];
    const isUnknown = refusals.includes(error?.message);
    assert.equal(isUnknown, !advertised.has(method), `${method}: ${error?.message}`);
  }
}
step("what is advertised is served");

// Drain: what runs is finished, nothing new begins, everybody is told.

{
  const { run, answer } = say(admin, "agent:paced:drain", "finish this");
  await answer;
  await admin.event("chat", of(run, "delta"));
  const ended = admin.next("closed");
  process.kill(pid, "SIGTERM");
  await admin.event("chat", of(run, "delta"), admin.told.length);
  const error = await (async () => {
    for (;;) {
      const late = { sessionKey: "main", message: "too late", idempotencyKey: randomUUID() };
      const failed = await admin.request("chat.send", late).then(() => undefined, (it) => it);
      if (failed) return failed;
    }
  })();
  assert.equal(error.gatewayCode, "UNAVAILABLE");
  assert.equal(error.retryable, true);
  const late = new Peer({});
  late.client.start();
  const refused = await late.next("refused");
  assert.match(refused.message, /503/);
  await late.stop();
  const final = await admin.event("chat", of(run, "final"));
  assert.equal(textOf(final.message).split(" ").length, 200);
  assert.ok((await admin.event("shutdown")).reason);
  assert.equal(await ended, 1012);
  await admin.stop();
}
step("drain");

recorded.report();
