// Listens to events by the npm package eventsource, and tells what comes.
//
//	node eventsource-client.mjs URL
import { EventSource } from "eventsource";
import { obey, tell } from "./talk.mjs";

const source = new EventSource(process.argv[2]);
source.onopen = () => tell({ event: "open" });
source.onmessage = ({ data, lastEventId }) => tell({ event: "message", session: lastEventId, text: data });
source.onerror = ({ code }) => tell({ event: "closed", code, reason: source.readyState === source.CLOSED ? "for good" : "for now" });
obey({}, () => source.close());
