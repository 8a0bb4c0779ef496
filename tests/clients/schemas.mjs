// Holds the schemas of `proto/`, which follow from the gateway's own types, against those the
// protocol package publishes, for every method and event both know: what the gateway sends is
// allowed, and what must be there is. Differences that are meant stand in schema-exceptions.json,
// each with its reason.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const proto = process.env.CLAWPORT_PROTO;
const read = (path) => JSON.parse(readFileSync(path));
const published = read(
  new URL("node_modules/@openclaw/gateway-protocol/protocol.schema.json", import.meta.url),
);
const exceptions = read(new URL("schema-exceptions.json", import.meta.url));
const DEPTH_MAX = 6;

/** The forms a schema allows, with references followed. */
function forms(schema, root, depth = 0) {
  if (schema === undefined || schema === true || depth > 20) return [];
  if (schema.$ref !== undefined) {
    const path = schema.$ref.replace(/^#\//, "").split("/");
    const target = path.reduce((at, name) => at?.[decodeURIComponent(name)], root);
    const own = Object.keys(schema).length > 1 ? [{ ...schema, $ref: undefined }] : [];
    return [...forms(target, root, depth + 1), ...own];
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    const outer = schema.properties ? [schema] : [];
    const found = choices.flatMap((choice) => forms(choice, root, depth + 1));
    return found.map((form) => (outer.length > 0 ? joined([...outer, form]) : form));
  }
  if (schema.allOf !== undefined) {
    return [joined([schema, ...schema.allOf.flatMap((part) => forms(part, root, depth + 1))])];
  }
  return [schema];
}

const joined = (parts) => ({
  ...Object.assign({}, ...parts),
  properties: Object.assign({}, ...parts.map(({ properties }) => properties)),
  required: parts.flatMap(({ required }) => required ?? []),
});

const objects = (schema, root) => forms(schema, root).filter(({ properties }) => properties);
const items = (schema, root) => forms(schema, root).filter((it) => it.items).map((it) => it.items);
const isOpen = (form) => form.additionalProperties !== false;

const used = new Set();
const found = [];
let compared = 0;

function complain(where, what) {
  const key = `${where} ${what}`;
  if (key in exceptions) used.add(key);
  else if (!found.includes(key)) found.push(key);
}

/** Compares what the gateway may say with what may be said. */
function compare(ours, theirs, where, depth = 0) {
  if (depth > DEPTH_MAX) return;
  const [our, their] = [objects(ours, ours_root), objects(theirs, published)];
  if (our.length > 0 && their.length > 0) {
    const known = new Set(their.flatMap(({ properties }) => Object.keys(properties)));
    const must = their
      .map(({ required }) => required ?? [])
      .reduce((all, names) => all.filter((name) => names.includes(name)));
    for (const form of our) {
      for (const [name, member] of Object.entries(form.properties)) {
        compared += 1;
        const allowed = known.has(name) || their.some(isOpen);
        if (!allowed) complain(`${where}.${name}`, "is not published");
        const options = their.map(({ properties }) => properties[name]).filter(Boolean);
        if (options.length > 0) {
          compare(member, { anyOf: options }, `${where}.${name}`, depth + 1);
        }
      }
    }
    for (const name of must) {
      const present = our.every(({ required }) => required?.includes(name));
      if (!present) complain(`${where}.${name}`, "must be there");
    }
  }
  const [ourItems, theirItems] = [items(ours, ours_root), items(theirs, published)];
  for (const item of ourItems) {
    if (theirItems.length > 0) compare(item, { anyOf: theirItems }, `${where}[]`, depth + 1);
  }
}

let ours_root;
const pascal = (name) =>
  name
    .split(/[.-]/)
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join("");

function each(folder, nameOf) {
  for (const file of readdirSync(join(proto, "schema", folder)).sort()) {
    const name = file.replace(/\.json$/, "");
    const theirs = published.definitions[nameOf(name)];
    if (theirs === undefined) continue;
    ours_root = read(join(proto, "schema", folder, file));
    compare(ours_root, theirs, `${folder}/${name}`);
  }
}

const result = /^(.*)\.result$/;
const params = /^(.*)\.params$/;
each("methods", (name) => result.test(name) && `${pascal(result.exec(name)[1])}Result`);
each("events", (name) => `${pascal(name)}Event`);

// Parameters: whatever a client must send is known here, and nothing else is asked of it.
for (const file of readdirSync(join(proto, "schema", "methods")).sort()) {
  const method = params.exec(file.replace(/\.json$/, ""))?.[1];
  const theirs = method && published.definitions[`${pascal(method)}Params`];
  if (!theirs) continue;
  ours_root = read(join(proto, "schema", "methods", file));
  const [our] = objects(ours_root, ours_root);
  for (const form of objects(theirs, published)) {
    const [sent, must] = [Object.keys(form.properties), form.required ?? []];
    for (const name of must) {
      compared += 1;
      const isTaken = our?.properties[name] !== undefined;
      if (!isTaken) complain(`methods/${method}.params.${name}`, "is not taken");
    }
    for (const name of our?.required ?? []) {
      if (sent.includes(name) && !must.includes(name)) {
        complain(`methods/${method}.params.${name}`, "is asked of clients that need not send it");
      }
    }
  }
}

const stale = Object.keys(exceptions).filter((key) => !used.has(key));
assert.ok(compared > 200, `only ${compared} members were compared`);
assert.deepEqual(stale, [], "exceptions that nothing needs");
assert.deepEqual(found, [], "differences from the published schema");
console.log(`schemas as published: ${compared} members, ${used.size} exceptions`);
