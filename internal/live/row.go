package live

import (
	"math"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Row is a connection as the admin API, the status page and the commands show it.
type Row struct {
	ID          string    `json:"id"`
	Gateway     string    `json:"gateway"`
	User        string    `json:"user,omitempty"`
	RemoteIP    string    `json:"remote_ip"`
	Proto       string    `json:"proto"`
	Protocol    string    `json:"protocol"`
	Upstream    string    `json:"upstream"`
	Subprotocol string    `json:"subprotocol"`
	OpenedAt    time.Time `json:"opened_at"`
	Age         float64   `json:"age"` // in seconds, as all times here; of one that is over, how long it lasted

	MessagesFromClient   uint64 `json:"messages_from_client"`
	MessagesFromUpstream uint64 `json:"messages_from_upstream"`
	BytesFromClient      uint64 `json:"bytes_from_client"` // of payload
	BytesFromUpstream    uint64 `json:"bytes_from_upstream"`

	*Present // nil for a connection that is over
	*Past    // nil for a live connection
}

// Present is what a row shows of a live connection.
type Present struct {
	Idle    float64 `json:"idle"`          // since the last message of either side
	RTT     float64 `json:"rtt,omitempty"` // a mean; 0 where no ping was answered
	Pending int     `json:"pending"`       // bytes held for a side that does not read
	Rates   Rates   `json:"rates"`

	EndsAt      time.Time `json:"ends_at,omitzero"`
	EndsBecause string    `json:"ends_because,omitempty"` // one of the reasons below
}

// Why a connection is going to end.
const (
	EndsByToken  = "token"
	EndsByMaxAge = "max_age"
	EndsByDrain  = "drain"
)

// Rates are how much comes in a second, over some ten seconds.
type Rates struct {
	MessagesFromClient   float64 `json:"messages_from_client"`
	MessagesFromUpstream float64 `json:"messages_from_upstream"`
	BytesFromClient      float64 `json:"bytes_from_client"`
	BytesFromUpstream    float64 `json:"bytes_from_upstream"`
}

// Past is what a row shows of the end of a connection.
type Past struct {
	ClosedAt time.Time `json:"closed_at"`
	By       string    `json:"by"`
	Code     int       `json:"code"`
	Reason   string    `json:"reason"`
	Limit    string    `json:"limit,omitempty"`
}

// row is what does not depend on whether the connection is over.
func (c *Conn) row(age time.Duration, all Totals) Row {
	return Row{
		ID: c.ID, Gateway: c.Gateway, User: c.UserID, RemoteIP: c.RemoteIP, Proto: c.Proto, Protocol: c.Protocol,
		Upstream: c.Upstream, Subprotocol: c.Subprotocol, OpenedAt: shownTime(c.OpenedAt), Age: seconds(age, time.Millisecond),
		MessagesFromClient: all.FromClient.Messages(), MessagesFromUpstream: all.FromUpstream.Messages(),
		BytesFromClient: all.FromClient.Bytes, BytesFromUpstream: all.FromUpstream.Bytes,
	}
}

// endedRow is the row of a connection that is over.
func (c *Conn) endedRow(out *relay.Outcome, now time.Time) Row {
	r := c.row(now.Sub(c.OpenedAt), Totals{trafficOf(out.FromClient), trafficOf(out.FromUpstream)})
	r.Past = &Past{ClosedAt: shownTime(now), By: out.By.String(), Code: out.Code, Reason: out.Reason, Limit: out.Limit}
	return r
}

// sight is a live connection, with what the set's lock guards of it as it was when seen.
type sight struct {
	*Conn
	expires    time.Time
	departures *departures
}

func (c *Conn) sightLocked() sight { return sight{c, c.authority.expires, c.departures} }

// row takes no lock of the set but for a connection that is drained.
func (s sight) row(now time.Time, look *relay.Look) Row {
	r := s.Conn.row(now.Sub(s.OpenedAt), Totals{trafficOf(look.FromClient), trafficOf(look.FromUpstream)})
	r.Present = &Present{
		Idle:    seconds(max(0, now.Sub(look.LastActive)), time.Millisecond),
		RTT:     seconds(look.RTT, time.Microsecond),
		Pending: look.Pending,
		Rates: Rates{
			MessagesFromClient: shownRate(look.PaceFromClient.Messages), MessagesFromUpstream: shownRate(look.PaceFromUpstream.Messages),
			BytesFromClient: shownRate(look.PaceFromClient.Bytes), BytesFromUpstream: shownRate(look.PaceFromUpstream.Bytes),
		},
	}
	r.EndsAt, r.EndsBecause = s.end()
	return r
}

// end is when and why the connection is going to end, as far as that is known.
func (s sight) end() (at time.Time, because string) {
	if at = s.endsBy(s.expires); !at.IsZero() {
		because = EndsByToken
		if at.Equal(s.TooOld) {
			because = EndsByMaxAge
		}
	}
	for d := range s.departures.all() {
		if (at.IsZero() || d.at.Before(at)) && d.still(s.Conn) {
			at, because = d.at, EndsByDrain
		}
	}
	return shownTime(at), because
}

func shownTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func seconds(d, unit time.Duration) float64 { return d.Round(unit).Seconds() }

func shownRate(rate float64) float64 { return math.Round(rate*1000) / 1000 }
