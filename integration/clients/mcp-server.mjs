// A server of MCP (streamable HTTP) by the npm package @modelcontextprotocol/server. It
// has a tool that counts, and tells how far it is: a server that is asked to resume that
// has no need of the one that began.
//
//	node mcp-server.mjs NAME
import { createServer } from "node:http";
import { NodeStreamableHTTPServerTransport } from "@modelcontextprotocol/node";
import { Server } from "@modelcontextprotocol/server";
import { obey, sleep, tell } from "./talk.mjs";

const name = process.argv[2];
const most = 1000;
const progress = (progressToken, progress) => ({
  method: "notifications/progress",
  params: { progressToken, progress, total: most, message: name },
});
const result = () => ({ content: [{ type: "text", text: `counted up to ${most} at ${name}` }] });

// The ID of an event says all: whose progress it is, which is the ID of the request as
// well, and how far it was.
const eventStore = {
  storeEvent: async (_, { method, params, id }) =>
    method === "notifications/progress" ? `${params.progressToken} ${params.progress}` : `${id ?? "none"} ${most}`,
  replayEventsAfter: async (lastID, { send }) => {
    const [token, last] = lastID.split(" ").map(Number);
    for (let n = last + 1; n <= most; n++) {
      await send(`${token} ${n}`, { jsonrpc: "2.0", ...progress(token, n) });
    }
    await send(`${token} ${most}`, { jsonrpc: "2.0", id: token, result: result() });
    return `replayed for ${token}`;
  },
};

function newServer() {
  const server = new Server({ name, version: "1.0.0" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", async () => ({ tools: [{ name: "count", inputSchema: { type: "object" } }] }));
  server.setRequestHandler("tools/call", async (_, { mcpReq }) => {
    for (let n = 1; n <= most && !mcpReq.signal.aborted; n++) {
      await mcpReq.notify(progress(mcpReq._meta.progressToken, n));
      await sleep(20);
    }
    return result();
  });
  return server;
}

const http = createServer(async (req, res) => {
  const transport = new NodeStreamableHTTPServerTransport({ sessionIdGenerator: undefined, eventStore, retryInterval: 50 });
  await newServer().connect(transport);
  await transport.handleRequest(req, res);
});
http.listen(0, "127.0.0.1", () => tell({ event: "listening", port: http.address().port }));
obey({});
