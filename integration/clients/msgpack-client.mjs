// A client that speaks JSON, by the npm package ws: it sends the lines of its standard
// input, and tells what comes.
//
//	node msgpack-client.mjs URL
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { tell } from "./talk.mjs";

const ws = new WebSocket(process.argv[2]);
ws.on("open", () => tell({ event: "open" }));
ws.on("message", (data, binary) => tell({ event: "message", text: binary ? "binary" : data.toString() }));
ws.on("close", (code, reason) => tell({ event: "closed", code, reason: reason.toString() }));
ws.on("error", (error) => tell({ event: "error", text: String(error) }));
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => ws.send(line));
lines.on("close", () => process.exit(0));
