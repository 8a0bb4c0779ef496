// What the clients for Node share: where the gateway is, and what every case asks of it.

import assert from "node:assert/strict";

export const URL_BASE = process.env.CLAWPORT_URL;
export const TOKEN = process.env.CLAWPORT_TOKEN;
export const CALL = 'call: get_weather {"city": "Oslo"}';
export const ok = (what) => console.log(`${what}: ok`);

/** Asks 20 times at once; every answer is its own. */
export async function many(ask) {
  const texts = Array.from({ length: 20 }, (_, n) =>
    Array.from({ length: 30 }, (_, word) => `n${n}w${word}`).join(" "),
  );
  assert.deepEqual(await Promise.all(texts.map(ask)), texts);
}

/** What is asked after an abort is answered at once. */
export async function prompt(ask) {
  const since = performance.now();
  await ask();
  assert.ok(performance.now() - since < 2000, "the session is free again at once");
}
