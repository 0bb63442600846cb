// The live page of ws_gateway. What it shows comes from clients and upstreams: it goes into
// the page as text, and never as markup.
"use strict";

// --- elements -------------------------------------------------------------------------

const $ = id => document.getElementById(id);
const isSVG = /^(svg|path|line)$/;

function el(name, attributes, ...children) {
	const node = isSVG.test(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
	for (const [key, value] of Object.entries(attributes || {})) {
		if (key === "onclick") node.onclick = value;
		else if (value !== undefined) node.setAttribute(key, value);
	}
	node.append(...children);
	return node;
}

// put changes a text only where it has changed, so that a selection in it stays.
function put(node, text) {
	text = String(text);
	if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
	if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// reconcile makes the children of a node those of the items, and keeps what is there. What
// is gone goes first, so that nothing that stays moves, and loses the focus, on account of it.
function reconcile(parent, items, keyOf, make, update) {
	const known = parent.known ??= new Map();
	const wanted = new Set(items.map(keyOf));
	for (const [key, part] of known) {
		if (wanted.has(key)) continue;
		known.delete(key);
		part.node.remove();
	}
	let place = 0;
	for (const item of items) {
		const key = keyOf(item);
		if (!wanted.delete(key)) continue; // there twice
		let part = known.get(key);
		if (!part) known.set(key, part = make(item));
		update(part, item);
		if (parent.children[place] !== part.node) parent.insertBefore(part.node, parent.children[place] || null);
		place++;
	}
}

// --- words and numbers ----------------------------------------------------------------

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const count = n => n === undefined ? "" : n < 100000 ? whole.format(n) : short.format(n);
const rate = n => n < 10 ? String(Math.round(n * 10) / 10) : count(Math.round(n));
const plural = (n, one, many = one + "s") => count(n) + " " + (n === 1 ? one : many);
const percent = share => share > 0 && share < .01 ? "<1 %" : Math.round(share * 100) + " %";

function size(bytes) {
	if (bytes === undefined) return "";
	for (const unit of ["B", "kB", "MB", "GB"]) {
		if (bytes < 999.5) return (unit === "B" || bytes >= 99.5 ? Math.round(bytes) : Math.round(bytes * 10) / 10) + " " + unit;
		bytes /= 1000;
	}
	return Math.round(bytes * 10) / 10 + " TB";
}

function span(seconds) {
	if (seconds === undefined) return "";
	if (seconds < 1) return Math.round(seconds * 1000) + " ms";
	if (seconds < 10) return Math.floor(seconds * 10) / 10 + " s";
	const s = Math.floor(seconds), parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
	const first = parts.findIndex(([length]) => s >= length);
	return parts.slice(first, first + 2).map(([length, unit], i) => [Math.floor((i ? s % parts[first][0] : s) / length), unit])
		.filter(([n], i) => n || !i).map(([n, unit]) => n + " " + unit).join(" ");
}

const clock = at => new Date(at).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});

function when(at) {
	const date = new Date(at), today = new Date(now).toDateString() === date.toDateString();
	return today ? clock(at) : date.toLocaleDateString([], {month: "short", day: "numeric"}) + " " + clock(at);
}

const states = {ready: "ready", drain: "draining", maintenance: "maintenance", unhealthy: "unhealthy"};
const because = {token: "token", max_age: "max_age", drain: "drain"};
const results = {
	ok: "let in", unauthorized: "no good credential", forbidden: "page or user not allowed", limited: "over a limit",
	bad_request: "wrong handshake", refused: "by the upstream", unavailable: "no upstream", upstream_error: "upstream failed",
	canceled: "client went away", draining: "node drains",
};
const codes = {
	1000: "normal", 1001: "going away", 1002: "protocol error", 1005: "no code", 1006: "connection lost", 1007: "not UTF-8",
	1008: "against a limit or policy", 1009: "message too big", 1011: "error", 1012: "restart", 1013: "try later", 3000: "token expired or revoked", none: "a stream",
};

// --- what the viewer wants ------------------------------------------------------------

const here = location.origin + location.pathname;
const want = {sort: "rate", filter: "", limit: 50};
let now = Date.now(), shown = null;

