// Subscribes with the client of the npm package graphql-ws, and queries over
// the same connection.
//
//	node graphql-client.mjs URL
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { Audit, obey, sleep, tell } from "./talk.mjs";

const audit = new Audit();
class Socket extends WebSocket {
  constructor(url, protocols) { super(url, protocols, { rejectUnauthorized: false }); }
}
const client = createClient({
  url: process.argv[2].replace(/^http/, "ws") + "/graphql",
  webSocketImpl: Socket,
  retryAttempts: Infinity,
  shouldRetry: () => true,
  retryWait: () => sleep(50),
  on: {
    connected: (_, { session, server }) => {
      audit.begin(session, server);
      tell({ event: "carried", session, transport: "websocket" });
    },
    closed: ({ code, reason }) => tell({ event: "closed", code, reason }),
  },
});

// ask leaves it to the client to repeat a query on the next connection.
async function ask() {
  const query = "query ($text: String!) { answered(text: $text) { session number text } }";
  for (let n = 0; ; n++) {
    const variables = { text: `message ${n}` };
    for await (const { data, errors } of client.iterate({ query, variables })) {
      if (errors) return audit.complain(JSON.stringify(errors));
      audit.see("answered", data.answered.session, data.answered.number);
      if (data.answered.text !== variables.text) audit.complain(`${data.answered.text} came back for ${variables.text}`);
    }
    await sleep(10);
  }
}

client.subscribe({ query: "subscription { pushed { session number } }" }, {
  next: ({ data }) => audit.see("pushed", data.pushed.session, data.pushed.number),
  error: (error) => tell({ event: "error", reason: String(error.reason ?? error) }),
  complete: () => audit.complain("the subscription is complete"),
});
ask();
obey({ report: () => audit.report() }, () => client.dispose());
