// A server of the npm package graphql-ws. Its subscription gives numbers, and
// its query how many queries the connection made before.
//
//	node graphql-server.mjs NAME
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { GraphQLInt, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { obey, sleep, tell } from "./talk.mjs";

const name = process.argv[2];
const entry = new GraphQLObjectType({
  name: "Entry",
  fields: { session: { type: GraphQLString }, number: { type: GraphQLInt }, text: { type: GraphQLString } },
});

async function* numbers(_, __, { session }) {
  for (let number = 0; ; number++) {
    yield { pushed: { session, number } };
    await sleep(10);
  }
}

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: "Query",
    fields: {
      answered: {
        type: entry,
        args: { text: { type: new GraphQLNonNull(GraphQLString) } },
        resolve: (_, { text }, { session, extra }) => ({ session, number: extra.answered++, text }),
      },
    },
  }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: { pushed: { type: entry, subscribe: numbers } },
  }),
});

const http = createServer();
useServer(
  {
    schema,
    context: ({ extra }) => ({ session: extra.session, extra }),
    onConnect: ({ extra }) => {
      Object.assign(extra, { session: randomUUID(), answered: 0 });
      return { session: extra.session, server: name };
    },
  },
  new WebSocketServer({ server: http, path: "/graphql" }),
);
http.listen(0, "127.0.0.1", () => tell({ event: "listening", port: http.address().port }));
obey({});