function address(view) {
	const query = new URLSearchParams({view, sort: want.sort, limit: want.limit});
	if (want.filter) query.set("filter", want.filter);
	return here + "?" + query;
}

let saying = 0;
function say(text) {
	clearTimeout(saying);
	saying = setTimeout(() => put($("said"), text), 300);
}

// --- news from the gateway --------------------------------------------------------------
// Over an event stream, and where there is none, by asking.

const link = {source: null, heard: Date.now(), retry: 0, asking: false, gone: false, denied: false, streams: false};

function listen() {
	link.source?.close();
	link.source = null;
	if (document.hidden) return;
	const source = link.source = new EventSource(address("events"));
	source.onmessage = event => {
		link.streams = true;
		receive(event.data);
	};
	source.onerror = () => {
		link.streams = false;
		if (source.readyState === EventSource.CLOSED && link.source === source) {
			link.source = null;
			link.retry = Date.now() + 10000;
		}
		ask();
	};
}

async function ask() {
	if (link.asking || document.hidden) return;
	link.asking = true;
	const asked = address("data");
	try {
		const answer = await fetch(asked, {cache: "no-store", signal: AbortSignal.timeout(5000)});
		link.denied = answer.status === 401 || answer.status === 403;
		if (!answer.ok) throw new Error(answer.status);
		const text = await answer.text();
		if (asked === address("data")) receive(text);
	} catch {
		link.gone = true;
		showLink();
	} finally {
		link.asking = false;
	}
}

function receive(text) {
	const snapshot = JSON.parse(text);
	link.heard = Date.now();
	link.gone = link.denied = false;
	shown = snapshot;
	now = Date.parse(snapshot.now);
	show(snapshot);
	showLink();
}

function watch() {
	if (document.hidden) return;
	if (Date.now() - link.heard > (link.source ? 5000 : 2000)) ask();
	if (!link.source && Date.now() > link.retry) {
		link.retry = Date.now() + 10000;
		listen();
	}
}

// showLink says whether what is shown is how things are.
function showLink() {
	const [kind, word] = link.gone ? ["bad", link.denied ? "signed out" : "reconnecting…"] : ["good", "live"];
	if ($("link").dataset.kind !== kind) say(link.gone ? "The gateway does not answer." : "The page is live.");
	mark($("link"), "data-kind", kind);
	put($("link"), word);
	$("main").classList.toggle("stale", link.gone);
	showBanners();
}

function showBanners() {
	const list = [];
	if (link.gone) {
		list.push({key: "gone", bad: true, text: link.denied ? "You may not see this page any more. Reload it to sign in again."
			: "The gateway does not answer since " + clock(link.heard) + ". What you see is from then. Trying again…"});
	}
	const node = shown?.node;
	if (node?.state === "drain") {
		list.push({key: "node", text: "This node lets go of its connections and takes no new ones.", drain: node.drain || {left: node.live}});
	}
	reconcile($("banners"), list, item => item.key, item => {
		const text = el("span"), progress = el("div");
		return {node: el("p", {class: item.bad ? "banner bad" : "banner"}, text, progress), text, progress};
	}, (part, item) => {
		put(part.text, item.text);
		if (item.drain) showDrain(part.progress, item.drain);
	});
}

// showDrain shows how far a drain is, and when it ends.
function showDrain(node, drain) {
	if (!node.bar) node.append(node.text = el("small"), node.bar = el("progress", {"aria-label": "drained"}));
	const end = drain.ends_at && Date.parse(drain.ends_at) > now ? ", until " + clock(drain.ends_at) : "";
	const from = Math.max(drain.from || 0, drain.left);
	put(node.text, drain.left === 0 ? "empty" : count(drain.left) + (from > drain.left ? " of " + count(from) : "") + " left" + end);
	node.bar.max = Math.max(from, 1);
	node.bar.value = from - drain.left;
	node.bar.hidden = from === 0;
}

// --- tables -----------------------------------------------------------------------------

