// Subscribes with the client of the npm package graphql-sse, and queries beside that: each
// is a stream of its own.
//
//	node graphqlsse-client.mjs URL
import { createClient } from "graphql-sse";
import { Audit, obey, sleep, tell } from "./talk.mjs";

const audit = new Audit();
const client = createClient({
  url: process.argv[2] + "/graphql",
  retryAttempts: Infinity,
  retry: () => sleep(50),
  on: { connecting: (again) => again && tell({ event: "closed" }) },
  // The client waits for ever where a stream ends before it has come to wait for more.
  fetchFn: async (url, init) => {
    const { body, status, headers } = await fetch(url, init);
    return new Response(body.pipeThrough(new TransformStream({ flush: () => sleep(20) })), { status, headers });
  },
});

// answer is the first result: a stream that ends before it says so is asked for again.
async function answer(variables) {
  const query = "query ($text: String!) { answered(text: $text) }";
  for await (const { data, errors } of client.iterate({ query, variables })) {
    if (errors) audit.complain(JSON.stringify(errors));
    return data?.answered;
  }
}

async function ask() {
  for (let session, n = 0; ; n++) {
    const text = `message ${n}`;
    const answered = await answer({ text });
    if (answered !== text) audit.complain(`${answered} came back for ${text}`);
    if (session !== audit.session) [session, n] = [audit.session, 0];
    audit.see("answered", session, n);
    await sleep(10);
  }
}

let asking = false;
client.subscribe({ query: "subscription { pushed { session server number } }" }, {
  next: ({ data }) => {
    const { session, server, number } = data.pushed;
    if (session !== audit.session) audit.begin(session, server);
    audit.see("pushed", session, number);
    if (!asking) ask();
    asking = true;
  },
  error: (error) => tell({ event: "error", reason: String(error) }),
  complete: () => audit.complain("the subscription is complete"),
});
obey({ report: () => audit.report() }, () => client.dispose());
