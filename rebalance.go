package wsgateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// validateRebalance refuses to move connections that would not come back to another
// upstream, or must not.
func (h *Handler) validateRebalance() error {
	if h.Rebalance == nil {
		return nil
	}
	if err := h.Rebalance.validate(); err != nil {
		return err
	}
	switch b := h.balancer; {
	case b.selector != nil || b.key != "":
		return errors.New("rebalance: with this lb_policy, clients would come back to where they were: " +
			"use least_conn, weighted_least_conn, random, random_choose, round_robin or weighted_round_robin")
	case hasPlaceholderUpstream(h.Proxy) || placeholderIn(h.dynamicSource()):
		return errors.New("rebalance: the upstreams depend on the request, so that nobody knows which of them may take whose connections: " +
			"name them without placeholders, or remove rebalance")
	}
	return nil
}

// rebalance moves connections after an upstream has become available, until every
// upstream has its share, or as many connections were moved as were over the shares at
// the beginning: so a rebalance ends, and does not move connections back and forth.
func (h *Handler) rebalance(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	arrived, warned := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		contained(h.logger, h.name, func() {
			arrived = h.balancer.Arrived() || h.live.TakeOver(h.name) || arrived
			switch {
			case !arrived:
			case !h.live.Shared(h.name, h.named):
				arrived = false
				if !h.rebalanceOnce(ctx) {
					h.live.HandOver(h.name)
				}
			case !warned: // the other handler may be of the configuration before, which is about to end
				warned = true
				h.logger.Warn("not rebalancing: another handler with other upstreams has the same name, so that nobody "+
					"knows whose connections may move: give this one a name of its own", zap.String("gateway", h.name))
			}
		})
	}
}

// rebalanceOnce makes one rebalance, and reports whether it was finished before the
// configuration ended.
func (h *Handler) rebalanceOnce(ctx context.Context) bool {
	shares := h.shares()
	total := 0
	for i := range shares {
		total += shares[i].Live
		shares[i].Weight = h.fullWeight(shares[i].Address)
	}
	budget := balance.Surplus(shares)
	if _, uneven := balance.Fullest(shares); !uneven || budget == 0 {
		return true
	}
	pace := time.Duration(float64(h.Rebalance.Per) / (float64(total) * h.Rebalance.Percent / 100))
	until := time.Now().Add(time.Duration(h.SlowStart) + time.Duration(float64(h.Rebalance.Per)*100/h.Rebalance.Percent))
	h.logger.Info("rebalancing", zap.String("gateway", h.name), zap.Int("connections", budget))
	moved := 0
	for moved < budget && time.Now().Before(until) {
		timer := time.NewTimer(pace)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		fullest, uneven := balance.Fullest(h.shares())
		if !uneven {
			if h.SlowStart == 0 {
				break
			}
			continue // more will be due as the new upstream warms up
		}
		if h.live.MoveIdlest(h.name, fullest.Address) {
			moved++
			h.balancer.Moved()
		}
	}
	h.logger.Info("rebalanced", zap.String("gateway", h.name), zap.Int("connections", moved))
	return true
}

// shares lists how many connections this gateway holds at each available upstream. A
// dynamic upstream that is gone has no share, although connections may still be there.
func (h *Handler) shares() []balance.Share {
	held := h.live.Staying(h.name)
	members := h.balancer.members
	if !h.balancer.fixed {
		members = h.membersAt(h.seenDynamic())
	}
	return h.balancer.Shares(members, func(address string) int { return held[address] })
}

// fullWeight is an upstream's weight when it has warmed up.
func (h *Handler) fullWeight(address string) float64 {
	for _, m := range h.currentMembers() {
		if m.Address == address {
			return m.Weight
		}
	}
	return 1
}

// watchHealth drains the connections of upstreams that health checks take out.
func (h *Handler) watchHealth(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var before []string
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		contained(h.logger, h.name, func() { before = h.drainDown(ctx, before) })
	}
}

// drainDown drains the upstreams that are down now and were not before, and returns
// the upstreams that are down.
func (h *Handler) drainDown(ctx context.Context, before []string) []string {
	members := h.currentMembers()
	if h.balancer.Panicked(members) {
		return before // the checks are more likely wrong
	}
	down := h.balancer.Down(members)
	for _, address := range down {
		if !slices.Contains(before, address) {
			h.logger.Info("draining an unhealthy upstream", zap.String("gateway", h.name), zap.String("upstream", address))
			h.drainUnhealthy(ctx, address)
		}
	}
	return down
}

// drainUnhealthy drains the connections of this gateway at an upstream, while the
// upstream is down. Where the configuration ends meanwhile, the next one decides.
func (h *Handler) drainUnhealthy(ctx context.Context, address string) {
	b, members := h.balancer, h.currentMembers()
	h.live.DrainGateway(h.name, address, func() bool {
		return ctx.Err() == nil && !b.Panicked(members) && slices.Contains(b.Down(members), address)
	})
}