// makeTable returns a table that changes in place. A column says what it shows of a row: a
// text, or a text with a second line; or it fills the cell itself.
function makeTable(caption, columns, keyOf) {
	const body = el("tbody", {role: "rowgroup"});
	const heads = columns.map(column => {
		const head = el("th", {scope: "col", role: "columnheader", class: column.class});
		if (column.sort) head.append(el("button", {type: "button", onclick: () => sortBy(column.sort)}, column.label));
		else if (column.unseen) head.append(el("span", {class: "unseen"}, column.label));
		else head.append(column.label);
		return head;
	});
	const node = el("table", {role: "table", "aria-label": caption},
		el("thead", {role: "rowgroup"}, el("tr", {role: "row"}, ...heads)), body);
	const make = () => {
		const cells = columns.map((column, i) => i === 0 ? el("th", {scope: "row", role: "rowheader", class: column.class})
			: el("td", {role: "cell", class: column.class, "data-label": column.label}));
		return {node: el("tr", {role: "row"}, ...cells), cells};
	};
	const fill = (row, item) => {
		columns.forEach((column, i) => {
			const cell = row.cells[i];
			if (column.fill) return column.fill(cell, item);
			const [text, more] = [].concat(column.text(item));
			cell.first ??= cell.appendChild(el("span"));
			put(cell.first, text ?? "");
			if (more && !cell.second) cell.second = cell.appendChild(el("small"));
			if (cell.second) put(cell.second, more || "");
			cell.classList.toggle("blank", !text && !more);
		});
	};
	const update = items => {
		columns.forEach((column, i) => {
			if (column.sort === undefined) return;
			if (column.sort === want.sort) mark(heads[i], "aria-sort", "descending");
			else heads[i].removeAttribute("aria-sort");
		});
		reconcile(body, items, keyOf, make, (row, item) => {
			row.node.classList.toggle("over", Boolean(item.over));
			row.node.classList.toggle("away", Boolean(item.away));
			fill(row, item);
		});
	};
	return {node, body, update};
}

// fillButtons keeps the buttons of a cell, by their words.
function fillButtons(cell, buttons) {
	const list = cell.list ??= cell.appendChild(el("div", {class: "row"}));
	cell.classList.toggle("blank", buttons.length === 0);
	const focused = list.contains(document.activeElement);
	reconcile(list, buttons, button => button.word, button => {
		const part = {node: el("button", {type: "button", class: "small"}, button.word)};
		part.node.onclick = () => confirmed(part.ask);
		return part;
	}, (part, button) => {
		part.ask = button.ask;
		mark(part.node, "aria-label", button.label);
	});
	if (focused && !list.contains(document.activeElement)) list.querySelector("button")?.focus(); // its word has changed
}

// --- plots ------------------------------------------------------------------------------

const plotWidth = 300, plotHeight = 50, plotPoints = 150;

function makePlot(label, format) {
	const area = el("path", {class: "area"}), curve = el("path", {class: "curve"});
	const at = el("line", {class: "at", y1: 0, y2: plotHeight, visibility: "hidden"});
	const svg = el("svg", {viewBox: "0 0 " + plotWidth + " " + plotHeight, preserveAspectRatio: "none", role: "img"},
		el("line", {class: "base", x1: 0, x2: plotWidth, y1: plotHeight, y2: plotHeight}), area, curve, at);
	const value = el("b"), peak = el("span"), from = el("span"), to = el("span", {}, "now");
	const node = el("figure", {class: "plot"}, el("figcaption", {}, el("span", {}, label), peak, value), svg, el("div", {class: "axis"}, from, to));
	const plot = {node, points: [], pointed: null};

	const point = i => {
		const n = plot.points.length;
		const x = plotWidth * (1 - (n - 1 - i) / (plotPoints - 1));
		mark(at, "x1", x);
		mark(at, "x2", x);
		mark(at, "visibility", "visible");
		put(value, format(plot.points[i]));
		put(to, clock(now - (n - 1 - i) * plot.step * 1000));
	};
	const rest = () => {
		plot.pointed = null;
		mark(at, "visibility", "hidden");
		put(value, plot.points.length ? format(plot.points.at(-1)) : "–");
		put(to, "now");
	};
	svg.addEventListener("pointermove", event => {
		const box = svg.getBoundingClientRect(), n = plot.points.length;
		plot.pointed = Math.round((1 - (event.clientX - box.left) / box.width) * (plotPoints - 1)); // from the right
		if (plot.pointed >= 0 && plot.pointed < n) point(n - 1 - plot.pointed);
		else rest();
	});
	svg.addEventListener("pointerleave", rest);

	plot.update = (points, step) => {
		plot.points = points;
		plot.step = step;
		const most = Math.max(0, ...points), n = points.length;
		const place = (v, i) => (plotWidth * (1 - (n - 1 - i) / (plotPoints - 1))).toFixed(1) + " " +
			(plotHeight - 1 - (most ? v / most : 0) * (plotHeight - 4)).toFixed(1);
		const way = n > 1 ? "M" + points.map(place).join("L") : "";
		mark(curve, "d", way);
		const left = (plotWidth * (1 - (n - 1) / (plotPoints - 1))).toFixed(1);
		mark(area, "d", way && way + "V" + plotHeight + "H" + left + "Z");
		put(peak, n ? "peak " + format(most) : "");
		put(from, "5 min ago");
		mark(svg, "aria-label", label + ", the last five minutes: now " + (n ? format(points.at(-1)) : "unknown") + ", at most " + format(most));
		if (plot.pointed === null || plot.pointed >= n) rest();
		else point(n - 1 - plot.pointed);
	};
	return plot;
}

