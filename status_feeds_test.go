package wsgateway

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newFeeds returns feeds that count what is computed.
func newFeeds(t *testing.T) (feeds *statusFeeds, unload context.CancelFunc, computed *atomic.Int64) {
	t.Helper()
	open, end := context.WithCancel(t.Context())
	computed = new(atomic.Int64)
	return newStatusFeeds(open, func(_ context.Context, asked statusQuery) *statusSnapshot {
		computed.Add(1)
		if asked.sort == "panic" {
			panic("of a snapshot")
		}
		return &statusSnapshot{Matching: asked.limit}
	}), end, computed
}

// openPage is a page that waits for events.
type waitingPage struct {
	header http.Header
	leave  context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	wrote  bytes.Buffer
	failed bool      // it takes nothing any more
	by     time.Time // when what is written is to be taken
}

// Header implements http.ResponseWriter.
func (p *waitingPage) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *waitingPage) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (p *waitingPage) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed || time.Until(p.by) != statusPatience {
		return 0, http.ErrHandlerTimeout
	}
	return p.wrote.Write(b)
}

// SetWriteDeadline is for http.ResponseController.
func (p *waitingPage) SetWriteDeadline(by time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by = by
	return nil
}

func (p *waitingPage) deadline() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by
}

// Flush implements http.Flusher.
func (*waitingPage) Flush() {}

func (p *waitingPage) events() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.wrote.String(), "data: {")
}

func (p *waitingPage) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func wait(t *testing.T, feeds *statusFeeds, asked statusQuery) *waitingPage {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	page := &waitingPage{header: make(http.Header), leave: leave, done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/?view=events", nil)
	go func() {
		defer close(page.done)
		if err := feeds.serve(page, r, asked); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return page
}

func TestStatusEventsAreComputedOnceForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feeds, unload, computed := newFeeds(t)
		pages := make([]*waitingPage, 10)
		for i := range pages {
			pages[i] = wait(t, feeds, statusQuery{limit: 1})
		}
		other := wait(t, feeds, statusQuery{limit: 2})
		if n := computed.Load(); n != 2 {
			t.Errorf("%d were computed at first", n)
		}
		elapse(3*statusInterval + time.Second)
		if n := computed.Load(); n != 8 {
			t.Errorf("%d were computed", n)
		}
		for i, page := range append(pages, other) {
			if n := page.events(); n != 4 {
				t.Errorf("page %d was told %d times", i, n)
			}
		}
		unload()
		for _, page := range append(pages, other) {
			<-page.done
		}
	})
}

// The bubble fails on a goroutine that is left.
func TestStatusStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(page *waitingPage, unload context.CancelFunc){
		"when the page goes":                  func(page *waitingPage, _ context.CancelFunc) { page.leave() },
		"when the configuration is unloaded":  func(_ *waitingPage, unload context.CancelFunc) { unload() },
		"at the next event, to a broken page": func(page *waitingPage, _ context.CancelFunc) { page.fail(); elapse(statusInterval) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				feeds, unload, _ := newFeeds(t)
				page := wait(t, feeds, statusQuery{})
				elapse(time.Minute)
				began := time.Now()
				end(page, unload)
				<-page.done
				if took := time.Since(began); took > statusInterval {
					t.Errorf("it took %s", took)
				}
				if len(feeds.feeds) != 0 || feeds.viewers != 0 {
					t.Errorf("%d feeds and %d viewers are left", len(feeds.feeds), feeds.viewers)
				}
				unload()
			})
		})
	}
}

func TestStatusStreamEndsWhenNothingIsComputedAnyMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feeds, unload, _ := newFeeds(t)
		defer unload()
		<-wait(t, feeds, statusQuery{sort: "panic"}).done
	})
}

// HTTP/2 ends a stream whose deadline passes, whether something is written or not: what
// is shown may take longer to come.
func TestStatusStreamHasADeadlineOnlyWhileItIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feeds, unload, _ := newFeeds(t)
		page := wait(t, feeds, statusQuery{})
		elapse(statusInterval / 2)
		if by := page.deadline(); page.events() == 0 || !by.IsZero() {
			t.Errorf("after %d events, the deadline is %v", page.events(), by)
		}
		unload()
		<-page.done
		if left := time.Until(page.deadline()); left != statusPatience {
			t.Errorf("the end of the stream is to be taken in %v", left)
		}
	})
}

func TestStatusTellsAPageTheNewestThatItHasNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feeds, unload, computed := newFeeds(t)
		defer unload()
		events, leave := feeds.watch(statusQuery{limit: 7})
		elapse(10*statusInterval + time.Second)
		before := computed.Load()
		<-events
		select {
		case <-events:
			t.Error("an older event was kept")
		default:
		}
		elapse(statusInterval)
		if event := string(<-events); computed.Load() != before+1 || !strings.Contains(event, `"matching":7`) {
			t.Errorf("after %d: %s", computed.Load(), event)
		}
		leave()
	})
}

func TestStatusPagesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feeds, unload, _ := newFeeds(t)
		pages := make([]*waitingPage, maxStatusViewers)
		for i := range pages {
			pages[i] = wait(t, feeds, statusQuery{limit: i + 1})
		}
		more := func() int {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "HEAD", "/?view=events", nil)
			if err := feeds.serve(w, r, statusQuery{}); err != nil {
				t.Error(err)
			}
			return w.Code
		}
		if status := more(); status != 503 {
			t.Errorf("one more page got %d", status)
		}
		pages[3].leave()
		<-pages[3].done
		if status := more(); status != 200 {
			t.Errorf("a page in the place of another got %d", status)
		}
		unload()
		synctest.Wait()
	})
}
