// A server of the npm package graphql-sse. Its subscription gives numbers, and its query
// says what was asked.
//
//	node graphqlsse-server.mjs NAME
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { GraphQLInt, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { createHandler } from "graphql-sse/lib/use/http";
import { obey, sleep, tell } from "./talk.mjs";

const name = process.argv[2];
const entry = new GraphQLObjectType({
  name: "Entry",
  fields: { session: { type: GraphQLString }, server: { type: GraphQLString }, number: { type: GraphQLInt } },
});

async function* numbers() {
  const session = randomUUID();
  for (let number = 0; ; number++) {
    yield { pushed: { session, server: name, number } };
    await sleep(10);
  }
}

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: "Query",
    fields: {
      answered: { type: GraphQLString, args: { text: { type: new GraphQLNonNull(GraphQLString) } }, resolve: (_, { text }) => text },
    },
  }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: { pushed: { type: entry, subscribe: numbers } },
  }),
});

const handler = createHandler({ schema });
// It throws where a client has gone while it writes.
const http = createServer((req, res) => handler(req, res).catch(() => res.destroy()));
http.listen(0, "127.0.0.1", () => tell({ event: "listening", port: http.address().port }));
obey({});
