package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(bookWriter{})
}

// book is where Caddy's log goes while a test runs. There is one Caddy in a
// process, so there is one book; start turns to a new page.
var book logBook

// logBook keeps the lines of Caddy's log that the configurations of one test
// write: what belongs to the test before may still come, and is left out.
type logBook struct {
	mu    sync.Mutex // protects what follows
	page  int        // counts the tests
	lines []logLine
	trap  trap
}

// trap is what the log panics over: a message about a connection to an upstream.
type trap struct{ msg, upstream string }

// logLine is one line of Caddy's log.
type logLine struct {
	raw    string
	fields map[string]any
}

func (l logLine) str(field string) string {
	s, _ := l.fields[field].(string)
	return s
}

func (l logLine) num(field string) float64 {
	n, ok := l.fields[field].(float64)
	if !ok {
		return -1
	}
	return n
}

// write adds whole lines to a page, if that is still the last one.
func (b *logBook) write(page int, p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if page != b.page {
		return
	}
	if b.trap.msg != "" && bytes.Contains(p, []byte(`"msg":"`+b.trap.msg+`"`)) && bytes.Contains(p, []byte(`"upstream":"`+b.trap.upstream+`"`)) {
		panic("a secret of the log's")
	}
	for raw := range bytes.Lines(p) {
		line := logLine{raw: string(raw)}
		if err := json.Unmarshal(raw, &line.fields); err != nil {
			line.fields = map[string]any{"msg": line.raw}
		}
		b.lines = append(b.lines, line)
	}
}

// panicOver makes the log panic.
func (b *logBook) panicOver(msg, upstream string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trap = trap{msg, upstream}
}

// panicNoMore takes back what panicOver did.
func (b *logBook) panicNoMore() { b.panicOver("", "") }

// turn begins a page for the configurations that are loaded from now on.
func (b *logBook) turn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.page++
	b.lines = nil
}

func (b *logBook) current() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.page
}

// find returns the lines of the loggers whose names begin with logger and that
// have the message.
func (b *logBook) find(logger, msg string) []logLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []logLine
	for _, line := range b.lines {
		if strings.HasPrefix(line.str("logger"), logger) && (msg == "" || line.str("msg") == msg) {
			found = append(found, line)
		}
	}
	return found
}

const (
	ourLogger    = "http.handlers.ws_gateway"
	accessLogger = "http.log.access"
)

// wait returns the n-th line (from 1) of our logger with the message. For the ends of
// connections there is waitClosed.
func (b *logBook) wait(t *testing.T, msg string, n int) logLine {
	t.Helper()
	if msg == "closed" {
		t.Fatal("the line may be of a connection that an earlier test has left behind")
	}
	eventually(t, "log line "+msg, func() bool { return len(b.find(ourLogger, msg)) >= n })
	return b.find(ourLogger, msg)[n-1]
}

// waitAccess returns the line of the access log for a request.
func (b *logBook) waitAccess(t *testing.T, uri string) (found logLine) {
	t.Helper()
	eventually(t, "access log line of "+uri, func() bool {
		for _, line := range b.find(accessLogger, "") {
			if request, _ := line.fields["request"].(map[string]any); request["uri"] == uri {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// closedBy returns the closed lines of the connections to some upstreams. There may be
// others: whose configuration has stopped logs to the one that runs, so that a connection
// that an earlier test has left behind may close into the page of this one.
func (b *logBook) closedBy(upstreams ...string) []logLine {
	return slices.DeleteFunc(b.find(ourLogger, "closed"), func(l logLine) bool { return !slices.Contains(upstreams, l.str("upstream")) })
}

// waitClosed returns the n-th closed line (from 1) of the connections to an upstream.
func (b *logBook) waitClosed(t *testing.T, upstream string, n int) logLine {
	t.Helper()
	eventually(t, "log line closed", func() bool { return len(b.closedBy(upstream)) >= n })
	return b.closedBy(upstream)[n-1]
}

// dump prints the log of a failed test.
func (b *logBook) dump(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	if len(lines) > 60 {
		t.Logf("%d earlier lines left out", len(lines)-60)
		lines = lines[len(lines)-60:]
	}
	for _, line := range lines {
		t.Log(strings.TrimSpace(line.raw))
	}
}

// bookWriter is the log output "integration_book", which writes to book.
type bookWriter struct{}

// CaddyModule registers the writer.
func (bookWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.integration_book",
		New: func() caddy.Module { return new(bookWriter) },
	}
}

func (bookWriter) String() string                                   { return "integration_book" }
func (bookWriter) WriterKey() string                                { return fmt.Sprint("integration_book ", book.current()) }
func (bookWriter) OpenWriter() (io.WriteCloser, error)              { return bookPage(book.current()), nil }
func (*bookWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

// bookPage writes to one page of the book.
type bookPage int

// Write takes whole lines: Caddy's JSON encoder makes one write a line.
func (p bookPage) Write(lines []byte) (int, error) {
	book.write(int(p), lines)
	return len(lines), nil
}

// Close leaves the page as it is.
func (bookPage) Close() error { return nil }

// TestLateLineOfAnEarlierTestIsLeftOut of the book.
func TestLateLineOfAnEarlierTestIsLeftOut(t *testing.T) {
	var pages []io.Writer
	for range 2 {
		book.turn()
		page, err := new(bookWriter).OpenWriter()
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page)
	}
	for _, page := range pages {
		if _, err := fmt.Fprintf(page, `{"logger":%q,"msg":"closed"}`+"\n", ourLogger); err != nil {
			t.Fatal(err)
		}
	}
	if lines := book.find(ourLogger, "closed"); len(lines) != 1 {
		t.Errorf("the book has %d lines, want that of the second page alone", len(lines))
	}
}

// TestLateLineOfAnEarlierConnectionIsLeftOut where the ends of others are waited for.
func TestLateLineOfAnEarlierConnectionIsLeftOut(t *testing.T) {
	book.turn()
	page, err := new(bookWriter).OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	for _, upstream := range []string{"earlier", "ours", "earlier", "ours too"} {
		if _, err := fmt.Fprintf(page, `{"logger":%q,"msg":"closed","upstream":%q}`+"\n", ourLogger, upstream); err != nil {
			t.Fatal(err)
		}
	}
	if line := book.waitClosed(t, "ours", 1); line.str("upstream") != "ours" {
		t.Errorf("the line is %s", line.raw)
	}
	if lines := book.closedBy("ours", "ours too"); len(lines) != 2 {
		t.Errorf("%d lines, want ours alone: %v", len(lines), lines)
	}
}
