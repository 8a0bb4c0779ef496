// The official OpenAI client for Node against a gateway, unmodified.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { CALL, TOKEN, URL_BASE, many, ok, prompt } from "./common.mjs";

const client = new OpenAI({ baseURL: URL_BASE, apiKey: TOKEN, maxRetries: 0 });
const create = (body) => client.chat.completions.create({ model: "openclaw", ...body });
const say = (content) => [{ role: "user", content }];
const messages = say("hello there");

async function gather(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
const text = (chunks) => chunks.map((it) => it.choices[0]?.delta?.content ?? "").join("");

const plain = await create({ messages });
assert.equal(plain.choices[0].message.content, "hello there");
assert.equal(plain.choices[0].finish_reason, "stop");
assert.ok(plain._request_id);
ok("plain");

let chunks = await gather(await create({ model: "openclaw:main", messages, stream: true }));
assert.equal(text(chunks), "hello there");
assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
const helper = client.chat.completions.stream({ model: "openclaw", messages });
const final = await helper.finalChatCompletion();
assert.equal(final.choices[0].message.content, "hello there");
ok("stream, stream helper");

const stream_options = { include_usage: true };
chunks = await gather(await create({ messages, stream: true, stream_options }));
assert.ok(chunks.at(-1).usage.total_tokens > 0);
ok("stream with usage");

for (const stream of [false, true]) {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: "openclaw:demo",
    messages: say(CALL),
    stream,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "The weather of a city.",
          parameters: { type: "object", properties: { city: { type: "string" } } },
          parse: JSON.parse,
          function: (args) => {
            asked.push(args);
            return "rain";
          },
        },
      },
    ],
  });
  assert.match(await runner.finalContent(), /^The tool answered .+: rain$/);
  assert.deepEqual(asked, [{ city: "Oslo" }]);
}
ok("tools round trip (runTools)");

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("openclaw/default"));
assert.equal((await client.models.retrieve("openclaw/main")).id, "openclaw/main");
ok("models list");

const wrong = new OpenAI({ baseURL: URL_BASE, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(
  wrong.chat.completions.create({ model: "openclaw", messages }),
  (error) => error instanceof OpenAI.AuthenticationError && error.type === "unauthorized",
);
ok("wrong key");

for (const stream of [false, true]) {
  await assert.rejects(
    create({ model: "openclaw:ghost", messages, stream }),
    (error) => error instanceof OpenAI.BadRequestError && /ghost/.test(error.message),
  );
}
ok("unknown agent");

await create({ model: "openclaw:demo", messages: say("my cat is Mog"), user: "node" });
const again = await create({
  model: "openclaw:demo",
  messages: say("what did I say?"),
  user: "node",
});
assert.match(again.choices[0].message.content, /my cat is Mog/);
ok("user continuity");

async function firstWord() {
  const slow = { model: "openclaw:slow", messages, stream: true, user: "node-abort" };
  for await (const chunk of await create(slow)) {
    if (chunk.choices[0]?.delta?.content) break;
  }
}
await firstWord();
await prompt(firstWord);
ok("abort");

await many(async (content) =>
  text(await gather(await create({ messages: say(content), stream: true }))),
);
ok("20 streams at once");
