// What the servers and the clients of real protocols have in common: they tell
// what happens as lines of JSON, and end with their standard input.
import { createInterface } from "node:readline";

export const tell = (what) => console.log(JSON.stringify(what));

// obey calls a function for each line of the standard input, and exits after
// the last.
export function obey(commands, end = () => {}) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => commands[line]());
  lines.on("close", async () => {
    await end();
    process.exit(0);
  });
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Audit checks that within a session nothing is missed and nothing comes twice:
// the server's own messages, and its answers to ours, are numbered from 0.
export class Audit {
  sessions = 0;
  session = "";
  server = "";
  #due = {};
  #wrong = [];
  #reports = [];

  begin(session, server) {
    this.sessions++;
    Object.assign(this, { session, server });
    this.#due = { pushed: 0, answered: 0 };
    tell({ event: "open", session, server });
  }

  // see notes a message of a kind, pushed or answered.
  see(kind, session, number) {
    if (session !== this.session) this.complain(`${kind}: ${session} speaks in session ${this.session}`);
    else if (number !== this.#due[kind]) this.complain(`${kind}: ${number} instead of ${this.#due[kind]}`);
    this.#due[kind] = number + 1;
    this.#reports = this.#reports.filter((report) => !report());
  }

  complain(what) { this.#wrong.push(what); }

  // report tells how things are, after 20 more messages of each kind.
  report() {
    const { pushed, answered } = this.#due;
    this.#reports.push(() => {
      if (this.#due.pushed < pushed + 20 || this.#due.answered < answered + 20) return false;
      tell({ event: "report", session: this.session, server: this.server, sessions: this.sessions, wrong: this.#wrong });
      return true;
    });
  }
}
