package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// numbered is how many events an EventSource is sent at a time.
const numbered = 3

// resume sends the events after the last one that the client has, and returns the number
// of the last one now.
func (a *feed) resume(t *testing.T, last int) int {
	t.Helper()
	want := ""
	if last > 0 {
		want = fmt.Sprint(last)
	}
	if got := a.request.Header.Get("Last-Event-ID"); got != want || a.request.Header.Get("Accept") != "text/event-stream" {
		t.Fatalf("the client came with Last-Event-ID %q, want %q, and Accept %q", got, want, a.request.Header.Get("Accept"))
	}
	a.feed(t, "retry: 50\n\n")
	for range numbered {
		last++
		a.feed(t, fmt.Sprintf("id: %d\ndata: event %d\n\n", last, last))
	}
	a.feed(t, "data: only ha") // of the one after them
	return last
}

// turnsOfEventSource is what happens under an EventSource, one after the other: it is sent
// away from one upstream, and comes to the other.
func turnsOfEventSource(t *testing.T, g *gateway, site string, one, two *feeder) []func() *feeder {
	addrs := one.addr + " " + two.addr
	return []func() *feeder{
		func() *feeder { g.setState(t, two.addr, "drain"); g.setState(t, one.addr, "ready"); return one },
		func() *feeder { g.setState(t, two.addr, "ready"); g.setState(t, one.addr, "drain"); return two },
		func() *feeder {
			g.setState(t, one.addr, "ready")
			g.reload(t, fmt.Sprintf(site, one.addr))
			return one
		},
		func() *feeder {
			g.reload(t, fmt.Sprintf(site, addrs))
			g.setState(t, one.addr, "drain")
			return two
		},
		func() *feeder { g.killAllStreams(t, "sources", 1); return two },
	}
}

// followEventSource has an EventSource follow the upstreams in turn, by what sees what it
// has got.
func followEventSource(t *testing.T, g *gateway, site string, one, two *feeder, open func() (see func(last int))) {
	t.Helper()
	t.Cleanup(func() {
		g.setState(t, one.addr, "ready")
		g.setState(t, two.addr, "ready")
	})
	var see func(last int)
	var before *feed
	last := 0
	for _, turn := range turnsOfEventSource(t, g, site, one, two) {
		f := turn()
		if before != nil {
			before.write("lf of it\n\n") // where it ends, now or as soon as its turn comes
		}
		if see == nil {
			see = open()
		}
		before = f.next(t)
		last = before.resume(t, last)
		see(last)
		before.write("lf of it\n\ndata: only ha")
	}
}

// TestEventSourceComesBack to the other upstream with the ID of the last event, and
// misses none: the one of npm.
func TestEventSourceComesBack(t *testing.T) {
	needNode(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure %t", secure), func(t *testing.T) {
			one, two := newFeeder(t), newFeeder(t)
			const site = "ws_gateway %s {\n name sources\n streams\n drain_period 0s\n }"
			g := start(t, fmt.Sprintf(site, one.addr+" "+two.addr))
			followEventSource(t, g, site, one, two, func() func(int) {
				url := "http://" + g.httpAddr
				if secure {
					url = "https://" + g.tlsHost()
				}
				return seeByNode(t, startNode(t, "eventsource-client.mjs", url+"/events"))
			})
		})
	}
}

// seeByNode compares what the script tells with the events up to the last.
func seeByNode(t *testing.T, client *nodeScript) func(last int) {
	seen := 0
	return func(last int) {
		t.Helper()
		for seen < last {
			e := client.await(t, "message")
			if strings.HasPrefix(e.Text, "only") {
				continue
			}
			if seen++; e.Text != fmt.Sprint("event ", seen) || e.Session != fmt.Sprint(seen) {
				t.Fatalf("instead of event %d came %q with the ID %q", seen, e.Text, e.Session)
			}
		}
	}
}

const sourcePage = `<!doctype html><title>waiting</title><script>
const seen = [];
const source = new EventSource("/events");
source.onmessage = ({ data, lastEventId }) => { if (data.startsWith("event")) seen.push(data + " with " + lastEventId + "."); };
</script>`

