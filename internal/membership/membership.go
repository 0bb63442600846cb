// Package membership makes a process a node of a fleet.
package membership

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// Config is what a node is made of.
type Config struct {
	ID       string // of the incarnation
	Settings fleet.Settings
	Engine   string // its name, such as "redis"
	Open     func(ctx context.Context) (fleet.Engine, error)

	Seats *admission.Local // the ledgers of the process
	Conns *balance.Ledger

	// Adopt calls yield for each connection that is live, with its gateway, its seat,
	// and the address and the user that it was admitted with.
	Adopt func(yield func(gateway string, seat *admission.Seat, ip netip.Addr, user string))

	Info    func() Info // asked at each beat
	Logger  *zap.Logger
	Observe func(operation string, took time.Duration) // nil for nobody
	News    News                                       // nil for nobody
}

// Info is what the other nodes are to know of a node.
type Info struct {
	Name      string         `json:"name"`
	Version   string         `json:"version,omitempty"`
	State     string         `json:"state,omitempty"`
	Live      int            `json:"live"`
	Upstreams map[string]int `json:"upstreams,omitempty"` // connections by address
}

// News is who follows what the engine says of records.
type News interface {
	// Joined is called when the engine answers, for the first time or again after an
	// outage, before any handshake is decided by it.
	Joined(ctx context.Context, engine fleet.Engine)

	// Heard is called after each beat with its answer. It must not wait for long.
	Heard(ctx context.Context, engine fleet.Engine, answer *fleet.Answer)

	// Position is up to where in the log the node knows the records.
	Position() string

	// Left is called when an outage begins, and when the member leaves.
	Left()
}

// Member is a node of a fleet. A nil Member is that of no fleet.
type Member struct {
	config Config
}

// New returns a member that does nothing until Start.
func New(c Config) *Member { return &Member{config: c} }

// Start joins the fleet. It returns at once.
func (m *Member) Start() {}

// Stop leaves the fleet and gives the share of the node back.
func (m *Member) Stop(ctx context.Context) {}

// Retire ends the member like Stop, but the share stays for the next member of the same
// ID, which asserts it anew.
func (m *Member) Retire(ctx context.Context) {}

// Engine returns the engine, nil during an outage.
func (m *Member) Engine() fleet.Engine { return nil }

// Beat has the node give a sign of life now.
func (m *Member) Beat() {}

// Out reports whether there is an outage.
func (m *Member) Out() bool { return false }

// Refuses reports whether gateways with a cap refuse handshakes, as there is an outage.
func (m *Member) Refuses() bool { return false }

// Track has the connections of a gateway counted by what its configurations have caps
// on now, those that are there already among them. It is called after each change of
// what [admission.Local] tracks.
func (m *Member) Track(gateway string, adopt admission.Adopt) {}

// MoreSeats asks for more of the cap on connections of the gateway. It reports whether
// it is worth trying again.
func (m *Member) MoreSeats(ctx context.Context, gateway string, limit int) bool { return false }

// MoreConns asks for more of the cap max_conns on each of the addresses. It reports
// whether it is worth trying again.
func (m *Member) MoreConns(ctx context.Context, addresses []string, limit int) bool { return false }
