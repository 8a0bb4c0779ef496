// The official OpenAI client for Node against a gateway, unmodified.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.CLAWPORT_URL,
  apiKey: process.env.CLAWPORT_TOKEN,
  maxRetries: 0,
});
const messages = [{ role: "user", content: "hello there" }];

const plain = await client.chat.completions.create({ model: "openclaw", messages });
assert.equal(plain.choices[0].message.content, "hello there");
assert.equal(plain.choices[0].finish_reason, "stop");
assert.ok(plain._request_id);
console.log("plain: ok");

let text = "";
let finish;
const stream = await client.chat.completions.create({
  model: "openclaw:main",
  messages,
  stream: true,
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
}
assert.equal(text, "hello there");
assert.equal(finish, "stop");
console.log("stream: ok");

const helper = client.chat.completions.stream({ model: "openclaw", messages });
const final = await helper.finalChatCompletion();
assert.equal(final.choices[0].message.content, "hello there");
console.log("stream helper: ok");

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("openclaw/default"));
assert.equal((await client.models.retrieve("openclaw/main")).id, "openclaw/main");
console.log("models: ok");

const wrong = new OpenAI({ baseURL: process.env.CLAWPORT_URL, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(
  wrong.chat.completions.create({ model: "openclaw", messages }),
  (error) => error instanceof OpenAI.AuthenticationError && error.type === "unauthorized",
);
await assert.rejects(
  client.chat.completions.create({ model: "openclaw:ghost", messages, stream: true }),
  OpenAI.BadRequestError,
);
console.log("errors: ok");
