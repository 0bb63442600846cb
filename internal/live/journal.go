package live

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

const (
	closedKept   = 100
	refusedKept  = 20
	gatewaysKept = 128 // beyond that, of those that are not loaded the one of which nothing was noted for longest is forgotten
	longestNote  = 256 // of the texts of a refusal
)

// journal keeps what became of handshakes and connections of each gateway. It holds
// values alone, and no connection.
type journal struct {
	loaded func(gateway string) bool // is called under the lock, which comes before the set's

	mu       sync.Mutex // guards what follows
	gateways map[string]*pages
	notes    uint64
}

// pages are what a journal has of a gateway.
type pages struct {
	handshakes map[string]uint64 // by result
	closes     map[string]uint64 // by who and code
	refused    ring[Refused]
	ended      ring[Row]
	last       uint64 // the number of the last note
}

// Refused is a request that was not served.
type Refused struct {
	At       time.Time `json:"at"`
	Status   int       `json:"status"`
	Result   string    `json:"result"`
	Reason   string    `json:"reason"`
	RemoteIP string    `json:"remote_ip"`
	User     string    `json:"user,omitempty"`
}

// pagesLocked returns the pages of a gateway for a note.
func (j *journal) pagesLocked(gateway string) *pages {
	p := j.gateways[gateway]
	if p == nil {
		if len(j.gateways) >= gatewaysKept {
			j.forgetOneLocked()
		}
		p = &pages{
			handshakes: make(map[string]uint64), closes: make(map[string]uint64),
			refused: ring[Refused]{most: refusedKept}, ended: ring[Row]{most: closedKept},
		}
		j.gateways[gateway] = p
	}
	j.notes++
	p.last = j.notes
	return p
}

// forgetOneLocked forgets a gateway that is not loaded, if there is one.
func (j *journal) forgetOneLocked() {
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(j.gateways)), j.loaded)
	if len(gone) > 0 {
		delete(j.gateways, slices.MinFunc(gone, func(a, b string) int { return cmp.Compare(j.gateways[a].last, j.gateways[b].last) }))
	}
}

// CountHandshake notes what came of a handshake. The result is one of few words.
func (s *Set) CountHandshake(gateway, result string) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.pagesLocked(gateway).handshakes[result]++
}

// NoteRefused notes a request that was not served. Its texts hold no secret.
func (s *Set) NoteRefused(gateway string, r Refused) {
	r.At, r.Reason, r.User = shownTime(time.Now()), shortened(r.Reason), shortened(r.User)
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.pagesLocked(gateway).refused.add(r)
}

// shortened is a text of its own, not longer than a note may be.
func shortened(text string) string {
	if len(text) > longestNote {
		return strings.ToValidUTF8(text[:longestNote-3], "") + "…"
	}
	return strings.Clone(text)
}

// noteEnd notes that a connection is over.
func (j *journal) noteEnd(c *Conn, out *relay.Outcome) {
	row := c.endedRow(out, time.Now())
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.pagesLocked(c.Gateway)
	p.closes[out.By.String()+" "+FoldCode(out.Code)]++
	p.ended.add(row)
}

// standardCodes are the close codes of RFC 6455, from 1000 on, as texts.
var standardCodes = func() (texts [16]string) {
	for i := range texts {
		texts[i] = strconv.Itoa(1000 + i)
	}
	return texts
}()

// FoldCode folds the close codes that applications choose, and those that are nobody's.
func FoldCode(code int) string {
	switch {
	case code == 0:
		return "none"
	case code >= 1000 && code <= 1015:
		return standardCodes[code-1000]
	case code == 3000:
		return "3000"
	case code > 3000 && code < 4000:
		return "3xxx"
	case code >= 4000 && code < 5000:
		return "4xxx"
	}
	return "other"
}

// closed lists what the journal has of connections that have ended, the latest first.
func (j *journal) closed(match func(*Row) bool, limit int) []Row {
	rows := j.allEnded(match)
	slices.SortStableFunc(rows, func(a, b Row) int { return b.ClosedAt.Compare(a.ClosedAt) })
	return rows[:min(limit, len(rows))]
}

func (j *journal) allEnded(match func(*Row) bool) []Row {
	j.mu.Lock()
	defer j.mu.Unlock()
	rows := []Row{}
	for _, p := range j.gateways {
		for r := range p.ended.latestFirst() {
			if match(r) {
				rows = append(rows, *r)
			}
		}
	}
	return rows
}

func (j *journal) ended(id string) *Row {
	if rows := j.allEnded(func(r *Row) bool { return r.ID == id }); len(rows) > 0 {
		return &rows[0]
	}
	return nil
}

// Activity is what became of the handshakes of a gateway and what its connections carry.
type Activity struct {
	Handshakes map[string]uint64 `json:"handshakes"` // by result
	Closes     map[string]uint64 `json:"closes"`     // by who and code, such as "client 1000"

	MessagesFromClient   uint64 `json:"messages_from_client"`
	MessagesFromUpstream uint64 `json:"messages_from_upstream"`
	BytesFromClient      uint64 `json:"bytes_from_client"`
	BytesFromUpstream    uint64 `json:"bytes_from_upstream"`

	Refused []Refused `json:"refused"` // the last ones, the latest first
}

// activity returns what the journal has of a gateway, and its totals.
func (j *journal) activity(gateway string, all Totals) *Activity {
	a := &Activity{
		MessagesFromClient: all.FromClient.Messages(), MessagesFromUpstream: all.FromUpstream.Messages(),
		BytesFromClient: all.FromClient.Bytes, BytesFromUpstream: all.FromUpstream.Bytes,
		Handshakes: map[string]uint64{}, Closes: map[string]uint64{}, Refused: []Refused{},
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if p := j.gateways[gateway]; p != nil {
		maps.Copy(a.Handshakes, p.handshakes)
		maps.Copy(a.Closes, p.closes)
		for r := range p.refused.latestFirst() {
			a.Refused = append(a.Refused, *r)
		}
	}
	return a
}
