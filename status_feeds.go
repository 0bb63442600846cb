package wsgateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	// statusInterval is how often a page that is open is told how things are.
	statusInterval = 2 * time.Second

	// maxStatusViewers is how many pages may be open. A page beyond that asks from time to
	// time instead.
	maxStatusViewers = 64

	// statusPatience is how long a page may take to read what it is sent. An exit waits
	// that long for one that does not read.
	statusPatience = 5 * time.Second
)

// statusFeeds tell the pages that are open how things are: one feed for all pages that
// ask the same.
type statusFeeds struct {
	open     context.Context // done when the configuration is unloaded, or the server shuts down
	snapshot func(context.Context, statusQuery) *statusSnapshot

	mu      sync.Mutex // guards the following, and the feeds
	viewers int
	feeds   map[statusQuery]*statusFeed
}

func newStatusFeeds(open context.Context, snapshot func(context.Context, statusQuery) *statusSnapshot) *statusFeeds {
	return &statusFeeds{open: open, snapshot: snapshot, feeds: make(map[statusQuery]*statusFeed)}
}

// statusFeed is what pages are told that ask the same.
type statusFeed struct {
	viewers map[chan []byte]bool
	last    []byte
	left    chan struct{} // closed when the last viewer has gone
}

// serve sends events (https://html.spec.whatwg.org/multipage/server-sent-events.html)
// until the client is gone or the feeds end.
func (f *statusFeeds) serve(w http.ResponseWriter, r *http.Request, asked statusQuery) error {
	events, leave := f.watch(asked)
	if events == nil {
		w.Header().Set("Retry-After", "10")
		return answerProblem(w, adminError(http.StatusServiceUnavailable, "%d pages are open already", maxStatusViewers))
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return nil
	}
	stream := statusStream{w, http.NewResponseController(w)}
	defer stream.hurry() // the end of the stream is written as well
	if !stream.send("retry: 1000\n\n") {
		return nil
	}
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-f.open.Done():
			return nil
		case event, more := <-events:
			if !more || !stream.send("data: ", string(event), "\n\n") {
				return nil
			}
		}
	}
}

// watch returns what a page that asks so is to be told, the newest only where it does not
// keep up; nil where too many pages are open.
func (f *statusFeeds) watch(asked statusQuery) (events <-chan []byte, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.viewers >= maxStatusViewers {
		return nil, nil
	}
	feed := f.feeds[asked]
	if feed == nil {
		feed = &statusFeed{viewers: make(map[chan []byte]bool), left: make(chan struct{})}
		f.feeds[asked] = feed
		go f.run(asked, feed)
	}
	f.viewers++
	viewer := make(chan []byte, 1)
	feed.viewers[viewer] = true
	if feed.last != nil {
		viewer <- feed.last
	}
	return viewer, func() { f.leave(asked, feed, viewer) }
}

func (f *statusFeeds) leave(asked statusQuery, feed *statusFeed, viewer chan []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewers--
	delete(feed.viewers, viewer)
	if len(feed.viewers) > 0 {
		return
	}
	close(feed.left)
	if f.feeds[asked] == feed {
		delete(f.feeds, asked)
	}
}

// run feeds the viewers until the last one has gone.
func (f *statusFeeds) run(asked statusQuery, feed *statusFeed) {
	defer contain(nil)
	defer f.end(asked, feed)
	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()
	for {
		shown := f.snapshot(f.open, asked)
		event, err := json.Marshal(shown)
		if shown == nil || err != nil {
			return
		}
		f.tell(feed, event)
		select {
		case <-feed.left:
			return
		case <-f.open.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *statusFeeds) tell(feed *statusFeed, event []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed.last = event
	for viewer := range feed.viewers {
		select {
		case <-viewer: // it has not read the event before
		default:
		}
		viewer <- event // tell alone sends, once the viewer is known
	}
}

// end lets the viewers of a feed go that feeds no more.
func (f *statusFeeds) end(asked statusQuery, feed *statusFeed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feeds[asked] == feed {
		delete(f.feeds, asked)
	}
	for viewer := range feed.viewers {
		close(viewer)
	}
}

// statusStream is the answer to a page that waits for events.
type statusStream struct {
	w http.ResponseWriter
	*http.ResponseController
}

// send reports whether the client has been sent the texts, as far as that is known.
func (s statusStream) send(texts ...string) bool {
	s.hurry()
	defer func() { _ = s.SetWriteDeadline(time.Time{}) }() // HTTP/2 ends a stream at its deadline, though nothing is written
	for _, text := range texts {
		if _, err := s.w.Write([]byte(text)); err != nil {
			return false
		}
	}
	return s.Flush() == nil
}

// hurry has what is written be taken soon, as far as the server can.
func (s statusStream) hurry() { _ = s.SetWriteDeadline(time.Now().Add(statusPatience)) }
