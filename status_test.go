package wsgateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// newStatus returns the live page of a set of its own.
func newStatus(t *testing.T, actions bool) (*Status, *live.Set) {
	t.Helper()
	set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
	set.Name("a:1")
	set.NewCredentials().Accept([]string{"k"}, []string{"a:1"})
	kept := newRecords(set)
	t.Cleanup(kept.book.Attach(context.Background(), new(memoryStorage), zap.NewNop()))
	s := &Status{AllowActions: actions}
	open, end := context.WithCancel(t.Context())
	s.release = end
	s.serveFrom(open, set, kept, alone(set), newStatusSampler(set), zap.NewNop())
	return s, set
}

// ask sends a request to the page as its server does.
func (s *Status) ask(t *testing.T, method, target, body string, header ...string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for field := range slices.Chunk(header, 2) {
		r.Header.Add(field[0], field[len(field)-1])
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	if err := s.ServeHTTP(w, r, teapot); err != nil {
		t.Errorf("%s %s: %v", method, target, err)
	}
	return w.Result()
}

func bodyOf(t *testing.T, answer *http.Response) string {
	t.Helper()
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestStatusServesThePageFromEveryPath(t *testing.T) {
	t.Parallel()
	s, _ := newStatus(t, false)
	for _, path := range []string{"/", "/status", "/status/", "/a/b/c", "/status?theme=1"} {
		answer := s.ask(t, "GET", path, "")
		if body := bodyOf(t, answer); answer.StatusCode != 200 || !strings.Contains(body, "<h1>WebSocket gateway</h1>") {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
}

// addressed is what a page loads.
var addressed = regexp.MustCompile(`(?:src|href|action)="([^"#]+)"`)

// A sub-path may be cut off in front of the handler, so that no address may begin with a
// slash, or name a file beside the page.
func TestStatusPageLoadsItsOwnAlone(t *testing.T) {
	t.Parallel()
	s, _ := newStatus(t, false)
	page := bodyOf(t, s.ask(t, "GET", "/status", ""))
	loads := 0
	for _, found := range addressed.FindAllStringSubmatch(page, -1) {
		address := strings.ReplaceAll(found[1], "&amp;", "&")
		if address == "data:," {
			continue
		}
		loads++
		answer := s.ask(t, "GET", "/status"+address, "")
		if !strings.HasPrefix(address, "?asset=") || answer.StatusCode != 200 || len(bodyOf(t, answer)) < 1000 {
			t.Errorf("%s: %d", address, answer.StatusCode)
		}
		if got := answer.Header.Get("Cache-Control"); got != "private, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", address, got)
		}
	}
	if loads != 2 {
		t.Errorf("the page loads %d files", loads)
	}
	for _, inline := range []string{"<style", "style=", "onclick=", "<script>"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has %s in it, which its policy forbids", inline)
		}
	}
}

func TestStatusPageIsLight(t *testing.T) {
	t.Parallel()
	page := embeddedStatusPage()
	size := len(page.html.data)
	for _, file := range page.assets {
		size += len(file.data)
	}
	if size > 60<<10 {
		t.Errorf("the page has %d bytes", size)
	}
}

// TestStatusScriptMakesNoMarkup holds the script to texts: what it shows are the words of
// strangers.
func TestStatusScriptMakesNoMarkup(t *testing.T) {
	t.Parallel()
	script := string(embeddedStatusPage().assets["status.js"].data)
	for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "srcdoc", "createContextualFragment"} {
		if strings.Contains(script, way) {
			t.Errorf("the script has %s", way)
		}
	}
}

func TestStatusAnswersHaveTheirHeader(t *testing.T) {
	t.Parallel()
	s, _ := newStatus(t, true)
	asset := "/?asset=status.js"
	tag := s.ask(t, "GET", asset, "").Header.Get("Etag")
	for name, row := range map[string]struct {
		answer      *http.Response
		status      int
		kind, cache string
	}{
		"page":          {s.ask(t, "GET", "/", ""), 200, "text/html; charset=utf-8", "no-cache"},
		"data":          {s.ask(t, "GET", "/?view=data", ""), 200, "application/json", "no-store"},
		"events":        {s.ask(t, "HEAD", "/?view=events", ""), 200, "text/event-stream", "no-store"},
		"script":        {s.ask(t, "GET", asset, ""), 200, "text/javascript; charset=utf-8", "no-cache"},
		"style":         {s.ask(t, "GET", "/?asset=status.css", ""), 200, "text/css; charset=utf-8", "no-cache"},
		"other version": {s.ask(t, "GET", asset+"&v=old", ""), 200, "text/javascript; charset=utf-8", "no-cache"},
		"known":         {s.ask(t, "GET", asset, "", "If-None-Match", `"other", W/`+tag), 304, "", "no-cache"},
		"not known":     {s.ask(t, "GET", asset, "", "If-None-Match", `"other"`), 200, "text/javascript; charset=utf-8", "no-cache"},
		"no such asset": {s.ask(t, "GET", "/?asset=../status.go", ""), 404, "application/json", "no-store"},
		"action":        {s.ask(t, "POST", "/", "{}"), 403, "application/json", "no-store"},
		"method":        {s.ask(t, "PUT", "/", ""), 405, "application/json", "no-store"},
	} {
		h := row.answer.Header
		if row.answer.StatusCode != row.status || h.Get("Content-Type") != row.kind || h.Get("Cache-Control") != row.cache {
			t.Errorf("%s: %d, %q, %q", name, row.answer.StatusCode, h.Get("Content-Type"), h.Get("Cache-Control"))
		}
		for field, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(field); got != want {
				t.Errorf("%s: %s is %q", name, field, got)
			}
		}
	}
}

func TestStatusRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	s, _ := newStatus(t, false)
	for target, want := range map[string]string{
		"/?view=other":                                   "view must be data or events",
		"/?view=data&view=data":                          "view must be given once",
		"/?view=data&sort=user":                          "sort must be one of age, idle, rate, pending, rtt",
		"/?view=data&limit=0":                            "limit must be a number from 1 to 500",
		"/?view=data&limit=501":                          "limit must be a number",
		"/?view=events&limit=x":                          "limit must be a number",
		"/?view=data&user=alice":                         "the parameters are view, sort, filter and limit",
		"/?view=data&filter=%zz":                         "the query is damaged",
		"/?view=data&filter=" + strings.Repeat("x", 601): "filter may have at most 600 bytes",
	} {
		answer := s.ask(t, "GET", target, "")
		if body := bodyOf(t, answer); answer.StatusCode != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", target, answer.StatusCode, body)
		}
	}
	answer := s.ask(t, "DELETE", "/", "")
	if answer.StatusCode != 405 || answer.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %d, %q", answer.StatusCode, answer.Header.Get("Allow"))
	}
}

// The page takes so many characters into its filter, of any script.
var filterLength = regexp.MustCompile(`id="filter" [^>]*maxlength="([0-9]+)"`)

func TestStatusTakesWhateverThePageLetsIntoItsFilter(t *testing.T) {
	t.Parallel()
	most, err := strconv.Atoi(filterLength.FindStringSubmatch(string(embeddedStatusPage().html.data))[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, character := range []string{"x", "ü", "語"} { // one of two units has four bytes, and counts as two
		u := &url.URL{RawQuery: url.Values{"view": {"data"}, "filter": {strings.Repeat(character, most)}}.Encode()}
		if _, err := readStatusQuery(u); err != nil {
			t.Errorf("%d times %s: %v", most, character, err)
		}
	}
}

func TestStatusFiltersThatSayTheSameAreOne(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{" Bob  alice": "alice bob", "alice bob alice ALICE": "alice bob", "a " + strings.Repeat("a ", 250): "a"} {
		asked, err := readStatusQuery(&url.URL{RawQuery: url.Values{"view": {"data"}, "filter": {filter}}.Encode()})
		if err != nil || asked.words != want {
			t.Errorf("%.20q: %q, %v", filter, asked.words, err)
		}
	}
}

// However many ask, and over however many handlers of the page, one is answered at a time;
// who has gone meanwhile is not.
func TestStatusAnswersInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := newStatus(t, false)
		s.facts.series.turn <- struct{}{} // another is answered
		other := &statusFacts{set: set, self: alone(set), series: s.facts.series}
		ctx, leave := context.WithCancel(t.Context())
		gone, answered := make(chan *statusSnapshot, 1), make(chan *statusSnapshot, 2)
		go func() { gone <- s.facts.snapshot(ctx, statusQuery{limit: 1}) }()
		for _, facts := range []*statusFacts{s.facts, other} {
			go func() { answered <- facts.snapshot(t.Context(), statusQuery{limit: 1}) }()
		}
		synctest.Wait()
		leave()
		if shown := <-gone; shown != nil || len(answered) != 0 {
			t.Errorf("out of turn: %v, and %d others", shown, len(answered))
		}
		<-s.facts.series.turn
		for range 2 {
			if <-answered == nil {
				t.Error("not answered in turn")
			}
		}
		if len(s.facts.series.turn) != 0 {
			t.Error("a turn does not end")
		}
	})
}

func TestStatusShowsWhatMatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := newStatus(t, false)
		openAs(set, "alice", "the-id-of-a-token")
		openAs(set, "Bob", "")
		for filter, want := range map[string]int{"": 2, "alice": 1, "bob": 1, "BO+b": 1, "alice+bob": 0, "test": 2, "A:1+ali": 1, "the-id": 0} {
			var shown statusSnapshot
			body := bodyOf(t, s.ask(t, "GET", "/?view=data&limit=1&sort=age&filter="+filter, ""))
			if err := json.Unmarshal([]byte(body), &shown); err != nil {
				t.Fatal(err)
			}
			if shown.Matching != want || len(shown.Connections) != min(want, 1) || shown.Live != 2 || shown.AllowActions {
				t.Errorf("%q: %d of %d match, %d are shown", filter, shown.Matching, shown.Live, len(shown.Connections))
			}
			if strings.Contains(body, "the-id-of-a-token") {
				t.Error("the ID of a token is shown")
			}
		}
		set.End(live.EndRevoked, func(*live.Conn) bool { return true })
		elapse(time.Minute)
		body := bodyOf(t, s.ask(t, "GET", "/?view=data", ""))
		if !strings.Contains(body, `"connections":[]`) || !strings.Contains(body, `"user":"alice"`) {
			t.Errorf("after the end of all: %s", body)
		}
	})
}
