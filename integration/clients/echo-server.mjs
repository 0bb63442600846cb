// A server of the npm package ws that sends every message back, compressed where
// that was agreed on.
import { WebSocketServer } from "ws";
import { obey, tell } from "./talk.mjs";

const server = new WebSocketServer({
  port: 0, host: "127.0.0.1", maxPayload: 16 << 20, perMessageDeflate: { threshold: 0 },
});
server.on("listening", () => tell({ event: "listening", port: server.address().port }));
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => {}); // it is told to the client
});
obey({});
