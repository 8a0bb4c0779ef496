// A wire tap between the official programs and the gateway: `recorder.mjs LISTEN GATEWAY FILE`.
// Bytes are passed on as they were read, so that what came in one read stays together; the frames
// in them are written down, one JSON line each.
import { appendFileSync } from "node:fs";
import { connect, createServer } from "node:net";

const [listen, gateway, file] = process.argv.slice(2);
const HEAD_END = Buffer.from("\r\n\r\n");
const TEXT = 1;
const CONTINUATION = 0;
let connections = 0;

/** Reads one direction of a connection: the HTTP head, then frames. Whatever is no upgrade is left. */
class Reader {
  #rest = Buffer.alloc(0);
  #upgraded = false;
  #text = [];
  #reads = 0;

  constructor(tell) {
    this.tell = tell;
  }

  read(bytes, isUpgrade) {
    this.#reads += 1;
    this.#rest = Buffer.concat([this.#rest, bytes]);
    if (!this.#upgraded) {
      const end = this.#rest.indexOf(HEAD_END);
      if (end < 0) return;
      if (!isUpgrade(this.#rest.toString("latin1", 0, end))) {
        this.#rest = Buffer.alloc(0);
        return;
      }
      this.#upgraded = true;
      this.#rest = this.#rest.subarray(end + HEAD_END.length);
    }
    while (this.#frame());
  }

  #frame() {
    const bytes = this.#rest;
    if (bytes.length < 2) return false;
    const masked = (bytes[1] & 0x80) !== 0;
    let size = bytes[1] & 0x7f;
    let at = 2;
    if (size >= 126) {
      at = size === 126 ? 4 : 10;
      if (bytes.length < at) return false;
      size = size === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    }
    const mask = masked ? bytes.subarray(at, at + 4) : undefined;
    at += masked ? 4 : 0;
    if (bytes.length < at + size) return false;
    const payload = Buffer.from(bytes.subarray(at, at + size));
    if (mask) for (let n = 0; n < size; n += 1) payload[n] ^= mask[n % 4];
    this.#rest = bytes.subarray(at + size);
    const kind = bytes[0] & 0x0f;
    if (kind === TEXT || kind === CONTINUATION) {
      this.#text.push(payload);
      if ((bytes[0] & 0x80) !== 0) {
        this.tell(Buffer.concat(this.#text).toString(), this.#reads);
        this.#text = [];
      }
    }
    return true;
  }
}

function note(line) {
  appendFileSync(file, `${JSON.stringify({ t: Math.round(performance.now() * 10) / 10, ...line })}\n`);
}

function told(connection, from) {
  return (text, read) => {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      frame = { notJson: text.slice(0, 200) };
    }
    note({ connection, from, read, frame });
  };
}

createServer((client) => {
  const connection = (connections += 1);
  const server = connect(Number(gateway), "127.0.0.1");
  const sides = [
    [client, server, new Reader(told(connection, "client")), /^upgrade: *websocket/im],
    [server, client, new Reader(told(connection, "gateway")), /^HTTP\/1\.1 101/],
  ];
  for (const [from, to, reader, upgrade] of sides) {
    from.setNoDelay(true);
    from.on("data", (bytes) => {
      to.write(bytes);
      reader.read(bytes, (head) => upgrade.test(head));
    });
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  }
}).listen(Number(listen), "127.0.0.1", () => console.log(`recording to ${file}`));