// --- a gateway ----------------------------------------------------------------------------

const perSecond = n => rate(n) + "/s";
const plotted = [["connections", "Connections", count], ["handshakes", "Handshakes", perSecond], ["messages", "Messages", perSecond], ["bytes", "Payload", n => size(n) + "/s"]];

function makeGateway(gateway) {
	const id = "gateway-" + gateway.name;
	const sub = el("p", {class: "soft"});
	const plots = plotted.map(([key, label, format]) => ({key, plot: makePlot(label, format)}));
	const part = {};
	const table = makeTable("Upstreams of " + gateway.name, upstreamColumns(() => part.gateway), up => up.address);
	const handshakes = makeFact("Handshakes"), closes = makeFact("Ended"), limits = makeFact("Limits");
	part.node = el("article", {"aria-labelledby": id},
		el("div", {class: "section-head"}, el("h2", {id}, gateway.name), sub),
		el("div", {class: "plots"}, ...plots.map(({plot}) => plot.node)),
		el("div", {class: "scroll"}, table.node),
		el("div", {class: "facts"}, handshakes.node, closes.node, limits.node));
	part.update = (gateway, series) => {
		part.gateway = gateway;
		const facts = [plural(gateway.upstreams.length, "upstream")];
		if (gateway.queued) facts.push(plural(gateway.queued, "handshake") + " waiting in line");
		if (gateway.messages_from_client !== undefined) {
			facts.push(count(gateway.messages_from_client) + " messages (" + size(gateway.bytes_from_client) + ") from clients",
				count(gateway.messages_from_upstream) + " (" + size(gateway.bytes_from_upstream) + ") from upstreams");
		}
		put(sub, facts.join(" · "));
		for (const {key, plot} of plots) plot.update(series?.[key] || [], series?.step || 2);
		table.update(gateway.upstreams);
		handshakes.update(Object.entries(gateway.handshakes || {}).sort((a, b) => b[1] - a[1])
			.map(([result, n]) => ({key: result, name: result.replace("_", " "), more: results[result], value: count(n)})), "None yet.");
		closes.update(Object.entries(gateway.closes || {}).sort((a, b) => b[1] - a[1]).map(([key, n]) => {
			const [by, code] = key.split(" ");
			return {key, name: by + " " + (code || ""), more: codes[code], value: count(n)};
		}), "No connection has ended yet.");
		limits.update(limitRows(gateway.limits || {}), "None is set.");
	};
	return part;
}

