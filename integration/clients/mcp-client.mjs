// Calls a tool with the MCP client of the npm package @modelcontextprotocol/client, and
// tells how it gets on, and what came of it.
//
//	node mcp-client.mjs URL
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { obey, tell } from "./talk.mjs";

const client = new Client({ name: "client", version: "1.0.0" });
let due = 1;
let server;
const wrong = [];

async function call() {
  await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2] + "/mcp")));
  const onprogress = ({ progress, message }) => {
    if (progress !== due) wrong.push(`${progress} instead of ${due}`);
    due = progress + 1;
    if (message !== server) tell({ event: "open", server: message });
    server = message;
  };
  const { content } = await client.callTool({ name: "count", arguments: {} }, { onprogress, timeout: 60_000, resetTimeoutOnProgress: true });
  tell({ event: "report", server, text: content[0].text, sessions: due - 1, wrong });
}

call().catch((error) => tell({ event: "error", reason: String(error.stack) }));
obey({}, () => client.close());
