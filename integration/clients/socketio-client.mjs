// Connects with the npm package socket.io-client, by polling first, and keeps
// the cookies that it gets, as a browser does.
//
//	node socketio-client.mjs URL
import { io } from "socket.io-client";
import { Audit, obey, sleep, tell } from "./talk.mjs";

const audit = new Audit();
const socket = io(process.argv[2], {
  transports: ["polling", "websocket"],
  withCredentials: true,
  rejectUnauthorized: false,
  reconnectionDelay: 50,
  reconnectionDelayMax: 200,
});

async function ask(session) {
  for (let n = 0; socket.id === session; n++) {
    const text = `message ${n} of ${session}`;
    // It stays pending for ever where the session ends meanwhile.
    const [from, number, back] = await new Promise((resolve) => {
      socket.emit("asked", text, (...answer) => resolve(answer));
    });
    audit.see("answered", from, number);
    if (back !== text) audit.complain(`${back} came back for ${text}`);
    await sleep(10);
  }
}

socket.on("welcome", (session, server) => {
  audit.begin(session, server);
  ask(session);
});
socket.on("pushed", (session, number) => audit.see("pushed", session, number));
socket.on("connect", () => {
  const { engine } = socket.io;
  const upgraded = () => tell({ event: "carried", session: socket.id, transport: engine.transport.name });
  upgraded();
  engine.once("upgrade", upgraded);
});
socket.on("disconnect", (reason, details) => tell({ event: "closed", reason, code: details?.context?.code }));
socket.on("connect_error", (error) => tell({ event: "error", reason: error.message }));
obey({ report: () => audit.report() }, () => socket.disconnect());