function upstreamColumns(of) {
	const sum = (list, value) => list.reduce((total, up) => total + value(up), 0);
	return [
		{label: "Upstream", text: up => up.address},
		{label: "State", fill: (cell, up) => {
			cell.word ??= cell.appendChild(el("span", {class: "state"}));
			mark(cell.word, "data-state", up.state);
			put(cell.word, states[up.state] || up.state);
			cell.drain ??= cell.appendChild(el("div"));
			cell.drain.hidden = up.state !== "drain";
			if (up.state === "drain") showDrain(cell.drain, shown.drains?.[up.address] || {left: up.live});
		}},
		{label: "Share of the connections", class: "load-cell", fill: (cell, up) => {
			const all = of().upstreams, live = sum(all, u => u.live), ready = all.filter(u => u.state === "ready");
			const share = live ? up.live / live : 0, weights = sum(ready, u => u.weight);
			const fair = up.state === "ready" && weights ? up.weight / weights : null;
			if (!cell.bar) {
				cell.fair = el("s", {hidden: ""});
				cell.bar = el("i");
				cell.share = el("span", {class: "num"});
				cell.append(el("div", {class: "load"}, cell.box = el("div", {class: "bar", "aria-hidden": "true"}, cell.bar, cell.fair), cell.share));
			}
			cell.bar.style.width = share * 100 + "%";
			cell.fair.hidden = fair === null || all.length < 2;
			if (fair !== null) cell.fair.style.left = fair * 100 + "%";
			put(cell.share, percent(share));
			mark(cell, "title", fair === null ? "" : "its weight asks for " + percent(fair));
		}},
		{label: "Live", class: "num", text: up => [count(up.live), up.streams ? plural(up.streams, "stream") : ""]},
		{label: "Opened", class: "num", text: up => count(up.opened)},
		{label: "Failed", class: "num", text: up => count(up.failed)},
		{label: "Weight", class: "num", text: up => up.weights ? up.weights.join(", ") : String(up.weight)},
		{label: "Actions", unseen: true, class: "actions", fill: (cell, up) => fillButtons(cell, upstreamButtons(of(), up))},
	];
}

function makeFact(title) {
	const list = el("dl"), none = el("p", {class: "none"});
	const node = el("div", {class: "fact"}, el("h3", {}, title), list, none);
	const update = (rows, without) => {
		none.hidden = rows.length > 0;
		list.hidden = rows.length === 0;
		put(none, without);
		const parts = rows.flatMap(row => [{...row, kind: "dt"}, {...row, kind: "dd"}, ...(row.use ? [{...row, kind: "use"}] : [])]);
		reconcile(list, parts, part => part.kind + part.key, part => {
			if (part.kind === "use") {
				const bar = el("i");
				return {node: el("dd", {class: "use", "aria-hidden": "true"}, el("div", {class: "bar"}, bar)), bar};
			}
			const name = el("span"), more = el("small");
			return {node: el(part.kind, {}, name, more), name, more};
		}, (made, part) => {
			if (part.kind === "use") {
				made.bar.style.width = Math.min(100, part.use * 100) + "%";
				made.bar.parentNode.classList.toggle("full", part.use >= 1);
				return;
			}
			put(made.name, part.kind === "dt" ? part.name : part.value);
			put(made.more, part.kind === "dt" && part.more || "");
		});
	};
	return {node, update};
}

// limitRows shows what is used of the limits: who has used the most, and who else more than
// half.
function limitRows(limits) {
	const rows = [];
	const used = (key, name, n, max) => rows.push({key, name, value: count(n) + " of " + count(max), use: n / max});
	if (limits.connections) used("connections", "Connections", limits.connections.used, limits.connections.max);
	for (const [limit, list, name] of [["connections_per_ip", "address", "Per address"], ["connections_per_user", "user", "Per user"]]) {
		if (!limits[limit]) continue;
		const top = limits[limit].top || [];
		if (top.length === 0) rows.push({key: limit, name, value: "at most " + count(limits[limit].max)});
		for (const one of top.filter((one, i) => i === 0 || i < 3 && one.used * 2 > limits[limit].max)) used(limit + one[list], name + " " + one[list], one.used, limits[limit].max);
	}
	const set = bytes => bytes % 1048576 === 0 ? count(bytes / 1048576) + " MiB" : bytes % 1024 === 0 ? count(bytes / 1024) + " KiB" : size(bytes);
	const pace = (key, name, format = count) => {
		const limit = limits[key];
		if (limit) rows.push({key, name, value: format(limit.max) + " in " + limit.per, more: [limit.burst && "burst " + format(limit.burst), limit.action].filter(Boolean).join(", ")});
	};
	pace("handshakes_per_ip", "Handshakes per address");
	pace("messages", "Messages of a client");
	pace("bytes", "Payload of a client", set);
	if (limits.message_size) rows.push({key: "message_size", name: "Largest message", value: set(limits.message_size.max)});
	return rows;
}

