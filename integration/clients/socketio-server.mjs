// A server of the npm package socket.io. It sends every socket numbers, and
// answers each of its messages with how many it had before.
//
//	node socketio-server.mjs NAME
import { createServer } from "node:http";
import { Server } from "socket.io";
import { obey, tell } from "./talk.mjs";

const name = process.argv[2];
const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  let pushed = 0;
  let answered = 0;
  socket.emit("welcome", socket.id, name);
  const timer = setInterval(() => socket.emit("pushed", socket.id, pushed++), 10);
  socket.on("asked", (text, answer) => answer(socket.id, answered++, text));
  socket.on("disconnect", () => clearInterval(timer));
});
http.listen(0, "127.0.0.1", () => tell({ event: "listening", port: http.address().port }));
obey({});