// TestEventSourceOfABrowserComesBack likewise: Chromium's, by HTTP/1.1 and by HTTP/2.
func TestEventSourceOfABrowserComesBack(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page"), []byte(sourcePage), 0o600); err != nil {
		t.Fatal(err)
	}
	site := "ws_gateway /events %s {\n name sources\n streams\n drain_period 0s\n }\nheader Content-Type text/html\nroot " + dir + "\nfile_server"
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure %t", secure), func(t *testing.T) {
			one, two := newFeeder(t), newFeeder(t)
			g := start(t, fmt.Sprintf(site, one.addr+" "+two.addr))
			followEventSource(t, g, site, one, two, func() func(int) {
				url, proto := "http://"+g.httpAddr, "HTTP/1.1"
				if secure {
					url, proto = "https://"+g.tlsHost(), "HTTP/2.0"
				}
				p := openPage(t, url+"/page")
				return func(last int) {
					t.Helper()
					want := ""
					for i := range last {
						want += fmt.Sprintf("event %d with %d.", i+1, i+1)
					}
					if got := p.waitFor(t, `seen.join("")`, fmt.Sprintf("event %d with %d.", last, last)); got != want {
						t.Errorf("the page saw %s, want %s", got, want)
					}
					if r := g.onlyRow(t, "sources"); r.Proto != proto {
						t.Errorf("it came by %s", r.Proto)
					}
				}
			})
		})
	}
}

// TestCurlFollowsStreams to their ends, and knows a proper one.
func TestCurlFollowsStreams(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	version, err := exec.Command(curl, "--version").Output() // #nosec G204
	if err != nil {
		t.Fatal(err)
	}
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name curl\n streams\n }")
	for _, row := range []struct {
		name, url, proto string
		options          []string
	}{
		{"h1", "http://" + g.httpAddr, "HTTP/1.1", []string{"--http1.1"}},
		{"h1 over TLS", "https://" + g.tlsHost(), "HTTP/1.1", []string{"--http1.1", "--insecure"}},
		{"h1.0", "http://" + g.httpAddr, "HTTP/1.1", []string{"--http1.0"}}, // as the gateway shows it
		{"h2", "https://" + g.tlsHost(), "HTTP/2.0", []string{"--http2", "--insecure"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if strings.Contains(row.proto, "/2") && !strings.Contains(string(version), "HTTP2") {
				t.Skip("this curl has no HTTP/2")
			}
			for _, ends := range []bool{true, false} {
				if ends || row.name != "h1.0" { // which knows no cut
					followByCurl(t, g, f, curl, append(row.options, "--resolve", "localhost:"+strings.TrimPrefix(g.tlsHost(), "localhost:")+":127.0.0.1", row.url+"/curl"), row.proto, ends)
				}
			}
		})
	}
	g.assertNoLiveSeries(t)
}

// followByCurl has curl print a stream, which ends or is broken off by its upstream.
func followByCurl(t *testing.T, g *gateway, f *feeder, curl string, options []string, proto string, ends bool) {
	t.Helper()
	cmd := exec.Command(curl, append([]string{"--silent", "--no-buffer", "--fail", "--header", "Accept: text/event-stream"}, options...)...) // #nosec G204
	out := new(recording)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	upstream := f.next(t)
	sent := ""
	for _, piece := range []string{"data: 1\n\n", ": comment\n", "data: 2\n\nda", "ta: 3\n"} {
		upstream.feed(t, piece)
		sent += piece
		eventually(t, "curl to print it", func() bool { return len(out.bytes()) >= len(sent) })
	}
	if r := g.onlyRow(t, "curl"); r.Proto != proto {
		t.Errorf("it came by %s", r.Proto)
	}
	if ends {
		g.killAllStreams(t, "curl", 1)
		upstream.write("\ndata: never\n\n")
		sent += "\n"
	} else {
		upstream.breakOff()
	}
	err := receive(t, "curl to exit", exited)
	if (err == nil) != ends {
		t.Errorf("curl exited with %v", err)
	}
	if got := string(out.bytes()); got != sent {
		t.Errorf("curl printed %q, want %q", got, sent)
	}
}