// --- connections ----------------------------------------------------------------------------

const flow = row => row.rates ? row.rates.bytes_from_client + row.rates.bytes_from_upstream : 0;
const said = row => row.rates ? row.rates.messages_from_client + row.rates.messages_from_upstream : 0;
const several = () => shown.gateways.length > 1;
const who = row => row.user || "no user";
const spoken = row => [row.proto !== "HTTP/1.1" && row.proto, row.protocol !== "websocket" && row.protocol, row.subprotocol];
const from = row => [row.remote_ip, spoken(row).filter(Boolean).join(" ")];

const sorts = {rate: "busiest", age: "oldest", idle: "most idle", pending: "most pending", rtt: "slowest"};
const connections = makeTable("Live connections", [
	{label: "User", class: "wrap", text: row => [who(row), row.id]},
	{label: "Client", text: from},
	{label: "Upstream", text: row => [row.upstream, several() ? row.gateway : ""]},
	{label: "Payload", class: "num", sort: "rate", text: row => [size(flow(row)) + "/s", rate(said(row)) + " msg/s"]},
	{label: "In all", class: "num", text: row => [size(row.bytes_from_client + row.bytes_from_upstream), count(row.messages_from_client + row.messages_from_upstream) + " msg"]},
	{label: "Age", class: "num", sort: "age", text: row => span(row.age)},
	{label: "Idle", class: "num", sort: "idle", text: row => span(row.idle)},
	{label: "RTT", class: "num", sort: "rtt", text: row => span(row.rtt)},
	{label: "Pending", class: "num", sort: "pending", text: row => row.pending ? size(row.pending) : ""},
	{label: "Ends", text: row => row.ends_at ? [when(row.ends_at), because[row.ends_because] || row.ends_because] : ""},
	{label: "Actions", unseen: true, class: "actions", fill: (cell, row) => fillButtons(cell, connectionButtons(row))},
], row => row.id);

function sortBy(sort) {
	want.sort = sort;
	$("sort").value = sort;
	say("Sorted: " + sorts[sort] + " first.");
	changed();
}

// changed asks anew, for the viewer wants to see something else.
let announce = false;
function changed() {
	announce = true;
	const streams = link.streams;
	listen();
	if (!streams) ask();
}

// isHeld reports whether the viewer works with a row, which must not move meanwhile.
function isHeld() {
	const body = connections.body, chosen = document.getSelection();
	return $("ask").open || body.contains(document.activeElement) || (body.matches(":hover") && matchMedia("(hover: hover)").matches) ||
		(!chosen.isCollapsed && body.contains(chosen.anchorNode));
}

let listed = [];
function showConnections(snapshot) {
	let rows = snapshot.connections || [];
	const held = !announce && isHeld();
	if (held) {
		const current = new Map(rows.map(row => [row.id, row]));
		const ended = new Set((snapshot.closed || []).map(row => row.id));
		const isOver = row => row.over || ended.has(row.id) || snapshot.matching <= rows.length; // else it may have moved down
		const kept = listed.map(row => current.get(row.id) || {...row, over: isOver(row), away: true});
		const before = new Set(listed.map(row => row.id));
		rows = kept.concat(rows.filter(row => !before.has(row.id))).slice(0, Math.max(kept.length, 2 * want.limit));
	}
	listed = rows;
	connections.update(rows);
	put($("held"), held && rows.length > 1 ? "Rows keep their places while you are at them." : "");
	const all = snapshot.matching, live = snapshot.live, n = (snapshot.connections || []).length;
	const words = want.filter ? count(all) + " of " + count(live) + " match" : plural(live, "connection") + (n > 1 ? ", " + sorts[want.sort] + " first" : "");
	put($("connections-count"), words);
	if (announce && want.filter) say(words);
	announce = false;
	$("connections-table").hidden = rows.length === 0;
	$("connections-empty").hidden = rows.length > 0;
	put($("connections-empty"), want.filter && live ? "No connection has “" + want.filter + "” in it." : "Nothing is connected yet. Connections show here as soon as they are open.");
	$("more").hidden = all <= n;
	put($("more"), want.limit < 200 ? "Show more, of " + plural(all - n, "other") : "");
	if (want.limit >= 200) {
		$("more").hidden = true;
		if (all > n && !held) put($("held"), "And " + count(all - n) + " more: filter to find them.");
	}
}

