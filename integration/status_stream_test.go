package integration

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// streamClients are clients of each version of HTTP, with what they address.
func streamClients(g *gateway) map[string]struct {
	url       string
	transport http.RoundTripper
} {
	return map[string]struct {
		url       string
		transport http.RoundTripper
	}{
		"HTTP/1.1": {"http://" + g.httpAddr, &http.Transport{}},
		"HTTP/2.0": {"https://" + g.tlsHost(), &http.Transport{TLSClientConfig: clientTLS("h2"), ForceAttemptHTTP2: true}},
		"HTTP/3.0": {"https://" + g.tlsHost(), &http3.Transport{TLSClientConfig: clientTLS("h3"), QUICConfig: patientQUIC(), Dial: dialQUIC}},
	}
}

// stream waits for events of the live page, and returns when it has the first. ended gets
// how the stream has ended.
func stream(t *testing.T, transport http.RoundTripper, url string) (ended <-chan error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/live?view=events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	events, end := make(chan string, 100), make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if event, found := strings.CutPrefix(lines.Text(), "data: "); found {
				events <- event
			}
		}
		end <- lines.Err()
	}()
	if event := receive(t, "an event", events); !strings.Contains(event, `"gateways":[{"name":"default"`) {
		t.Errorf("the event is %s", event)
	}
	return end
}

const streamSite = "ws_gateway_status /live\nws_gateway 127.0.0.1:1"

// A page that is open ends with its configuration: it comes again, to the new one.
func TestStatusStreamsDoNotHoldAReloadUp(t *testing.T) {
	g := start(t, streamSite)
	ends := make(map[string]<-chan error)
	for version, client := range streamClients(g) {
		ends[version] = stream(t, client.transport, client.url)
	}
	began := time.Now()
	g.reload(t, streamSite+"\nheader X-Other 1")
	for version, end := range ends {
		if err := receive(t, version, end); err != nil {
			t.Errorf("%s: the stream ended with %v", version, err)
		}
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %s", took)
	}
	for _, client := range streamClients(g) {
		stream(t, client.transport, client.url)
	}
}

func TestStatusStreamsDoNotHoldAnExitUp(t *testing.T) {
	long(t)
	p := startProcess(t, "", streamSite)
	ends := make(map[string]<-chan error)
	for version, client := range streamClients(p.gateway) {
		ends[version] = stream(t, client.transport, client.url)
	}
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for version, end := range ends {
		if err := receive(t, version, end); err != nil {
			t.Errorf("%s: the stream ended with %v", version, err)
		}
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the streams took %s to end", took)
	}
	if err := receive(t, "the process to exit", p.exited); err != nil {
		t.Errorf("the process exited with %v", err)
	}
	t.Logf("the exit took %s", time.Since(began))
}
