// Connects with the npm package ws, sends text and binary messages, and prints
// what came of it as one line of JSON.
//
//	node ws-client.mjs URL header|subprotocol|none TOKEN
import WebSocket from "ws";

const [url, carrier, token] = process.argv.slice(2);
const protocols = carrier === "subprotocol" ? ["chat", "bearer", token] : ["chat"];
const headers = carrier === "header" ? { Authorization: `Bearer ${token}` } : {};
const result = { opened: false, status: 0, protocol: "", extensions: "", echoes: 0, code: 0, error: "" };

const messages = [
  "hello",
  "zażółć gęślą jaźń",
  "",
  Buffer.from([0, 1, 2, 253, 254, 255]),
  "long ".repeat(100_000),
  Buffer.alloc(1 << 20, 7),
];

const socket = new WebSocket(url, protocols, { headers, rejectUnauthorized: false, handshakeTimeout: 10_000 });
let next = 0;
const send = () => {
  if (next < messages.length) socket.send(messages[next]);
  else socket.ping("are you there?");
};
socket.on("open", () => {
  result.opened = true;
  result.protocol = socket.protocol;
  result.extensions = socket.extensions;
  send();
});
socket.on("message", (data, isBinary) => {
  const want = messages[next];
  const same = Buffer.compare(data, Buffer.from(want)) === 0 && isBinary === (typeof want !== "string");
  if (same) result.echoes++;
  next++;
  send();
});
socket.on("pong", (data) => {
  if (data.toString() === "are you there?") socket.close(1000, "done");
  else result.error = `pong with ${data}`;
});
socket.on("unexpected-response", (_, response) => {
  result.status = response.statusCode;
  socket.terminate();
});
socket.on("error", (err) => { result.error = err.message; });
socket.on("close", (code) => {
  result.code = code;
  console.log(JSON.stringify(result));
});