const closed = makeTable("Connections that ended last", [
	{label: "User", class: "wrap", text: row => [who(row), row.id]},
	{label: "Client", text: from},
	{label: "Upstream", text: row => [row.upstream, several() ? row.gateway : ""]},
	{label: "Ended", text: row => row.closed_at ? when(row.closed_at) : ""},
	{label: "By", text: row => [row.by, row.limit ? "limit " + row.limit : ""]},
	{label: "Code", text: row => row.code ? [String(row.code), codes[row.code]] : ""},
	{label: "Reason", class: "wrap", text: row => row.reason},
	{label: "After", class: "num", text: row => span(row.age)},
	{label: "In all", class: "num", text: row => [size(row.bytes_from_client + row.bytes_from_upstream), count(row.messages_from_client + row.messages_from_upstream) + " msg"]},
], row => row.id);

const refused = makeTable("Handshakes that were refused last", [
	{label: "At", text: row => when(row.at)},
	{label: "Client", text: row => row.remote_ip},
	{label: "User", class: "wrap", text: row => row.user},
	{label: "Gateway", text: row => row.gateway},
	{label: "Answer", text: row => [row.status ? String(row.status) : "–", row.result?.replace("_", " ")]},
	{label: "Reason", class: "wrap", text: row => row.reason},
], row => row.key);

// --- the whole ------------------------------------------------------------------------------

function show(snapshot) {
	const gateways = snapshot.gateways || [], node = snapshot.node;
	put($("node"), node ? [node.name, node.id && node.id !== node.name ? "node " + node.id : "", plural(snapshot.live, "connection")].filter(Boolean).join(" · ") : "");
	document.title = (node?.name ? node.name + ": " : "") + plural(snapshot.live, "connection");
	$("none").hidden = gateways.length > 0;
	reconcile($("gateways"), gateways, gateway => gateway.name, makeGateway,
		(part, gateway) => part.update(gateway, snapshot.series?.[gateway.name]));
	$("connections").hidden = gateways.length === 0;
	showConnections(snapshot);
	const ended = snapshot.closed || [];
	$("closed").hidden = ended.length === 0;
	closed.update(ended);
	const turned = gateways.flatMap(gateway => {
		const seen = new Map(); // two of the same moment are two
		return (gateway.refused || []).map(row => {
			const key = JSON.stringify([gateway.name, row]), n = (seen.get(key) || 0) + 1;
			seen.set(key, n);
			return {...row, gateway: gateway.name, key: key + n};
		});
	}).sort((a, b) => Date.parse(b.at) - Date.parse(a.at)).slice(0, 20);
	$("refused").hidden = turned.length === 0;
	refused.update(turned);
	showNodeAction(snapshot);
}

// --- actions ----------------------------------------------------------------------------------

function showNodeAction({allow_actions, node, live}) {
	const button = $("node-action"), drains = node?.state === "drain";
	button.hidden = !allow_actions || !node?.state;
	put(button, drains ? "Take connections again" : "Drain this node");
	button.onclick = () => confirmed(drains ? {
		title: "Take connections again?", yes: "Take connections", action: {action: "node", state: "ready"},
		text: "New clients are let in again. Connections that have not been told to go stay.", done: "The node takes connections.",
	} : {
		title: "Drain this node?", yes: "Drain", action: {action: "node", state: "drain"},
		text: "It refuses new clients, and ends its " + plural(live, "connection") + " over the drain period, idle ones first, WebSockets with close code 1012. Clients should come back to another node.",
		done: "The node drains.",
	});
}

