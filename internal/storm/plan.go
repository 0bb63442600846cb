package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"
)

// plan is one handshake: what the client does, and what the upstream.
type plan struct {
	ID      string
	carrier string
	route   string
	script  script
	leave   leave
	echoes  int  // messages that the client sends
	eager   bool // the first one right behind the request
}

// The ways to the gateway (HTTP/1.1 without TLS, with TLS, and with wrapped sockets,
// HTTP/2 and HTTP/3), and the ways through it.
var (
	carriers = []string{"h1", "h1s", "h1w", "h2", "h3"}
	routes   = []string{"direct", "named", "unix", "tls", "timed"}
)

// script is what the upstream does. It travels in the query.
type script struct {
	Does  string
	Wait  time.Duration // before it answers
	Hints int           // interim responses before the answer
	Piece int           // bytes that are written at a time; 0 for all
	Gap   time.Duration // between pieces
	Cut   int           // bytes of the answer after which it ends; never for none
	How   string        // in which way
	Glued bool          // the greeting comes with the answer
	Body  int           // bytes of a refusal's body
	Chunk bool          // it comes in chunks

	Lasts   bool   // it waits for messages for as long as it takes
	Quits   int    // echoes after which it ends the connection; 0 for never
	Quit    string // in which way
	Refusal int    // its status
}

const never = -1

// shortestAnswer is no longer than any answer of the gateway's.
const shortestAnswer = 120

// What an upstream does with a handshake.
const (
	accepts = "accepts"
	refuses = "refuses"
	errs    = "errs" // answers wrongly
	drops   = "drops"
	silent  = "is silent"
)

// The ways in which a client or an upstream leaves.
const (
	byReset = "reset"
	byEnd   = "end"   // closes both ways, in order
	byHalf  = "half"  // ends what it sends only
	byFrame = "frame" // sends a close frame
)

// leave is when and how a client goes before its time.
type leave struct {
	When  string
	After time.Duration // since the request was sent
	At    int           // bytes
	How   string
}

// The moments at which a client may go.
const (
	inRequest = "in the request"
	waiting   = "waiting"
	inAnswer  = "in the answer"
	inFrame   = "in a frame"
)

// String shows a plan as it is needed to see what went wrong.
func (p *plan) String() string {
	return fmt.Sprintf("%s over %s to %s: %+v, client %+v, %d echoes", p.ID, p.carrier, p.route, p.script, p.leave, p.echoes)
}

// target is the request's path and query.
func (p *plan) target() string {
	return "/" + p.route + "?id=" + p.ID + "&script=" + inQuery(p.script)
}

// scriptOf reads what target wrote.
func scriptOf(u *url.URL) (id string, s script, err error) {
	err = fromQuery(u, "script", &s)
	return u.Query().Get("id"), s, err
}

// inQuery spells plain data as it travels in the query.
func inQuery(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is plain data
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// fromQuery reads what inQuery spelled.
func fromQuery(u *url.URL, name string, v any) error {
	text, err := base64.RawURLEncoding.DecodeString(u.Query().Get(name))
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	return err
}

// draw makes up the plan with the number.
func draw(r *rand.Rand, number int64, carrier string) plan {
	p := plan{ID: "c" + strconv.FormatInt(number, 10), carrier: carrier, route: routes[r.IntN(len(routes))]}
	p.script = drawScript(r)
	p.echoes = 1 + r.IntN(3)
	p.eager = carrier[:2] == "h1" && r.IntN(20) == 0
	if r.IntN(100) < 60 {
		p.leave = drawLeave(r, p.script.Wait)
	}
	return p
}

func drawScript(r *rand.Rand) script {
	s := script{Does: accepts, Cut: never, Refusal: 400 + r.IntN(4)*100/3, Wait: drawWait(r)}
	switch n := r.IntN(100); {
	case n < 12:
		s.Does, s.Body, s.Chunk = refuses, r.IntN(20_000), r.IntN(2) == 0
	case n < 15:
		s.Does = errs
	case n < 18:
		s.Does = drops
		s.How = pick(r, byReset, byEnd)
	case n < 19:
		s.Does = silent
	}
	if r.IntN(4) == 0 {
		s.Hints = 1 + r.IntN(5)
	}
	if r.IntN(4) == 0 {
		s.Piece, s.Gap = 1+s.Body/100+r.IntN(150), time.Duration(r.IntN(300))*time.Microsecond
	}
	if r.IntN(6) == 0 {
		s.Cut, s.How = r.IntN(260), pick(r, byReset, byEnd, byHalf)
	}
	s.Glued = r.IntN(2) == 0
	if r.IntN(4) == 0 {
		s.Quits, s.Quit = 1+r.IntN(2), pick(r, byReset, byEnd, byHalf, byFrame)
	}
	return s
}

// drawWait is how long the upstream thinks: often about as long as the gateway
// waits before it looks whether the client leaves.
func drawWait(r *rand.Rand) time.Duration {
	switch r.IntN(6) {
	case 0:
		return 0
	case 1:
		return time.Duration(r.IntN(3_000)) * time.Microsecond
	case 2:
		return 95*time.Millisecond + time.Duration(r.IntN(10_000))*time.Microsecond
	}
	return 100*time.Millisecond + time.Duration(r.IntN(60_000))*time.Microsecond
}

// drawLeave is mostly at about the moment of the answer.
func drawLeave(r *rand.Rand, answer time.Duration) leave {
	l := leave{When: waiting, How: pick(r, byReset, byEnd, byEnd, byHalf)}
	switch n := r.IntN(100); {
	case n < 60:
		l.After = max(0, answer+time.Duration(r.NormFloat64()*float64(1500*time.Microsecond)))
	case n < 70:
		l.After = time.Duration(r.IntN(200_000)) * time.Microsecond
	case n < 80:
		l.When, l.At = inRequest, r.IntN(500)
	case n < 90:
		l.When, l.At = inAnswer, r.IntN(shortestAnswer)
	default:
		l.When, l.At = inFrame, r.IntN(40)
	}
	return l
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }
