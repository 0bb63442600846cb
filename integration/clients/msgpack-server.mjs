// A backend that speaks MessagePack, by the npm packages ws and @msgpack/msgpack: it
// answers each message with what it has understood, and with things that are not for
// clients.
//
//	node msgpack-server.mjs NAME
import { decode, encode } from "@msgpack/msgpack";
import { WebSocketServer } from "ws";
import { obey, tell } from "./talk.mjs";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true }, () =>
  tell({ event: "listening", port: server.address().port }),
);
server.on("connection", (ws) => {
  ws.on("message", (data, binary) => {
    if (!binary) return ws.close(1003, "text");
    const got = decode(data);
    ws.send(encode({ type: "answer", got, internal: { host: "10.0.0.7" }, key: "sk_live_4eC39HqLyjWDarjtT1zdp7dc" }));
  });
});
obey({});