function upstreamButtons(gateway, up) {
	if (!shown.allow_actions) return [];
	const others = gateway.upstreams.some(other => other.address !== up.address && other.state === "ready");
	const alone = others ? "" : "\nNo other upstream of " + gateway.name + " is ready: new clients will be refused.";
	const set = (word, state, text, done) => ({word, label: word + " " + up.address, ask: {
		title: word + " " + up.address + "?", yes: word, action: {action: "upstream", address: up.address, state}, text, done: up.address + " " + done,
	}});
	const list = [];
	if (up.state === "drain" || up.state === "maintenance") {
		list.push(set("Ready", "ready", "It takes new connections again." + (up.state === "drain" ? " Those that it still has stay." : ""), "is ready."));
	}
	if (up.state !== "drain") {
		list.push(set("Drain", "drain", "New connections go to other upstreams. Its " + plural(up.live, "connection") +
			(up.live === 1 ? " is" : " are") + " ended over the drain period, idle ones first, WebSockets with close code 1012." + alone, "drains."));
	}
	if (up.state !== "maintenance") {
		list.push(set("Maintenance", "maintenance", "New connections go to other upstreams. Its " + plural(up.live, "connection") +
			(up.live === 1 ? " stays" : " stay") + "." + alone, "is in maintenance."));
	}
	return list;
}

function connectionButtons(row) {
	if (!shown.allow_actions) return [];
	const list = [{word: "End", label: "End the connection " + row.id + " of " + who(row), ask: {
		title: "End this connection?", yes: "End it", action: {action: "end", id: row.id},
		text: who(row) + " at " + row.remote_ip + ", open for " + span(row.age) + ", is " + (row.protocol === "websocket" ? "closed with 3000" : "ended") + ". The client may connect again.", done: "The connection was ended.",
	}}];
	if (row.user) {
		list.push({word: "Revoke", label: "Revoke " + row.user, ask: {
			title: "Revoke " + row.user + "?", yes: "Revoke", action: {action: "revoke", user: row.user},
			text: "All connections of this user are ended, WebSockets with 3000, at every gateway. Every credential of this user from before now is refused for 30 days; a token that is issued later is good.",
			done: row.user + " was revoked.",
		}});
	}
	return list;
}

// confirmed asks before anything is done.
function confirmed({title, text, yes, action, done}) {
	const dialog = $("ask");
	put($("ask-title"), title);
	put($("ask-text"), text);
	put($("ask-yes"), yes);
	put($("ask-problem"), "");
	const before = document.activeElement;
	$("ask-yes").disabled = false;
	$("ask-yes").onclick = async () => {
		$("ask-yes").disabled = true;
		const problem = await act(action);
		$("ask-yes").disabled = false;
		if (problem) return put($("ask-problem"), problem);
		dialog.close();
		say(done);
		ask();
	};
	dialog.onclose = () => (before?.isConnected ? before : $("filter")).focus();
	dialog.showModal();
}

// act does it, and returns what is wrong.
async function act(action) {
	try {
		const answer = await fetch(here, {
			method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(action), signal: AbortSignal.timeout(30000),
		});
		if (answer.ok) return "";
		const told = await answer.json().catch(() => ({}));
		return told.error || "The gateway answered " + answer.status + ".";
	} catch {
		return "The gateway does not answer.";
	}
}

// --- start ----------------------------------------------------------------------------------

$("ask-no").onclick = () => $("ask").close();
$("connections-table").append(connections.node);
$("closed-table").append(closed.node);
$("refused-table").append(refused.node);
for (const [sort, words] of Object.entries(sorts)) $("sort").append(el("option", {value: sort}, words + " first"));
$("sort").onchange = () => sortBy($("sort").value);
$("more").onclick = () => {
	want.limit = 200;
	changed();
};
let typing = 0;
$("filter").oninput = () => {
	clearTimeout(typing);
	typing = setTimeout(() => {
		want.filter = $("filter").value.trim();
		changed();
	}, 250);
};
document.addEventListener("keydown", event => {
	if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || $("ask").open || /INPUT|SELECT/.test(document.activeElement.tagName)) return;
	event.preventDefault();
	$("filter").focus();
});
document.addEventListener("visibilitychange", () => {
	if (!document.hidden) link.heard = Date.now();
	listen();
});
setInterval(watch, 1000);
listen();
